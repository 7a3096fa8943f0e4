import type {
  LogBatch,
  LogEntry,
  LogRecord,
  LogSubscription,
  PartitionHandler,
  SpanLog,
  TopicSpec,
} from '../../../global/log/span-log.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';

/**
 * A log in memory for the assembler's tests: what it holds outlives its sessions, as a disk outlives processes. One session at a time
 * owns all partitions of what it subscribes to; a killed session has no further effect and gets no further answer.
 */
export class MemoryLog {
  readonly topics = new Map<string, LogRecord[][]>();
  readonly commits = new Map<string, (number | null)[]>();
  /** Appends and commits fail with `unavailable` while this is set. */
  isDown = false;
  /** Makes the append of an entry fail for good. */
  refuse: ((topic: string, entry: LogEntry) => MeridianError | null) | null = null;
  readonly #waiting = new Set<() => void>();

  constructor(readonly nowMs: () => number = () => 0) {}

  ensure(topics: readonly TopicSpec[]): void {
    for (const { name, partitions } of topics) {
      if (!this.topics.has(name))
        this.topics.set(
          name,
          Array.from({ length: partitions }, () => []),
        );
    }
  }

  records(topic: string, partition: number): LogRecord[] {
    const records = this.topics.get(topic)?.[partition];
    if (!records) throw new MeridianError('not-found', `no partition ${topic}/${partition}`, 'never');
    return records;
  }

  append(topic: string, partition: number, entries: readonly LogEntry[]): { firstOffset: number } {
    if (this.isDown) throw new MeridianError('unavailable', `append to ${topic}: down`, 'later');
    const records = this.records(topic, partition);
    const firstOffset = (records.at(-1)?.offset ?? -1) + 1;
    for (const entry of entries) {
      const error = this.refuse?.(topic, entry);
      if (error) throw error;
      const offset = (records.at(-1)?.offset ?? -1) + 1;
      records.push({ ...entry, value: Buffer.from(entry.value), offset, appendedMs: this.nowMs() });
    }
    this.wake();
    return { firstOffset };
  }

  commitsOf(group: string, topic: string): (number | null)[] {
    const key = `${group} ${topic}`;
    let commits = this.commits.get(key);
    if (!commits) {
      commits = (this.topics.get(topic) ?? []).map(() => null);
      this.commits.set(key, commits);
    }
    return commits;
  }

  wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  session(): MemoryLogSession {
    return new MemoryLogSession(this);
  }
}

interface Running {
  stopping: boolean;
  readonly done: Promise<void>[];
}

export class MemoryLogSession implements SpanLog {
  #killed = false;
  readonly #running = new Set<Running>();

  constructor(private readonly log: MemoryLog) {}

  /** The process is gone: nothing it does from now on has an effect. */
  kill(): void {
    this.#killed = true;
    this.log.wake();
  }

  /** An effect and its answer, each of which a kill may prevent. */
  async #act<T>(effect: () => T): Promise<T> {
    await Promise.resolve();
    if (this.#killed) return new Promise(() => {});
    const result = effect();
    await Promise.resolve();
    return this.#killed ? new Promise(() => {}) : result;
  }

  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    return this.#act(() => this.log.append(topic, partition, entries));
  }

  async subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    const running: Running = { stopping: false, done: [] };
    this.#running.add(running);
    for (const topic of subscription.topics) {
      for (const partition of (this.log.topics.get(topic) ?? []).keys()) {
        running.done.push(this.#consume(subscription, topic, partition, running));
      }
    }
    return {
      stop: async () => {
        running.stopping = true;
        this.log.wake();
        await Promise.all(running.done);
      },
    };
  }

  async #consume(subscription: LogSubscription, topic: string, partition: number, running: Running): Promise<void> {
    while (!running.stopping && !this.#killed) {
      const commits = this.log.commitsOf(subscription.group, topic);
      const startOffset = commits[partition] ?? 0;
      let owned = true;
      const handler = subscription.assigned({
        topic,
        partition,
        startOffset,
        commit: (nextOffset) =>
          this.#act(() => {
            if (!owned) throw new MeridianError('refused', `commit of ${topic}/${partition}: not owned`, 'never');
            if (this.log.isDown) throw new MeridianError('unavailable', `commit of ${topic}: down`, 'later');
            commits[partition] = Math.max(commits[partition] ?? 0, nextOffset);
          }),
      });
      const reason = await this.#deliver(handler, subscription, topic, partition, startOffset, running);
      if (reason === 'killed') return;
      if (reason === 'lost') owned = false;
      await handler.close(reason);
      owned = false;
    }
  }

  async #deliver(
    handler: PartitionHandler,
    { batchBytesMax }: LogSubscription,
    topic: string,
    partition: number,
    startOffset: number,
    running: Running,
  ): Promise<'stopped' | 'lost' | 'killed'> {
    let next = startOffset;
    for (;;) {
      if (this.#killed) return 'killed';
      if (running.stopping) return 'stopped';
      const batch = this.#batch(topic, partition, next, batchBytesMax);
      if (!batch) {
        await this.log.changed();
        continue;
      }
      try {
        await handler.records(batch);
      } catch {
        return this.#killed ? 'killed' : 'lost';
      }
      next = batch.records.at(-1)!.offset + 1;
    }
  }

  #batch(topic: string, partition: number, from: number, bytesMax: number): LogBatch | null {
    const records = this.#page(topic, partition, from, bytesMax);
    return records.length > 0 ? { topic, partition, records } : null;
  }

  #page(topic: string, partition: number, from: number, bytesMax: number): LogRecord[] {
    const page: LogRecord[] = [];
    let bytes = 0;
    for (const record of this.log.records(topic, partition)) {
      if (record.offset < from) continue;
      bytes += record.value.length;
      if (page.length > 0 && bytes > bytesMax) break;
      page.push(record);
    }
    return page;
  }

  ends(topic: string): Promise<readonly number[]> {
    return this.#act(() => (this.log.topics.get(topic) ?? []).map((records) => (records.at(-1)?.offset ?? -1) + 1));
  }

  starts(topic: string): Promise<readonly number[]> {
    return this.#act(() => (this.log.topics.get(topic) ?? []).map((records) => records[0]?.offset ?? 0));
  }

  committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return this.#act(() => [...this.log.commitsOf(group, topic)]);
  }

  offsetAt(topic: string, partition: number, timeMs: number): Promise<number> {
    return this.#act(() => {
      const records = this.log.records(topic, partition);
      return records.find((record) => record.appendedMs >= timeMs)?.offset ?? (records.at(-1)?.offset ?? -1) + 1;
    });
  }

  rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    return this.#act(() => {
      this.log.commitsOf(group, topic)[partition] = nextOffset;
    });
  }

  read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]> {
    return this.#act(() => {
      if (this.log.isDown) throw new MeridianError('unavailable', `read of ${topic}: down`, 'later');
      return this.#page(topic, partition, fromOffset, bytesMax);
    });
  }

  ensure(topics: readonly TopicSpec[]): Promise<void> {
    return this.#act(() => this.log.ensure(topics));
  }

  async close(): Promise<void> {
    for (const running of this.#running) running.stopping = true;
    this.log.wake();
    await Promise.all([...this.#running].flatMap((running) => running.done)).catch((error: unknown) => {
      throw new Error(`closing the log: ${messageOf(error)}`);
    });
  }
}
