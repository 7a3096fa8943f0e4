/** Time as an argument: nothing but `realClock` asks the machine. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch; may step. */
  nowMs(): number;
  /** Wall clock in nanoseconds. */
  nowUnixNano(): bigint;
  /** Milliseconds from an arbitrary start; never steps back. For measuring and for deadlines. */
  monotonicMs(): number;
  /** Resolves after `ms`, or at once when the signal aborts (it does not reject). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const realClock: Clock = {
  nowMs: () => Date.now(),
  nowUnixNano: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n,
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done, { once: true });
    }),
};

/** A clock that moves only when it is told to. Sleepers wake in order of their time. */
export class ManualClock implements Clock {
  #ms: number;
  #sleepers: { atMs: number; wake: () => void }[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.#ms = startMs;
  }

  nowMs(): number {
    return Math.trunc(this.#ms);
  }

  nowUnixNano(): bigint {
    return BigInt(Math.round(this.#ms * 1000)) * 1000n;
  }

  monotonicMs(): number {
    return this.#ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0 || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = { atMs: this.#ms + ms, wake: () => done() };
      const done = () => {
        this.#sleepers = this.#sleepers.filter((s) => s !== sleeper);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', done, { once: true });
    });
  }

  /** Moves time forward, waking sleepers on the way; what they do in microtasks happens before the next wakes. */
  async advance(ms: number): Promise<void> {
    const until = this.#ms + ms;
    for (;;) {
      const next = this.#sleepers.filter((s) => s.atMs <= until).sort((a, b) => a.atMs - b.atMs)[0];
      if (!next) break;
      this.#ms = Math.max(this.#ms, next.atMs);
      next.wake();
      for (let i = 0; i < 10; i++) await Promise.resolve();
    }
    this.#ms = until;
  }
}
