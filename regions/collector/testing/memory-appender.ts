import type { LogAppender, LogEntry } from '../../../global/log/span-log.js';

export interface PendingAppend {
  readonly topic: string;
  readonly partition: number;
  readonly entries: readonly LogEntry[];
  resolve(): void;
  reject(error: Error): void;
}

/**
 * A log for tests of the collector: it keeps what is appended, and either resolves at once or waits for the test to settle each append.
 */
export class MemoryAppender implements LogAppender {
  /** Appends that are durable, in the order in which they became it. */
  readonly appended: PendingAppend[] = [];
  /** Appends that the test has to settle; only with `manual`. */
  readonly pending: PendingAppend[] = [];
  /** Where set, appends reject with it. */
  failWith: Error | null = null;

  constructor(public manual = false) {}

  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    return new Promise((resolve, reject) => {
      const append: PendingAppend = {
        topic,
        partition,
        entries,
        resolve: () => {
          // The caller may reuse its bytes from here on.
          this.appended.push({
            ...append,
            entries: entries.map((entry) => ({ ...entry, value: Buffer.from(entry.value) })),
          });
          resolve({ firstOffset: this.appended.length - 1 });
        },
        reject,
      };
      if (this.failWith) reject(this.failWith);
      else if (this.manual) this.pending.push(append);
      else append.resolve();
    });
  }

  /** Settles what is pending, with an error where one is given. */
  settle(error?: Error): void {
    for (const append of this.pending.splice(0)) error ? append.reject(error) : append.resolve();
  }

  /** All values of a topic in order of appending. */
  values(topic = 'spans'): Buffer[] {
    return this.appended
      .filter((append) => append.topic === topic)
      .flatMap((append) => append.entries.map((entry) => Buffer.from(entry.value)));
  }
}
