import { tracePartition } from '../../global/log/partition.js';
import { prepareBatch, REJECTED_NAMED_MAX } from '../../global/otlp/prepare.js';
import type { Redactor } from '../../global/otlp/redact.js';
import type { RejectedSpan } from '../../global/otlp/verdict.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { Ticket } from './admission.js';
import type { PooledBuffer } from './buffer-pool.js';
import type { Gatherer } from './gatherer.js';
import type { CollectorMetrics } from './metrics.js';
import type { Outcome, ProtocolName, ReadSpans } from './protocol.js';

/** What `acceptSpans` works with; made once by the collector. */
export interface Pipeline {
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly partitionCount: number;
  readonly spansPerRequestMax: number;
  readonly gatherer: Gatherer;
  readonly metrics: CollectorMetrics;
}

/**
 * The write path of a collector, in its order: receive > check > enrich > append, and only then may the caller acknowledge.
 * Throws `malformed`, `too-large` (never), or `overloaded`, `unavailable`, `shutting-down` (later); then nothing was promised.
 * Releases the body as soon as it was split.
 */
export async function acceptSpans(
  pipeline: Pipeline,
  protocol: ProtocolName,
  body: PooledBuffer,
  read: ReadSpans,
  ticket: Ticket,
): Promise<Outcome> {
  const { clock, redactor, partitionCount, spansPerRequestMax, gatherer, metrics } = pipeline;

  // Receive: whatever the protocol, OTLP bytes.
  const received = read(body.bytes);

  // Check, redact and split by the trace's partition: one pass over the bytes.
  const batch = prepareBatch(received.tracesData, {
    partitionOf: (bytes, at) => tracePartition(bytes, at, partitionCount),
    partitionCount,
    redactor,
    spanCountMax: spansPerRequestMax,
    nowMs: clock.nowMs(),
  });
  // The parts have memory of their own.
  const bodyBytes = body.bytes.length;
  body.release();
  const rejected = joinRejected(received.rejected, batch.rejected);
  const rejectedCount = batch.rejectedCount + received.rejected.length;
  metrics.checked(protocol, bodyBytes, batch, rejected, rejectedCount);

  // Enrich and append: the gatherer's records carry collector and received time in their header. A split can be larger
  // than what came (each part repeats its resource), so it is weighed again.
  const pieceBytes = batch.partitions.reduce((sum, piece) => sum + piece.bytes.length, 0);
  if (pieceBytes > bodyBytes) ticket.grow(pieceBytes - bodyBytes);
  await gatherer.append(batch.partitions);

  return {
    spanCount: batch.spanCount + received.rejected.length,
    acceptedCount: batch.acceptedCount,
    rejected,
    rejectedCount,
  };
}

/**
 * One list of what reading and checking refused. Checking counts only the spans that reading let through; their indexes are moved
 * past the ones it did not.
 */
export function joinRejected(byReading: readonly RejectedSpan[], byChecking: readonly RejectedSpan[]): RejectedSpan[] {
  const first = byReading;
  const joined: RejectedSpan[] = [];
  let passed = 0;
  for (const rejected of byChecking) {
    while (passed < first.length && first[passed]!.index <= rejected.index + passed) joined.push(first[passed++]!);
    joined.push({ ...rejected, index: rejected.index + passed });
  }
  while (passed < first.length) joined.push(first[passed++]!);
  return joined.slice(0, REJECTED_NAMED_MAX);
}
