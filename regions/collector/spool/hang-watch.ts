import type { Clock } from '../../../global/runtime/clock.js';

export interface Watched {
  /** Monotonic milliseconds. */
  readonly beganMs: number;
}

/** Tells of each call that has no answer within the limit, once. One sleeper serves all, as the oldest is the next that is due. */
export class HangWatch<T extends Watched> {
  readonly #calls = new Set<T>();
  readonly #closed = new AbortController();
  #isWatching = false;

  constructor(
    private readonly limitMs: number,
    private readonly clock: Clock,
    private readonly hung: (call: T) => void,
  ) {}

  add(call: T): void {
    this.#calls.add(call);
    if (!this.#isWatching) void this.#watch();
  }

  delete(call: T): void {
    this.#calls.delete(call);
  }

  close(): void {
    this.#calls.clear();
    this.#closed.abort();
  }

  async #watch(): Promise<void> {
    this.#isWatching = true;
    // As soon as nothing is under way it ends, after one more look: a log that answers costs one timer per limit, not one per call.
    for (let [oldest] = this.#calls; oldest && !this.#closed.signal.aborted; [oldest] = this.#calls) {
      const leftMs = oldest.beganMs + this.limitMs - this.clock.monotonicMs();
      if (leftMs > 0) {
        await this.clock.sleep(leftMs, this.#closed.signal);
        continue;
      }
      this.#calls.delete(oldest);
      this.hung(oldest);
    }
    this.#isWatching = false;
  }
}
