import type { Registry } from 'prom-client';
import type { LogEntry, LogRecord, LogSubscription, SpanLog, TopicSpec } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { AppendQueue } from './append-queue.js';
import { CommitQueue } from './commit-queue.js';
import { ConsumerGroup } from './consumer-group.js';
import { isTopicName, LOG_LIMITS, type LogLimits } from './log-limits.js';
import { LogMetrics } from './log-metrics.js';
import type { FollowedBatch, LogTail } from './log-tail.js';
import { LogThread } from './log-thread.js';
import { ReadQueue } from './read-queue.js';
import { TopicTable } from './topic-table.js';

export interface SqliteSpanLogOptions extends Partial<LogLimits> {
  /** Made where it is missing. One process at a time may have it open. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

/**
 * The embedded log: SQLite files in one folder, written and read by a thread of its own (docs/decisions/0005-embedded-log.md). What
 * is appended survives `kill -9` and, as far as the disk keeps its promises, a loss of power. Offsets have no gaps, except in
 * compacted topics. The bytes of the records of one read share memory. Rejects with `refused` where another
 * process has the folder open, `unknown-version` where a newer Meridian wrote it, else `unavailable`.
 */
export async function openSqliteSpanLog(options: SqliteSpanLogOptions): Promise<SpanLog & LogTail> {
  const limits: LogLimits = { ...LOG_LIMITS, ...definedOf(options) };
  const { thread, opened } = await LogThread.open({ folder: options.folder, limits });
  const table = new TopicTable();
  table.load(opened.topics);
  table.setCommits(opened.commits);
  return new SqliteSpanLog(options, limits, thread, table);
}

function definedOf(options: SqliteSpanLogOptions): Partial<LogLimits> {
  const given = Object.entries(options).filter(([name, value]) => name in LOG_LIMITS && value !== undefined);
  return Object.fromEntries(given);
}

/** What `follow` reads at once, bytes of values. */
const FOLLOW_BYTES = 1024 * 1024;

class SqliteSpanLog implements SpanLog, LogTail {
  readonly #appends: AppendQueue;
  readonly #commits: CommitQueue;
  readonly #reads: ReadQueue;
  readonly #groups = new Map<string, ConsumerGroup>();
  readonly #metrics: LogMetrics;
  readonly #closing = new AbortController();
  readonly #retention: Promise<void>;
  /** The highest offset that a group has asked to commit, and where a group without a commit began. */
  readonly #asked = new Map<string, number>();
  readonly #began = new Map<string, number>();
  #closed: Promise<void> | null = null;

  constructor(
    private readonly options: SqliteSpanLogOptions,
    private readonly limits: LogLimits,
    private readonly thread: LogThread,
    private readonly table: TopicTable,
  ) {
    const { clock } = options;
    this.#appends = new AppendQueue(
      limits,
      async (topics, buffer) => {
        const startMs = clock.monotonicMs();
        const results = await thread.ask({ kind: 'append', nowMs: clock.nowMs(), buffer, topics });
        this.#roundMs = clock.monotonicMs() - startMs;
        return results;
      },
      {
        appended: (topic, partition, offsets, bytes) => {
          table.appended(topic, partition, offsets.at(-1)! + 1);
          this.#metrics.appended(topic, offsets.length, bytes);
        },
        round: (bytes, records) => this.#metrics.round(this.#roundMs, bytes, records),
      },
    );
    this.#commits = new CommitQueue(
      (commits) => thread.ask({ kind: 'commit', commits }),
      (rows) => {
        table.setCommits(rows);
        for (const [group, topic, partition] of rows) this.#groups.get(group)?.progressed(topic, partition);
      },
    );
    this.#reads = new ReadQueue((reads) => thread.ask({ kind: 'read', reads }));
    this.#metrics = new LogMetrics(options.registry, {
      lag: () => this.#lag(),
      members: () => [...this.#groups.values()].map((g) => ({ group: g.name, members: g.memberCount })),
      queuedBytes: () => this.#appends.queuedBytes,
    });
    this.#retention = this.#expireAgainAndAgain();
  }

  #roundMs = 0;

  async append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    this.#checkOpen(`appending to ${topic}/${partition}`);
    this.table.check(topic, partition);
    if (entries.length === 0) return { firstOffset: this.table.ends(topic)[partition]! };
    const offsets = await this.#appends.append(topic, partition, entries);
    return { firstOffset: offsets[0]! };
  }

  async subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    this.#checkOpen(`joining group ${subscription.group}`);
    for (const topic of subscription.topics) this.table.spec(topic);
    return this.#group(subscription.group).join(subscription);
  }

  async ends(topic: string): Promise<readonly number[]> {
    return [...this.table.ends(topic)];
  }

  async starts(topic: string): Promise<readonly number[]> {
    return [...this.table.starts(topic)];
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return [...this.table.committed(group, topic)];
  }

  async offsetAt(topic: string, partition: number, timeMs: number): Promise<number> {
    this.table.check(topic, partition);
    return this.thread.ask({ kind: 'offsetAt', topic, partition, timeMs });
  }

  async rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    this.table.check(topic, partition);
    checkOffset(nextOffset);
    const members = this.#groups.get(group)?.memberCount ?? 0;
    if (members > 0) {
      throw new MeridianError(
        'refused',
        `rewinding group ${group} on ${topic}/${partition}: it has ${members} members`,
        'later',
      );
    }
    this.#asked.set(JSON.stringify([group, topic, partition]), nextOffset);
    await this.#commits.commit([group, topic, partition, nextOffset]);
  }

  async read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]> {
    this.#checkOpen(`reading ${topic}/${partition}`);
    this.table.check(topic, partition);
    if (fromOffset >= this.table.ends(topic)[partition]!) return [];
    return this.#reads.read({ topic, partition, fromOffset, bytesMax });
  }

  async *follow(
    topic: string,
    partition: number,
    fromOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<FollowedBatch> {
    this.table.check(topic, partition);
    const either = AbortSignal.any([signal, this.#closing.signal]);
    let position = fromOffset;
    for (let first = true; !signal.aborted; first = false) {
      const records = await this.read(topic, partition, position, FOLLOW_BYTES);
      position = Math.max(position, (records.at(-1)?.offset ?? -1) + 1);
      if (signal.aborted) return;
      if (first || records.length > 0) yield { records, endOffset: this.table.ends(topic)[partition]! };
      await this.table.waitForEnd(topic, partition, position, either);
    }
  }

  async ensure(topics: readonly TopicSpec[]): Promise<void> {
    this.#checkOpen('ensuring topics');
    for (const spec of topics) checkSpec(spec, this.limits.partitionsMax);
    this.table.load(await this.thread.ask({ kind: 'ensure', topics }));
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Handlers may append and commit while they are closed; nothing is taken afterwards. */
  async #close(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => group.stop()));
    this.#closing.abort();
    await this.#appends.drained();
    await this.#commits.drained();
    await this.#retention;
    this.#metrics.remove();
    await this.thread.close();
  }

  #group(name: string): ConsumerGroup {
    const existing = this.#groups.get(name);
    if (existing) return existing;
    const { clock, logger } = this.options;
    const { redeliveryMs, redeliveryMaxMs } = this.limits;
    const group = new ConsumerGroup(name, {
      log: {
        read: (topic, partition, from, bytesMax) => this.read(topic, partition, from, bytesMax),
        waitForEnd: (topic, partition, offset, signal) => this.table.waitForEnd(topic, partition, offset, signal),
        commit: (of, topic, partition, nextOffset) => this.#commit(of, topic, partition, nextOffset),
      },
      startOffset: (of, topic, partition, from) => this.#startOffset(of, topic, partition, from),
      partitions: (topic) => this.table.spec(topic).partitions,
      clock,
      logger,
      redeliveryMs,
      redeliveryMaxMs,
    });
    this.#groups.set(name, group);
    return group;
  }

  async #commit(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    checkOffset(nextOffset);
    const stored = this.table.committed(group, topic)[partition] ?? -1;
    if (nextOffset <= stored) return;
    const key = JSON.stringify([group, topic, partition]);
    const highest = Math.max(nextOffset, this.#asked.get(key) ?? -1);
    this.#asked.set(key, highest);
    await this.#commits.commit([group, topic, partition, highest]);
  }

  /** A group keeps to where it once began until it has a commit, so that `latest` skips nothing when a partition changes hands. */
  #startOffset(group: string, topic: string, partition: number, from: LogSubscription['from']): number {
    const start = this.table.starts(topic)[partition]!;
    const end = this.table.ends(topic)[partition]!;
    const key = JSON.stringify([group, topic, partition]);
    const began = this.#began.get(key) ?? (from === 'earliest' ? start : end);
    this.#began.set(key, began);
    const wanted = this.table.committed(group, topic)[partition] ?? began;
    if (wanted > end) {
      this.options.logger.warn({ group, topic, partition, wanted, end }, 'a commit is past the end of the log');
    }
    return Math.min(Math.max(wanted, start), end);
  }

  /** Of all groups that have a commit or a member. */
  #lag() {
    const topicsOf = new Map<string, Set<string>>();
    const known = [
      ...this.table.groups(),
      ...[...this.#groups.values()].map((g) => ({ group: g.name, topics: g.topics() })),
    ];
    for (const { group, topics } of known) {
      topicsOf.set(group, new Set([...(topicsOf.get(group) ?? []), ...topics]));
    }
    return [...topicsOf].flatMap(([group, topics]) =>
      [...topics].map((topic) => {
        const starts = this.table.starts(topic);
        const commits = this.table.committed(group, topic);
        const lag = (end: number, p: number) => Math.max(0, end - (commits[p] ?? starts[p]!));
        return { group, topic, records: this.table.ends(topic).reduce((sum, end, p) => sum + lag(end, p), 0) };
      }),
    );
  }

  async #expireAgainAndAgain(): Promise<void> {
    const { clock, logger } = this.options;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const expired = await this.thread.ask({ kind: 'expire', nowMs: clock.nowMs() });
        for (const { topic, starts, error } of expired) {
          this.table.setStarts(topic, starts);
          if (error) logger.error({ topic, error: error.message }, 'removing expired records failed');
        }
      } catch (error) {
        logger.error({ error: messageOf(error) }, 'removing expired records failed');
      }
      await clock.sleep(this.limits.retentionCheckMs, signal);
    }
  }

  #checkOpen(attempt: string): void {
    if (this.#closing.signal.aborted) {
      throw new MeridianError('unavailable', `${attempt}: the log is closed`, 'later');
    }
  }
}

function checkOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new MeridianError('invalid', `offset ${offset} is not a whole number from 0 on`, 'never');
  }
}

function checkSpec({ name, partitions, retentionMs }: TopicSpec, partitionsMax: number): void {
  if (!isTopicName(name)) {
    throw new MeridianError(
      'invalid',
      `topic name ${JSON.stringify(name)}: 1 to 249 of letters, digits, '.', '_', '-'`,
      'never',
    );
  }
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > partitionsMax) {
    throw new MeridianError(
      'invalid',
      `topic ${name}: ${partitions} partitions, 1 to ${partitionsMax} may be`,
      'never',
    );
  }
  if (!Number.isSafeInteger(retentionMs) || retentionMs < 1) {
    throw new MeridianError('invalid', `topic ${name}: a retention of ${retentionMs} ms`, 'never');
  }
}
