import { type Spread, spreadOf } from './bench-result.js';
import type { IngestChild } from './ingest-child.js';
import { type BatchSender, sendClosedLoop } from './ingest-load.js';
import { makeBatch } from './sample-spans.js';

export const SPANS_PER_BATCH = 512;
export const BYTES_PER_SPAN = 430;
const BATCHES = 32;

/** For tables: what the load of the ingest benchmarks is. */
export const INGEST_LOAD = `${SPANS_PER_BATCH}-span batches of ${BYTES_PER_SPAN} B a span`;

/** The requests of the ingest benchmarks, to be sent in turn. */
export function ingestBatches(): Buffer[] {
  return Array.from({ length: BATCHES }, (_, seed) =>
    makeBatch({
      spans: SPANS_PER_BATCH,
      bytesPerSpan: BYTES_PER_SPAN,
      seed,
      startUnixNano: BigInt(Date.now()) * 1_000_000n,
    }),
  );
}

export interface ThroughputSettings {
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmupMs: number;
}

/** Acknowledged spans a second, and user + system time of the collector's process a span, µs: in a closed loop, after a warm-up. */
export async function measureThroughput(
  child: IngestChild,
  senders: readonly BatchSender[],
  batches: readonly Buffer[],
  settings: ThroughputSettings,
): Promise<{ spansPerSecond: Spread; microsPerSpan: Spread }> {
  await sendClosedLoop(senders, batches, settings.warmupMs);
  const perSecond: number[] = [];
  const micros: number[] = [];
  for (let round = 0; round < settings.rounds; round++) {
    const before = await child.ask({ type: 'usage' }, 'usage');
    const startMs = performance.now();
    const spans = (await sendClosedLoop(senders, batches, settings.roundMs)) * SPANS_PER_BATCH;
    const tookMs = performance.now() - startMs;
    const after = await child.ask({ type: 'usage' }, 'usage');
    perSecond.push((spans / tookMs) * 1000);
    micros.push((after.cpuMicros - before.cpuMicros) / spans);
  }
  return { spansPerSecond: spreadOf(perSecond), microsPerSpan: spreadOf(micros) };
}
