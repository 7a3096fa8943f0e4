import { type RegionId, type TraceId, traceIdAt } from '../../global/model/ids.js';
import { type BlockId, MetadataFlag } from '../../global/model/metadata.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { encodeBlock } from '../../regions/segments/block-codec.js';
import { formatBlockId } from '../../regions/segments/block-id.js';
import type { EncodedBlock, Segment } from '../../regions/segments/segment.js';
import { summarize } from '../../regions/segments/summarize.js';
import { makeBatch, mulberry32, SAMPLE_START_UNIX_NANO } from './sample-spans.js';

export const SAMPLE_SOURCE = 'us-east-1' as RegionId;
const SPANS_PER_TRACE = 10;
const TRACES_PER_BLOCK = 64;
export const SPANS_PER_BLOCK = SPANS_PER_TRACE * TRACES_PER_BLOCK;
/** A busy region: a block is closed each 20 ms. */
export const BLOCK_EVERY_NANOS = 20_000_000n;

/** A trace of a block that benchmarks ask for. */
export interface SampledTrace {
  readonly traceId: TraceId;
  readonly block: BlockId;
  /** An attribute value that one span of the store has. */
  readonly requestId: string;
}

export interface SampleBlock {
  readonly block: EncodedBlock;
  /** Of the spans' own messages. */
  readonly rawBytes: number;
  readonly sample: SampledTrace;
  /** OTLP of each of its segments. */
  readonly payloads: readonly Buffer[];
}

/** Block number `number`: always the same bytes. */
export async function makeBlock(number: number, unique: number, bytesPerSpan: number): Promise<SampleBlock> {
  const segments: Segment[] = [];
  let rawBytes = 0;
  let sample: SampledTrace | null = null;
  const id = formatBlockId({ source: SAMPLE_SOURCE, partition: number % 8, firstOffset: number, number });
  const random = mulberry32(number);
  for (let i = 0; i < TRACES_PER_BLOCK; i++) {
    // Traces of a block began within a few seconds.
    const jitter = BigInt(Math.floor(random() * 3_000)) * 1_000_000n;
    const payload = makeBatch({
      spans: SPANS_PER_TRACE,
      tracesPerBatch: 1,
      services: 3,
      seed: number * TRACES_PER_BLOCK + i,
      uniqueAttributesPerSpan: unique,
      bytesPerSpan,
      startUnixNano: SAMPLE_START_UNIX_NANO + BigInt(number) * BLOCK_EVERY_NANOS + jitter,
    });
    let traceId: TraceId | null = null;
    forEachSpan(payload, (span) => {
      rawBytes += span.spanEnd - span.spanStart;
      traceId ??= traceIdAt(span.buffer, span.traceIdAt);
      return undefined;
    });
    if (traceId === null) throw new Error('a sample batch without spans');
    const metadata = summarize(payload, { traceId, region: SAMPLE_SOURCE, receivedMs: 0 });
    const receivedMs = Number(metadata.endUnixNano / 1_000_000n);
    segments.push({
      metadata: { ...metadata, flags: MetadataFlag.closed },
      payload,
      closeReason: 'root-settled',
      receivedFirstMs: receivedMs,
      receivedLastMs: receivedMs,
    });
    if (i === number % TRACES_PER_BLOCK) sample = { traceId, block: id, requestId: requestIdOf(payload) };
  }
  return {
    block: await encodeBlock({ id, source: SAMPLE_SOURCE, segments }),
    rawBytes,
    sample: sample!,
    payloads: segments.map(({ payload }) => payload),
  };
}

/** The value of the first `request.id`: the text of 16 characters that follows the key. */
function requestIdOf(payload: Buffer): string {
  const key = payload.indexOf('request.id');
  const valueAt = key + 'request.id'.length + 4;
  return payload.toString('latin1', valueAt, valueAt + 16);
}
