import type { TestContext } from 'vitest';
import type {
  LogEntry,
  LogRecord,
  LogSubscription,
  PartitionAssignment,
  SpanLog,
  TopicSpec,
} from '../../global/log/span-log.js';
import { invariant } from '../../global/runtime/errors.js';

/** A log that the contract suite can try, and what it needs to know of it. */
export interface LogUnderTest {
  readonly log: SpanLog;
  /** A name that nothing in the log has yet. */
  name(base: string): string;
  /** Bytes of an entry that is certainly larger than the log takes. */
  readonly tooLargeBytes: number;
  /** Lets the log's clock go on by some milliseconds at least. */
  tick(): Promise<void>;
  /** Retention that `expire` can wait for. */
  readonly shortRetentionMs: number;
  /** Lets so much time pass that records older than `shortRetentionMs` may go, and gives the log the occasion. */
  expire(): Promise<void>;
  /** Closes the log and opens it again. */
  reopen(): Promise<SpanLog>;
  /** The log as it is found after its process was killed, without any closing. The old one is not used any more. */
  crash(): Promise<SpanLog>;
  dispose(): Promise<void>;
}

/** How long an event of the log may take before a test gives up; rebalances of a real broker take seconds. */
export interface ContractOptions {
  readonly patienceMs?: number;
}

export type OpenLog = (t: TestContext) => Promise<LogUnderTest>;

export function topicOf(name: string, partitions: number, over: Partial<TopicSpec> = {}): TopicSpec {
  return { name, partitions, retentionMs: 3_600_000, compacted: false, ...over };
}

export function textEntry(value: string, key: string | null = null): LogEntry {
  return { key: key === null ? null : Buffer.from(key), value: Buffer.from(value), headers: {} };
}

export function texts(records: readonly LogRecord[]): string[] {
  return records.map((record) => Buffer.from(record.value).toString());
}

/** All records of a partition from an offset on. */
export async function readAll(log: SpanLog, topic: string, partition: number, fromOffset = 0): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  for (let from = fromOffset; ; ) {
    const records = await log.read(topic, partition, from, 64 * 1024);
    const last = records.at(-1);
    if (!last) return all;
    all.push(...records);
    from = last.offset + 1;
  }
}

/** Wakes whoever waits for a condition each time something has happened: no polling, no sleeping. */
export class Happenings {
  readonly #waiting = new Set<() => void>();

  happened(): void {
    for (const check of [...this.#waiting]) check();
  }

  /** Resolves when the condition holds; checked now and at every happening. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const check = () => {
        if (!condition()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
    });
  }
}

/** An ownership of a partition by a member, as it went. */
export interface Ownership {
  readonly assignment: PartitionAssignment;
  readonly partition: number;
  closed: 'revoked' | 'stopped' | 'lost' | null;
}

export interface MemberOptions extends Partial<LogSubscription> {
  readonly group: string;
  readonly topics: readonly string[];
  /** Called for each batch, before it is counted as taken. */
  onBatch?(records: readonly LogRecord[], ownership: Ownership, member: Member): Promise<void> | void;
  onClose?(reason: string, ownership: Ownership, member: Member): Promise<void> | void;
  /** Commit after each batch. Default true. */
  readonly commits?: boolean;
}

/**
 * A member of a group that writes down what happens to it. It holds the log to the rules that always hold: one batch of a partition at a
 * time, nothing before `assigned` or after `close`, offsets in order from `startOffset` on, and one owner per partition and group.
 */
export class Member {
  readonly ownerships: Ownership[] = [];
  /** Batches in the order in which they were taken. */
  readonly batches: { readonly topic: string; readonly partition: number; readonly records: readonly LogRecord[] }[] =
    [];
  /** Rules that were broken. A test expects none. */
  readonly broken: string[] = [];
  #subscription: { stop(): Promise<void> } | null = null;

  private constructor(
    private readonly happenings: Happenings,
    private readonly owners: Map<string, Member>,
  ) {}

  /** `owners` is shared by the members of a group. */
  static async join(
    log: SpanLog,
    options: MemberOptions,
    shared: { readonly happenings: Happenings; readonly owners: Map<string, Member> },
  ): Promise<Member> {
    const member = new Member(shared.happenings, shared.owners);
    member.#subscription = await log.subscribe({
      from: 'earliest',
      batchBytesMax: 64 * 1024,
      ...options,
      assigned: (assignment) => member.#assigned(assignment, options),
    });
    return member;
  }

  /** Partitions that it owns now. */
  owned(): number[] {
    const partitions = this.ownerships.filter((o) => o.closed === null).map((o) => o.partition);
    return partitions.sort((a, b) => a - b);
  }

  taken(topic?: string): LogRecord[] {
    return this.batches.filter((b) => topic === undefined || b.topic === topic).flatMap((b) => b.records);
  }

  until(condition: () => boolean): Promise<void> {
    return this.happenings.until(condition);
  }

  async stop(): Promise<void> {
    await this.#subscription?.stop();
  }

  #assigned(assignment: PartitionAssignment, options: MemberOptions) {
    const { topic, partition } = assignment;
    const place = `${topic}/${partition}`;
    const ownership: Ownership = { assignment, partition, closed: null };
    if (this.owners.has(place)) this.broken.push(`${place} has two owners`);
    this.owners.set(place, this);
    this.ownerships.push(ownership);
    this.happenings.happened();
    let running = false;
    let nextOffset = assignment.startOffset;
    return {
      records: async (batch: { topic: string; partition: number; records: readonly LogRecord[] }) => {
        if (running) this.broken.push(`${place}: a batch before the last one was done`);
        if (ownership.closed) this.broken.push(`${place}: a batch after close`);
        if (batch.topic !== topic || batch.partition !== partition) this.broken.push(`${place}: a batch of another`);
        for (const { offset } of batch.records) {
          if (offset < nextOffset) this.broken.push(`${place}: offset ${offset} where ${nextOffset} was next`);
          nextOffset = offset + 1;
        }
        const last = batch.records.at(-1);
        invariant(last, 'a batch holds at least one record');
        running = true;
        try {
          await options.onBatch?.(batch.records, ownership, this);
          this.batches.push(batch);
          if (options.commits !== false) await assignment.commit(last.offset + 1);
        } finally {
          running = false;
          this.happenings.happened();
        }
      },
      close: async (reason: 'revoked' | 'stopped' | 'lost') => {
        if (running) this.broken.push(`${place}: close while a batch is running`);
        if (ownership.closed) this.broken.push(`${place}: closed twice`);
        await options.onClose?.(reason, ownership, this);
        ownership.closed = reason;
        this.owners.delete(place);
        this.happenings.happened();
      },
    };
  }
}
