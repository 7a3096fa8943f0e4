import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** A point on the monotonic clock by which something has to be over. */
export interface Deadline {
  readonly atMs: number;
}

export function deadlineIn(clock: Clock, ms: number): Deadline {
  return { atMs: clock.monotonicMs() + ms };
}

export function remainingMs(clock: Clock, deadline: Deadline): number {
  return Math.max(0, deadline.atMs - clock.monotonicMs());
}

/**
 * Runs `work` and settles no later than after `ms`, whatever it does: on time-out, or when `signal` aborts, its own signal is aborted and
 * what it may still come to is dropped. Rejects with `timeout` (naming `what`) or with what the work threw.
 */
export async function withTimeLimit<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal | undefined,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const timer = new AbortController();
  const abort = () => own.abort();
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) own.abort();
  try {
    const running = (async () => work(own.signal))();
    running.catch(() => {});
    const limit = clock.sleep(ms, AbortSignal.any([timer.signal, own.signal])).then((): never => {
      if (signal?.aborted) throw new MeridianError('timeout', `${what}: the caller went away`, 'never');
      throw new MeridianError('timeout', `${what}: no answer within ${Math.round(ms)} ms`, 'later');
    });
    limit.catch(() => {});
    return await Promise.race([running, limit]);
  } finally {
    signal?.removeEventListener('abort', abort);
    timer.abort();
    own.abort();
  }
}
