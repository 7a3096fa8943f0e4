import type { FeedPosition } from '../index/trace-index.js';
import type { LogBatch, LogReads } from '../log/span-log.js';

/**
 * From where the log has to be read again before a batch that begins at `firstOffset`: the index is behind the consumer group's commit, because it was
 * lost or emptied, or came back as it was some moments before. Null where it is not, or where the log has forgotten all of it. Pure.
 */
export function missedFrom(stored: FeedPosition | null, firstOffset: number, logStart: number): number | null {
  const from = Math.max(stored?.nextOffset ?? 0, logStart);
  return from < firstOffset ? from : null;
}

/** The next records of the batch's partition from `from` on that come before the batch, about `bytesMax`; null where there are none. */
export async function missedRecords(
  log: LogReads,
  { topic, partition, records }: LogBatch,
  from: number,
  bytesMax: number,
): Promise<LogBatch | null> {
  const end = records[0]!.offset;
  if (from >= end) return null;
  // What is between may be nothing: offsets have harmless holes.
  const missed = (await log.read(topic, partition, from, bytesMax)).filter(({ offset }) => offset < end);
  return missed.length > 0 ? { topic, partition, records: missed } : null;
}
