import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

interface Waiting {
  readonly deadlineMs: number;
  end(error: MeridianError): void;
}

/**
 * The calls whose message is still on its way: bounds how many there are, and ends those that take too long. All have the same time,
 * so the oldest is the next that is due and one sleeper serves them all.
 */
export class Receiving {
  readonly #waiting = new Set<Waiting>();
  readonly #closed = new AbortController();
  #watching = false;

  constructor(
    private readonly callsMax: number,
    private readonly timeoutMs: number,
    private readonly clock: Clock,
  ) {}

  /**
   * Lets a call in, or throws `overloaded` (later). The returned function says that its message came, or that nobody waits for it
   * any more; it may be called twice. `end` is called once if that does not happen in time.
   */
  enter(end: (error: MeridianError) => void): () => void {
    if (this.#waiting.size >= this.callsMax) {
      throw new MeridianError(
        'overloaded',
        `the collector is receiving ${this.callsMax} gRPC messages, its limit (grpcReceivingMax)`,
        'later',
      );
    }
    const waiting = { deadlineMs: this.clock.monotonicMs() + this.timeoutMs, end };
    this.#waiting.add(waiting);
    if (!this.#watching) void this.#watch();
    return () => this.#waiting.delete(waiting);
  }

  /** No call is ended after this. */
  close(): void {
    this.#waiting.clear();
    this.#closed.abort();
  }

  async #watch(): Promise<void> {
    this.#watching = true;
    for (const waiting of this.#waiting) {
      const leftMs = waiting.deadlineMs - this.clock.monotonicMs();
      if (leftMs > 0) await this.clock.sleep(leftMs, this.#closed.signal);
      // Whoever left meanwhile was not waited for: the next one is looked at, and found not to be due yet.
      if (!this.#waiting.delete(waiting)) continue;
      waiting.end(new MeridianError('timeout', `no message came within ${this.timeoutMs} ms`, 'later'));
    }
    this.#watching = false;
  }
}
