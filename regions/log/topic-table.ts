import type { TopicSpec } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { CommitRow, TopicState } from './log-protocol.js';

interface TopicEntry {
  spec: TopicSpec;
  readonly starts: number[];
  readonly ends: number[];
  readonly waiters: Set<() => void>[];
}

/** What the event loop knows of the topics without asking the thread: it is the only one that appends. */
export class TopicTable {
  readonly #topics = new Map<string, TopicEntry>();
  readonly #commits = new Map<string, Map<string, (number | null)[]>>();

  load(states: readonly TopicState[]): void {
    for (const { spec, starts, ends } of states) {
      const entry = this.#topics.get(spec.name);
      if (entry) entry.spec = spec;
      else {
        const waiters = Array.from({ length: spec.partitions }, () => new Set<() => void>());
        this.#topics.set(spec.name, { spec, starts: [...starts], ends: [...ends], waiters });
      }
    }
  }

  names(): string[] {
    return [...this.#topics.keys()];
  }

  spec(topic: string): TopicSpec {
    return this.#entry(topic).spec;
  }

  /** Throws `not-found`. */
  check(topic: string, partition: number): void {
    const { partitions } = this.#entry(topic).spec;
    if (!Number.isInteger(partition) || partition < 0 || partition >= partitions) {
      throw new MeridianError(
        'not-found',
        `topic ${topic} has no partition ${partition} but 0-${partitions - 1}`,
        'never',
      );
    }
  }

  starts(topic: string): readonly number[] {
    return this.#entry(topic).starts;
  }

  ends(topic: string): readonly number[] {
    return this.#entry(topic).ends;
  }

  setStarts(topic: string, starts: readonly number[]): void {
    const entry = this.#entry(topic);
    for (const [partition, start] of starts.entries()) entry.starts[partition] = start;
  }

  /** The partition has grown; whoever waits for that goes on. */
  appended(topic: string, partition: number, endOffset: number): void {
    const entry = this.#entry(topic);
    entry.ends[partition] = Math.max(entry.ends[partition]!, endOffset);
    const waiters = [...entry.waiters[partition]!];
    entry.waiters[partition]!.clear();
    for (const wake of waiters) wake();
  }

  /** Resolves when the end of the partition is past `offset`, or when the signal aborts. */
  waitForEnd(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<void> {
    const entry = this.#entry(topic);
    if (entry.ends[partition]! > offset || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        entry.waiters[partition]!.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      entry.waiters[partition]!.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  groups(): { group: string; topics: string[] }[] {
    return [...this.#commits].map(([group, topics]) => ({ group, topics: [...topics.keys()] }));
  }

  committed(group: string, topic: string): readonly (number | null)[] {
    const { partitions } = this.#entry(topic).spec;
    return this.#commits.get(group)?.get(topic) ?? new Array<null>(partitions).fill(null);
  }

  setCommits(rows: readonly CommitRow[]): void {
    for (const [group, topic, partition, nextOffset] of rows) {
      const entry = this.#topics.get(topic);
      if (!entry) continue;
      const topics = this.#commits.get(group) ?? new Map<string, (number | null)[]>();
      this.#commits.set(group, topics);
      const commits = topics.get(topic) ?? new Array<number | null>(entry.spec.partitions).fill(null);
      topics.set(topic, commits);
      commits[partition] = nextOffset;
    }
  }

  #entry(topic: string): TopicEntry {
    const entry = this.#topics.get(topic);
    if (!entry) throw new MeridianError('not-found', `there is no topic ${topic}`, 'never');
    return entry;
  }
}
