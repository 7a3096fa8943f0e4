import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

export interface RetryOptions {
  readonly clock: Clock;
  readonly firstMs: number;
  readonly maxMs: number;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
  readonly onRetry: (error: MeridianError) => void;
}

/** Repeats while it fails with `retry: 'later'`; any other failure, and the last one once the signal is aborted, is thrown. */
export async function untilDone<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let waitMs = options.firstMs; ; waitMs = Math.min(options.maxMs, waitMs * 2)) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof MeridianError) || error.retry !== 'later' || options.signal.aborted) throw error;
      options.onRetry(error);
      await options.clock.sleep(Math.max(waitMs, error.retryAfterMs ?? 0), options.signal);
      if (options.signal.aborted) throw error;
    }
  }
}
