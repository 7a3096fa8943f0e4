import type { CommitRow } from './log-protocol.js';

interface QueuedCommit {
  row: CommitRow;
  readonly waiting: { resolve(): void; reject(error: Error): void }[];
}

/** Commits of consumer groups on their way to disk: those of one partition that wait together become one, the last. */
export class CommitQueue {
  #queued = new Map<string, QueuedCommit>();
  #running: Promise<void> | null = null;

  constructor(
    private readonly store: (rows: readonly CommitRow[]) => Promise<unknown>,
    private readonly stored: (rows: readonly CommitRow[]) => void,
  ) {}

  /** Resolves when this commit, or a later one of the same group and partition, is durable. */
  commit(row: CommitRow): Promise<void> {
    const key = JSON.stringify(row.slice(0, 3));
    return new Promise((resolve, reject) => {
      const queued = this.#queued.get(key);
      if (queued) {
        queued.row = row;
        queued.waiting.push({ resolve, reject });
      } else this.#queued.set(key, { row, waiting: [{ resolve, reject }] });
      this.#running ??= Promise.resolve().then(() => this.#run());
    });
  }

  async drained(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#queued.size > 0) {
      const queued = [...this.#queued.values()];
      this.#queued = new Map();
      const rows = queued.map((q) => q.row);
      try {
        await this.store(rows);
        this.stored(rows);
        for (const { waiting } of queued) for (const { resolve } of waiting) resolve();
      } catch (error) {
        const failure = error instanceof Error ? error : new Error(String(error));
        for (const { waiting } of queued) for (const { reject } of waiting) reject(failure);
      }
    }
    this.#running = null;
  }
}
