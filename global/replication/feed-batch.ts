import { decodeFeedRecord } from '../index/feed-codec.js';
import type { LogBatch, LogRecord } from '../log/span-log.js';
import type { FeedRecord } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';

export interface DecodedFeed {
  readonly logRecord: LogRecord;
  readonly record: FeedRecord | null;
  readonly error: MeridianError | null;
}

/** Decodes a batch record by record, in order, as it is asked for. */
export function* decodeFeedBatch(batch: LogBatch): Generator<DecodedFeed> {
  for (const logRecord of batch.records) {
    const { value } = logRecord;
    try {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      yield { logRecord, record: decodeFeedRecord(bytes), error: null };
    } catch (error) {
      if (!(error instanceof MeridianError)) throw error;
      yield { logRecord, record: null, error };
    }
  }
}

/** Cuts records, in order, into runs of at most so many traces, but of at least one record. */
export function slicesOf<T extends FeedRecord>(records: readonly T[], tracesMax: number): T[][] {
  const slices: T[][] = [];
  let traces = 0;
  for (const record of records) {
    const last = slices.at(-1);
    if (last && traces + record.traces.length <= tracesMax) {
      last.push(record);
      traces += record.traces.length;
    } else {
      slices.push([record]);
      traces = record.traces.length;
    }
  }
  return slices;
}
