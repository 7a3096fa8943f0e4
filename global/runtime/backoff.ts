import type { Clock } from './clock.js';
import { MeridianError } from './errors.js';

export interface BackoffRange {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** The wait after failure number `failure` (from 1): `firstMs`, doubled with each one, up to `maxMs`. */
export function backoffMs({ firstMs, maxMs }: BackoffRange, failure: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(failure - 1, DOUBLINGS_MAX));
}

const DOUBLINGS_MAX = 30;

/** Waits of `backoffMs`, each between half and the whole of it (jitter). */
export class Backoff {
  #failures = 0;

  constructor(
    private readonly clock: Clock,
    /** From 0 to below 1. */
    private readonly random: () => number,
    private readonly range: BackoffRange,
  ) {}

  /** Waits, or returns at once when the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    const fullMs = backoffMs(this.range, ++this.#failures);
    await this.clock.sleep(fullMs / 2 + (this.random() * fullMs) / 2, signal);
  }

  reset(): void {
    this.#failures = 0;
  }
}

export interface RetryOptions extends BackoffRange {
  readonly clock: Clock;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
  /** Before each wait; `waitMs` is at least what the failure itself asked for (`retryAfterMs`). */
  readonly onRetry: (error: MeridianError, waitMs: number) => void;
}

/** Repeats while it fails with `retry: 'later'`; any other failure, and the last one once the signal is aborted, is thrown. */
export async function untilDone<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, onRetry } = options;
  for (let failure = 1; ; failure++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof MeridianError) || error.retry !== 'later' || signal.aborted) throw error;
      const waitMs = Math.max(backoffMs(options, failure), error.retryAfterMs ?? 0);
      onRetry(error, waitMs);
      await clock.sleep(waitMs, signal);
      if (signal.aborted) throw error;
    }
  }
}
