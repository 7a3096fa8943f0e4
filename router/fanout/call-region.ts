import type { CallOptions } from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { type Deadline, remainingMs, withTimeLimit } from './deadline.js';
import { failureOf, type RegionFailure } from './outcome.js';
import type { RegionHealth } from './region-health.js';

export interface CallPolicy {
  /** Wait before each further attempt; as many entries as retries (Ro4: 1 s, 2 s). */
  readonly retryDelaysMs: readonly number[];
  /** A wait takes at most this share of the time that the whole call has, times the number of the retry. */
  readonly retryShare: number;
  /** No attempt begins with less time than this left. */
  readonly attemptMsMin: number;
}

export const CALL_POLICY_DEFAULTS: CallPolicy = { retryDelaysMs: [1000, 2000], retryShare: 0.2, attemptMsMin: 5 };

export interface CallContext {
  readonly clock: Clock;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly policy: CallPolicy;
  readonly deadline: Deadline;
  /** Aborts when the caller goes away. */
  readonly signal?: AbortSignal;
}

export type CallResult<T> = CallSuccess<T> | CallFailure;

export interface CallSuccess<T> {
  readonly ok: true;
  readonly value: T;
  readonly tookMs: number;
  /** Attempts that were made; 0 where the breaker let none through. */
  readonly attempts: number;
}

export interface CallFailure {
  readonly ok: false;
  readonly failure: RegionFailure;
  readonly sinceMs: number;
  readonly tookMs: number;
  readonly attempts: number;
}

/**
 * One call to one region: never rejects, and settles by the deadline whatever the region does. `work` makes the call and checks the
 * answer; what it throws decides: failures that a moment may mend are tried again, the others are final. An attempt gets
 * all the time that is left, since a slow region that would have answered is worth more than a retry of a hung one.
 */
export async function callRegion<T>(
  context: CallContext,
  health: RegionHealth,
  what: string,
  work: (call: CallOptions) => Promise<T>,
): Promise<CallResult<T>> {
  const { clock, policy, deadline, signal } = context;
  const startedMs = clock.monotonicMs();
  const wholeMs = remainingMs(clock, deadline);
  const tookMs = () => clock.monotonicMs() - startedMs;
  let last: { failure: RegionFailure; sinceMs: number } | null = null;
  let attempts = 0;
  for (;;) {
    const admission = health.admit();
    if (!admission.admitted) {
      const { failure, sinceMs } = last ?? blocked(admission.failing);
      return { ok: false, failure, sinceMs, tookMs: tookMs(), attempts };
    }
    const hadMs = remainingMs(clock, deadline);
    attempts++;
    try {
      const value = await withTimeLimit(clock, hadMs, signal, what, (own) =>
        work({ deadlineMs: Math.max(1, Math.ceil(hadMs)), signal: own }),
      );
      health.readSucceeded();
      return { ok: true, value, tookMs: tookMs(), attempts };
    } catch (error) {
      const failure = failureOf(error);
      last = signal?.aborted
        ? { failure, sinceMs: clock.nowMs() }
        : { failure, sinceMs: health.readFailed(failure, hadMs).sinceMs };
    }
    const delayMs = retryDelayMs(policy, attempts, wholeMs, context.random());
    if (
      !last.failure.retriable ||
      delayMs === null ||
      signal?.aborted ||
      remainingMs(clock, deadline) < delayMs + policy.attemptMsMin
    ) {
      return { ok: false, ...last, tookMs: tookMs(), attempts };
    }
    await clock.sleep(delayMs, signal);
  }
}

/** The wait before retry number `retry` (from 1), jittered down by at most a quarter; null when there is no further one. */
export function retryDelayMs(policy: CallPolicy, retry: number, wholeMs: number, random: number): number | null {
  const asked = policy.retryDelaysMs[retry - 1];
  if (asked === undefined) return null;
  return Math.min(asked, wholeMs * policy.retryShare * retry) * (1 - random / 4);
}

function blocked({ failure, sinceMs }: { failure: RegionFailure; sinceMs: number }) {
  return {
    failure: { ...failure, reason: `not called, it has been failing (${failure.reason})`, retriable: false },
    sinceMs,
  };
}
