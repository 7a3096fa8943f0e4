import type { TraceId } from '../../../global/model/ids.js';
import { ProtoWriter } from '../../../global/otlp/proto-writer.js';
import { forEachSpan } from '../../../global/otlp/scan.js';

/** A span for tests; what is left out is absent or zero. */
export interface TestSpan {
  readonly traceId: TraceId;
  /** 16 hex characters. */
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name?: string;
  readonly service?: string;
  readonly kind?: number;
  readonly flags?: number;
  readonly startUnixNano?: bigint;
  readonly endUnixNano?: bigint;
  readonly statusCode?: number;
  /** Bytes of an attribute `padding`. */
  readonly paddingBytes?: number;
}

/** Flags of a span whose parent is in another process. */
export const REMOTE_PARENT = 0x301;

export function testTraceId(number: number): TraceId {
  return number.toString(16).padStart(32, '0') as TraceId;
}

export function testSpanId(number: number): string {
  return number.toString(16).padStart(16, '0');
}

/** OTLP `TracesData`: one ResourceSpans per run of spans of one service. */
export function tracesDataOf(spans: readonly TestSpan[]): Buffer {
  const out = new ProtoWriter();
  let at = 0;
  while (at < spans.length) {
    const service = spans[at]!.service;
    const resourceSpans = out.begin(1);
    if (service !== undefined) {
      const resource = out.begin(1);
      writeAttribute(out, 1, 'service.name', service);
      out.end(resource);
    }
    const scopeSpans = out.begin(2);
    for (; at < spans.length && spans[at]!.service === service; at++) writeSpan(out, spans[at]!);
    out.end(scopeSpans);
    out.end(resourceSpans);
  }
  return out.finish();
}

function writeSpan(out: ProtoWriter, span: TestSpan): void {
  const begun = out.begin(2);
  out.bytesField(1, Buffer.from(span.traceId, 'hex'));
  out.bytesField(2, Buffer.from(span.spanId, 'hex'));
  if (span.parentSpanId) out.bytesField(4, Buffer.from(span.parentSpanId, 'hex'));
  if (span.name !== undefined) out.stringField(5, span.name);
  if (span.kind) out.uintField(6, span.kind);
  if (span.startUnixNano) out.fixed64Field(7, span.startUnixNano);
  if (span.endUnixNano) out.fixed64Field(8, span.endUnixNano);
  if (span.paddingBytes) writeAttribute(out, 9, 'padding', 'x'.repeat(span.paddingBytes));
  if (span.statusCode) {
    const status = out.begin(15);
    out.uintField(3, span.statusCode);
    out.end(status);
  }
  if (span.flags) out.fixed32Field(16, span.flags);
  out.end(begun);
}

function writeAttribute(out: ProtoWriter, field: number, key: string, value: string): void {
  const attribute = out.begin(field);
  out.stringField(1, key);
  const any = out.begin(2);
  out.stringField(1, value);
  out.end(any);
  out.end(attribute);
}

/** `trace/span` of every span, in the order of the bytes. */
export function spanKeysOf(tracesData: Buffer): string[] {
  const keys: string[] = [];
  forEachSpan(tracesData, ({ buffer, traceIdAt, spanIdAt }) => {
    keys.push(`${buffer.toString('hex', traceIdAt, traceIdAt + 16)}/${buffer.toString('hex', spanIdAt, spanIdAt + 8)}`);
    return undefined;
  });
  return keys;
}
