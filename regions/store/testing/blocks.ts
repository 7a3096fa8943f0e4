import type { RegionId, TraceId } from '../../../global/model/ids.js';
import { MetadataFlag } from '../../../global/model/metadata.js';
import { unixNanoToMs } from '../../../global/model/time.js';
import { ProtoWriter } from '../../../global/otlp/proto-writer.js';
import { encodeBlock } from '../../segments/block-codec.js';
import { formatBlockId } from '../../segments/block-id.js';
import type { EncodedBlock, Segment } from '../../segments/segment.js';
import { summarize } from '../../segments/summarize.js';

export type TestValue = string | boolean | number | bigint;

/** A span for tests; what is left out is absent. Numbers become doubles, bigints integers. */
export interface TestSpan {
  /** A small number that makes its id; unique in its trace. */
  readonly span: number;
  readonly service?: string;
  readonly resource?: Readonly<Record<string, TestValue>>;
  readonly name?: string;
  readonly kind?: number;
  readonly start: bigint;
  readonly end?: bigint;
  readonly error?: boolean;
  readonly attributes?: Readonly<Record<string, TestValue>>;
}

export function traceIdOf(number: number): TraceId {
  return (number + 1).toString(16).padStart(32, '0') as TraceId;
}

/** Times of the tests, so that they read as small numbers: nanoseconds after 2026-01-01. */
export const BASE = 1_767_225_600_000_000_000n;

/** OTLP `TracesData`, one ResourceSpans per span. */
export function payloadOf(traceId: TraceId, spans: readonly TestSpan[]): Buffer {
  const out = new ProtoWriter();
  for (const span of spans) {
    const resourceSpans = out.begin(1);
    const resource = out.begin(1);
    if (span.service !== undefined) writeAttribute(out, 1, 'service.name', span.service);
    for (const [key, value] of Object.entries(span.resource ?? {})) writeAttribute(out, 1, key, value);
    out.end(resource);
    const scopeSpans = out.begin(2);
    const begun = out.begin(2);
    out.bytesField(1, Buffer.from(traceId, 'hex'));
    out.bytesField(2, Buffer.from((span.span + 1).toString(16).padStart(16, '0'), 'hex'));
    out.stringField(5, span.name ?? 'operation');
    if (span.kind !== undefined) out.uintField(6, span.kind);
    out.fixed64Field(7, span.start);
    out.fixed64Field(8, span.end ?? span.start + 1000n);
    for (const [key, value] of Object.entries(span.attributes ?? {})) writeAttribute(out, 9, key, value);
    if (span.error) {
      const status = out.begin(15);
      out.uintField(3, 2);
      out.end(status);
    }
    out.end(begun);
    out.end(scopeSpans);
    out.end(resourceSpans);
  }
  return Buffer.from(out.finish());
}

function writeAttribute(out: ProtoWriter, field: number, key: string, value: TestValue): void {
  const attribute = out.begin(field);
  out.stringField(1, key);
  const any = out.begin(2);
  if (typeof value === 'string') out.stringField(1, value);
  else if (typeof value === 'boolean') out.boolField(2, value);
  else if (typeof value === 'bigint') out.int64Field(3, value);
  else out.doubleField(4, value);
  out.end(any);
  out.end(attribute);
}

/** A segment of a trace; received when its last span ended. */
export function segmentOf(source: RegionId, traceId: TraceId, spans: readonly TestSpan[]): Segment {
  const payload = payloadOf(traceId, spans);
  const summary = summarize(payload, { traceId, region: source, receivedMs: 0 });
  const receivedMs = unixNanoToMs(summary.endUnixNano);
  return {
    metadata: { ...summary, flags: MetadataFlag.closed },
    payload,
    closeReason: 'root-settled',
    receivedFirstMs: receivedMs,
    receivedLastMs: receivedMs,
  };
}

export function blockOf(source: RegionId, number: number, segments: readonly Segment[]): Promise<EncodedBlock> {
  return encodeBlock({ id: formatBlockId({ source, partition: 0, firstOffset: number, number }), source, segments });
}
