import type {
  LogAppender,
  LogConsumers,
  LogEntry,
  LogOffsets,
  LogReads,
  LogRecord,
  LogSubscription,
  PartitionHandler,
} from '../log/span-log.js';
import type { FollowedRecords, RegionFeed } from '../region-api/region-client.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';

interface Topic {
  readonly partitions: LogRecord[][];
  readonly startOffsets: number[];
}

/**
 * A log in memory for the tests of this folder: one member per group, delivery resumes at the commit after a rejection. `onAppend` may throw
 * before (or, as `after`, once) entries are in.
 */
export class MemoryLog implements LogAppender, LogConsumers, LogOffsets, LogReads {
  readonly #topics = new Map<string, Topic>();
  readonly #commits = new Map<string, number>();
  readonly #watchers = new Set<() => void>();
  /** Partitions that another member owns for now. */
  readonly #away = new Set<string>();
  /** Grows with each append, and when a partition changes hands. */
  version = 0;
  onAppend: (when: 'before' | 'after', topic: string, partition: number) => void = () => {};

  constructor(
    private readonly clock: Clock,
    topics: Record<string, number>,
  ) {
    for (const [name, partitions] of Object.entries(topics)) {
      this.#topics.set(name, {
        partitions: Array.from({ length: partitions }, () => []),
        startOffsets: Array.from({ length: partitions }, () => 0),
      });
    }
  }

  #topic(name: string): Topic {
    const topic = this.#topics.get(name);
    if (!topic) throw new MeridianError('not-found', `no topic ${name}`, 'never');
    return topic;
  }

  records(topic: string, partition: number): readonly LogRecord[] {
    return this.#topic(topic).partitions[partition]!;
  }

  async append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    this.onAppend('before', topic, partition);
    const records = this.#topic(topic).partitions[partition]!;
    const firstOffset = this.#end(topic, partition);
    for (const entry of entries) {
      records.push({ ...entry, offset: this.#end(topic, partition), appendedMs: this.clock.nowMs() });
    }
    this.#changed();
    this.onAppend('after', topic, partition);
    return { firstOffset };
  }

  #end(topic: string, partition: number): number {
    const { partitions, startOffsets } = this.#topic(topic);
    return (partitions[partition]!.at(-1)?.offset ?? startOffsets[partition]! - 1) + 1;
  }

  #changed(): void {
    this.version++;
    for (const wake of [...this.#watchers]) wake();
  }

  /** The partition goes to another member, as in a rebalance. What it commits is `rewind`. */
  giveAway(topic: string, partition: number): void {
    this.#away.add(`${topic}/${partition}`);
    this.#changed();
  }

  takeBack(topic: string, partition: number): void {
    this.#away.delete(`${topic}/${partition}`);
    this.#changed();
  }

  /** Forgets the records before the offset, as retention does. */
  forget(topic: string, partition: number, before: number): void {
    const found = this.#topic(topic);
    found.partitions[partition] = found.partitions[partition]!.filter((r) => r.offset >= before);
    found.startOffsets[partition] = before;
  }

  async ends(topic: string): Promise<readonly number[]> {
    return this.#topic(topic).partitions.map((_, partition) => this.#end(topic, partition));
  }

  async starts(topic: string): Promise<readonly number[]> {
    const { partitions, startOffsets } = this.#topic(topic);
    return partitions.map((records, partition) => records[0]?.offset ?? startOffsets[partition]!);
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return this.#topic(topic).partitions.map((_, p) => this.#commits.get(`${group}/${topic}/${p}`) ?? null);
  }

  async offsetAt(topic: string, partition: number, timeMs: number): Promise<number> {
    return this.records(topic, partition).find((r) => r.appendedMs >= timeMs)?.offset ?? this.#end(topic, partition);
  }

  async rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    this.#commits.set(`${group}/${topic}/${partition}`, nextOffset);
  }

  async read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]> {
    const found: LogRecord[] = [];
    let bytes = 0;
    for (const record of this.records(topic, partition)) {
      if (record.offset < fromOffset) continue;
      bytes += record.value.length;
      if (found.length > 0 && bytes > bytesMax) break;
      found.push(record);
    }
    return found;
  }

  /** Resolves when something was appended since that version, or the signal aborts. */
  changed(signal: AbortSignal, since: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#watchers.add(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted || this.version !== since) done();
    });
  }

  async subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    const stopped = new AbortController();
    const loops = subscription.topics.flatMap((topic) =>
      this.#topic(topic).partitions.map((_, partition) =>
        this.#consume(subscription, topic, partition, stopped.signal),
      ),
    );
    return {
      stop: async () => {
        stopped.abort();
        await Promise.all(loops);
      },
    };
  }

  async #consume(subscription: LogSubscription, topic: string, partition: number, signal: AbortSignal): Promise<void> {
    const key = `${subscription.group}/${topic}/${partition}`;
    const isAway = () => this.#away.has(`${topic}/${partition}`);
    while (!signal.aborted) {
      if (isAway()) {
        await this.changed(signal, this.version);
        continue;
      }
      let next = this.#commits.get(key) ?? 0;
      const handler: PartitionHandler = subscription.assigned({
        topic,
        partition,
        startOffset: next,
        commit: async (offset) => {
          this.#commits.set(key, Math.max(offset, this.#commits.get(key) ?? 0));
        },
      });
      try {
        while (!signal.aborted && !isAway()) {
          const since = this.version;
          const records = await this.read(topic, partition, next, subscription.batchBytesMax);
          if (records.length === 0) {
            await this.changed(signal, since);
            continue;
          }
          await handler.records({ topic, partition, records });
          next = records.at(-1)!.offset + 1;
        }
        await handler.close(isAway() ? 'revoked' : 'stopped');
      } catch {
        await handler.close('lost');
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }
}

/** A region's feed straight from its log. `fault` may throw when a connection begins or a batch goes out; `hung` sends nothing. */
export class MemoryFeed implements RegionFeed {
  connections = 0;
  hung = false;
  fault: (connection: number, batch: number) => void = () => {};

  constructor(
    private readonly log: MemoryLog,
    private readonly batchBytesMax = 1024,
  ) {}

  async *followTopic(
    topic: string,
    partition: number,
    fromOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<FollowedRecords> {
    const connection = this.connections++;
    let next = fromOffset;
    for (let batch = 0; !signal.aborted; ) {
      if (this.hung) {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
        return;
      }
      this.fault(connection, batch);
      const since = this.log.version;
      const records = await this.log.read(topic, partition, next, this.batchBytesMax);
      const endOffset = (await this.log.ends(topic))[partition]!;
      if (records.length > 0 || batch === 0) {
        next = (records.at(-1)?.offset ?? next - 1) + 1;
        batch++;
        yield { records, endOffset };
      } else await this.log.changed(signal, since);
    }
  }
}

/** Lets everything run that can without time going on. */
export async function settle(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}
