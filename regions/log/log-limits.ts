/** The named limits of the embedded log. All are tested at the limit and one past it. */
export interface LogLimits {
  /** Key, headers and value of one entry together, bytes. */
  readonly entryBytesMax: number;
  readonly headersMax: number;
  /** Names and values of all headers of an entry, bytes. */
  readonly headersBytesMax: number;
  /** Entries that wait for their commit, bytes; beyond it `append` rejects with `overloaded`. */
  readonly queuedBytesMax: number;
  /** What one commit takes from the queue, bytes; a single larger append is committed alone. */
  readonly roundBytesMax: number;
  /** What the reading thread answers at once, bytes of values; further reads wait for the next turn. */
  readonly readBytesMax: number;
  /** Records in one answer to a read. */
  readonly readRecordsMax: number;
  /** A file of the log is closed for appends at this many bytes, and the next one begun. */
  readonly sliceBytesMax: number;
  /** A file of the log is closed for appends at this many records. */
  readonly sliceRecordsMax: number;
  /** The whole log on disk, bytes; beyond it appends reject with `unavailable` until retention has made room. */
  readonly bytesMax: number;
  readonly partitionsMax: number;
  /** How often expired records are looked for, milliseconds. */
  readonly retentionCheckMs: number;
  /** Wait before a failing consumer gets its batch a second time, doubling up to `redeliveryMaxMs`; the first redelivery comes at once. */
  readonly redeliveryMs: number;
  readonly redeliveryMaxMs: number;
}

const MIB = 1024 * 1024;

export const LOG_LIMITS: LogLimits = {
  entryBytesMax: 16 * MIB,
  headersMax: 64,
  headersBytesMax: 64 * 1024,
  queuedBytesMax: 256 * MIB,
  roundBytesMax: 8 * MIB,
  readBytesMax: 4 * MIB,
  readRecordsMax: 4096,
  sliceBytesMax: 256 * MIB,
  sliceRecordsMax: 250_000,
  bytesMax: Number.MAX_SAFE_INTEGER,
  partitionsMax: 1024,
  retentionCheckMs: 60_000,
  redeliveryMs: 100,
  redeliveryMaxMs: 5_000,
};

/** Kafka's rule for topic names, so that every name fits both logs. They are also folder names. */
export function isTopicName(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..';
}
