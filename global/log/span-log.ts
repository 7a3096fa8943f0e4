/**
 * The log of a region: named topics of numbered partitions of records in order. Kafka in production, SQLite embedded;
 * one contract suite (`regions/log/span-log.contract.ts`) holds both. Offsets are integers that grow along a
 * partition; they may have gaps.
 */

export type LogHeaders = Readonly<Record<string, Uint8Array>>;

export interface LogEntry {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array;
  readonly headers: LogHeaders;
}

export interface LogRecord extends LogEntry {
  readonly offset: number;
  /** Wall clock at which the log took it. Non-decreasing along a partition, up to clock steps. */
  readonly appendedMs: number;
}

export interface LogAppender {
  /**
   * Appends in order to one partition. Resolves when all entries are durable (a killed process or machine does not lose them), with
   * the offset of the first. Rejects with `unavailable` (retry later), `too-large` or `not-found` (no such topic or partition);
   * after a rejection some entries may be in the log all the same. Concurrent calls for the same partition
   * keep the order of the calls. An empty list resolves at once. The caller may reuse the bytes after it has resolved.
   */
  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }>;
}

export interface LogBatch {
  readonly topic: string;
  readonly partition: number;
  /** At least one, in order of offset. */
  readonly records: readonly LogRecord[];
}

/** The consumer of one partition, for as long as this member of the group owns it. */
export interface PartitionHandler {
  /** The next batch comes after this has resolved: that is the backpressure. A rejection ends the ownership and the batch is delivered again. */
  records(batch: LogBatch): Promise<void>;
  /**
   * The partition goes away: `revoked` (to another member) and `stopped` may still commit until this resolves; `lost` may not. No
   * `records` call is running then, nor comes afterwards.
   */
  close(reason: 'revoked' | 'stopped' | 'lost'): Promise<void>;
}

export interface PartitionAssignment {
  readonly topic: string;
  readonly partition: number;
  /** The committed offset, or where `from` says. */
  readonly startOffset: number;
  /**
   * Durably records that everything before `nextOffset` is done. A call with a smaller offset than an earlier one
   * changes nothing. Rejects with `refused` when the partition is no longer owned.
   */
  commit(nextOffset: number): Promise<void>;
}

export interface LogSubscription {
  readonly group: string;
  readonly topics: readonly string[];
  /** Where to begin when the group has no commit for a partition. */
  readonly from: 'earliest' | 'latest';
  /** A batch ends at this many bytes of values, but holds at least one record. */
  readonly batchBytesMax: number;
  /** Called once per ownership of a partition, before its first batch. */
  assigned(assignment: PartitionAssignment): PartitionHandler;
}

export interface LogConsumers {
  /**
   * Joins a consumer group: each partition of the topics is owned by exactly one member at a time. Members that
   * join or leave move partitions (handlers are closed first). At least once: after a crash delivery resumes at the last commit.
   */
  subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }>;
}

export interface LogOffsets {
  /** Per partition, the offset after the last record: every append that resolved before this call lies before it. */
  ends(topic: string): Promise<readonly number[]>;
  /** Per partition, the offset of the oldest retained record; the end where there is none. */
  starts(topic: string): Promise<readonly number[]>;
  /** The group's committed offsets per partition; null where it has none. */
  committed(group: string, topic: string): Promise<readonly (number | null)[]>;
  /** The first offset whose `appendedMs` is at or after the time; the end where there is none. */
  offsetAt(topic: string, partition: number, timeMs: number): Promise<number>;
  /** Sets a group's commit, backwards too; the group has no member while it happens (`refused` otherwise). */
  rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void>;
}

export interface LogReads {
  /** Records from `fromOffset` on, without a group: up to `bytesMax` of values but at least one; empty at the end of the partition. */
  read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]>;
}

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  /** Records older than this may go. */
  readonly retentionMs: number;
  /** Only the newest record of a key is kept. */
  readonly compacted: boolean;
  /**
   * Records have the time that their appender gives them, instead of the log's: a mirror of the engine's own (MirrorMaker) gives them the source's.
   * It may also have made the topic, with settings of its own. Without meaning for a log that has no such mirror.
   */
  readonly mirrored?: boolean;
}

export interface LogTopics {
  /** Makes what is missing; `configuration` error where one exists with other partitions. Idempotent. */
  ensure(topics: readonly TopicSpec[]): Promise<void>;
}

/** All faces of a region's log. Rooms ask for the one that they use. */
export interface SpanLog extends LogAppender, LogConsumers, LogOffsets, LogReads, LogTopics {
  /** Ends subscriptions, finishes appends, closes. */
  close(): Promise<void>;
}

/** The name under which a mirrored topic of another region appears (Kafka's DefaultReplicationPolicy). */
export function mirroredTopic(source: string, topic: string): string {
  return `${source}.${topic}`;
}
