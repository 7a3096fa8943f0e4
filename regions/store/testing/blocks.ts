import type { RegionId, TraceId } from '../../../global/model/ids.js';
import { MetadataFlag } from '../../../global/model/metadata.js';
import { unixNanoToMs } from '../../../global/model/time.js';
import { StatusCode } from '../../../global/otlp/span-ref.js';
import { encodeTracesData, type TestAttributes } from '../../../global/otlp/testing/test-spans.js';
import { encodeBlock } from '../../segments/block-codec.js';
import { formatBlockId } from '../../segments/block-id.js';
import type { EncodedBlock, Segment } from '../../segments/segment.js';
import { summarize } from '../../segments/summarize.js';

/** A span for tests; what is left out is absent. */
export interface TestSpan {
  /** A small number that makes its id; unique in its trace. */
  readonly span: number;
  readonly service?: string;
  readonly resource?: TestAttributes;
  readonly name?: string;
  readonly kind?: number;
  readonly start: bigint;
  readonly end?: bigint;
  readonly error?: boolean;
  readonly attributes?: TestAttributes;
}

export function traceIdOf(number: number): TraceId {
  return (number + 1).toString(16).padStart(32, '0') as TraceId;
}

/** Times of the tests, so that they read as small numbers: nanoseconds after 2026-01-01. */
export const BASE = 1_767_225_600_000_000_000n;

/** OTLP `TracesData`, one ResourceSpans per span. */
function payloadOf(traceId: TraceId, spans: readonly TestSpan[]): Buffer {
  return encodeTracesData(
    spans.map(({ span, service, resource, name, kind, start, end, error, attributes }) => ({
      resource: { ...(service === undefined ? {} : { 'service.name': service }), ...resource },
      spans: [
        {
          traceId,
          spanId: (span + 1).toString(16).padStart(16, '0'),
          name: name ?? 'operation',
          kind,
          startUnixNano: start,
          endUnixNano: end ?? start + 1000n,
          attributes,
          statusCode: error ? StatusCode.error : 0,
        },
      ],
    })),
  );
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
