import { MeridianError } from '../../runtime/errors.js';
import type {
  LogBatch,
  LogEntry,
  LogRecord,
  LogSubscription,
  PartitionHandler,
  SpanLog,
  TopicSpec,
} from '../span-log.js';
import type { MemoryLog, MemoryMember } from './memory-log.js';

interface Running extends MemoryMember {
  readonly done: Promise<void>[];
}

/** One process's use of a `MemoryLog`. A killed session has no further effect and gets no further answer. */
export class MemoryLogSession implements SpanLog {
  #killed = false;
  readonly #running = new Set<Running>();

  constructor(private readonly log: MemoryLog) {}

  /** The process is gone: nothing it does from here on has an effect. Its partitions are free at once. */
  kill(): void {
    this.#killed = true;
    for (const running of this.#running) this.log.leave(running);
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

  #checkUp(attempt: string): void {
    if (this.log.isDown) throw new MeridianError('unavailable', `${attempt}: down`, 'later');
  }

  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    return this.#act(() => {
      this.#checkUp(`append to ${topic}`);
      return this.log.append(topic, partition, entries);
    });
  }

  async subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    const running: Running = { subscription, leaving: false, done: [] };
    const counts = subscription.topics.map((topic) => this.log.partitionCount(topic));
    this.#running.add(running);
    this.log.join(running);
    subscription.topics.forEach((topic, i) => {
      for (let partition = 0; partition < counts[i]!; partition++) {
        running.done.push(this.#consume(running, topic, partition));
      }
    });
    return { stop: () => this.#stop(running) };
  }

  async #stop(running: Running): Promise<void> {
    running.leaving = true;
    this.log.wake();
    await Promise.all(running.done);
    this.#running.delete(running);
    this.log.leave(running);
  }

  async #consume(running: Running, topic: string, partition: number): Promise<void> {
    while (!running.leaving && !this.#killed) {
      if (!this.log.isFor(running, topic, partition) || !this.log.take(running, topic, partition)) {
        await this.log.changed();
        continue;
      }
      const reason = await this.#own(running, topic, partition);
      if (reason === 'killed') return;
      this.log.release(running, topic, partition);
      // A handler that fails again and again leaves room for others.
      if (reason === 'lost') await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #own(running: Running, topic: string, partition: number): Promise<'stopped' | 'revoked' | 'lost' | 'killed'> {
    const { group, from, assigned } = running.subscription;
    const commits = this.log.commitsOf(group, topic);
    const first = from === 'earliest' ? this.log.start(topic, partition) : this.log.end(topic, partition);
    const startOffset = commits[partition] ?? first;
    let owned = true;
    const handler = assigned({
      topic,
      partition,
      startOffset,
      commit: (nextOffset) =>
        this.#act(() => {
          if (!owned) throw new MeridianError('refused', `commit of ${topic}/${partition}: not owned`, 'never');
          this.#checkUp(`commit of ${topic}`);
          commits[partition] = Math.max(commits[partition] ?? 0, nextOffset);
        }),
    });
    const reason = await this.#deliver(handler, running, topic, partition, startOffset);
    if (reason === 'killed') return reason;
    if (reason === 'lost') owned = false;
    await handler.close(reason);
    owned = false;
    return reason;
  }

  async #deliver(
    handler: PartitionHandler,
    running: Running,
    topic: string,
    partition: number,
    startOffset: number,
  ): Promise<'stopped' | 'revoked' | 'lost' | 'killed'> {
    for (let next = startOffset; ; ) {
      if (this.#killed) return 'killed';
      if (running.leaving) return 'stopped';
      if (!this.log.isFor(running, topic, partition)) return 'revoked';
      const batch: LogBatch = {
        topic,
        partition,
        records: this.#page(topic, partition, next, running.subscription.batchBytesMax),
      };
      const last = batch.records.at(-1);
      if (!last) {
        await this.log.changed();
        continue;
      }
      try {
        await handler.records(batch);
      } catch {
        return this.#killed ? 'killed' : 'lost';
      }
      next = last.offset + 1;
    }
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

  /** One answer per partition. */
  #each<T>(topic: string, of: (partition: number) => T): T[] {
    return Array.from({ length: this.log.partitionCount(topic) }, (_, partition) => of(partition));
  }

  ends(topic: string): Promise<readonly number[]> {
    return this.#act(() => this.#each(topic, (partition) => this.log.end(topic, partition)));
  }

  starts(topic: string): Promise<readonly number[]> {
    return this.#act(() => this.#each(topic, (partition) => this.log.start(topic, partition)));
  }

  committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return this.#act(() => [...this.log.commitsOf(group, topic)]);
  }

  offsetAt(topic: string, partition: number, timeMs: number): Promise<number> {
    return this.#act(() => {
      const found = this.log.records(topic, partition).find(({ appendedMs }) => appendedMs >= timeMs);
      return found?.offset ?? this.log.end(topic, partition);
    });
  }

  rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    return this.#act(() => {
      if (this.log.membersOf(group, topic).length > 0) {
        throw new MeridianError('refused', `rewind of ${topic}: group ${group} has members`, 'never');
      }
      this.log.commitsOf(group, topic)[partition] = nextOffset;
    });
  }

  read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]> {
    return this.#act(() => {
      this.#checkUp(`read of ${topic}`);
      return this.#page(topic, partition, fromOffset, bytesMax);
    });
  }

  ensure(topics: readonly TopicSpec[]): Promise<void> {
    return this.#act(() => this.log.ensure(topics));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#running].map((running) => this.#stop(running)));
  }
}
