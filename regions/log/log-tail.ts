import type { LogRecord } from '../../global/log/span-log.js';

export interface FollowedBatch {
  /** In order of offset. Empty only in the first batch, where there was nothing at `fromOffset` yet. */
  readonly records: readonly LogRecord[];
  /** End of the partition when this was read: whoever has all records before it has caught up. */
  readonly endOffset: number;
}

/** A partition as a stream, outside of any consumer group: what a region serves to regions that mirror it. */
export interface LogTail {
  /**
   * Records from `fromOffset` on (from the oldest retained one where that is later), then new ones as they come, until the signal
   * aborts; the iteration then ends without error. The first batch comes at once, also when it is empty. Reads
   * only as far ahead as the caller takes batches. Rejects with `not-found` for an unknown topic or partition and `unavailable` when
   * the log has closed or failed.
   */
  follow(topic: string, partition: number, fromOffset: number, signal: AbortSignal): AsyncIterable<FollowedBatch>;
}
