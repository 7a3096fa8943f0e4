import type { Clock } from '../runtime/clock.js';

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Waits that double from `firstMs` to `maxMs`, each between half and the whole of that (jitter). */
export class Backoff {
  #attempts = 0;

  constructor(
    private readonly clock: Clock,
    /** From 0 to below 1. */
    private readonly random: () => number,
    private readonly options: BackoffOptions,
  ) {}

  /** Waits, or returns at once when the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    const full = Math.min(this.options.maxMs, this.options.firstMs * 2 ** Math.min(this.#attempts++, 30));
    await this.clock.sleep(full / 2 + (this.random() * full) / 2, signal);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
