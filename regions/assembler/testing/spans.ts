import type { TraceId } from '../../../global/model/ids.js';
import { forEachSpan } from '../../../global/otlp/scan.js';
import { encodeTracesData, runsBy, type SpanFields } from '../../../global/otlp/testing/test-spans.js';

/** A span for tests; what is left out is absent or zero. */
export interface TestSpan extends Omit<SpanFields, 'attributes'> {
  readonly traceId: TraceId;
  readonly service?: string;
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
  return encodeTracesData(
    runsBy(spans, ({ service }) => service).map((run) => {
      const service = run[0]!.service;
      return {
        resource: service === undefined ? null : { 'service.name': service },
        spans: run.map(({ paddingBytes, ...fields }) => ({
          ...fields,
          attributes: paddingBytes ? { padding: 'x'.repeat(paddingBytes) } : {},
        })),
      };
    }),
  );
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
