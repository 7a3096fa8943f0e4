/**
 * A circuit breaker as a pure state machine; `RegionHealth` is its shell. Times are of the monotonic clock, milliseconds.
 *
 *   closed --failuresMax failures in a row--> open --openMs without news--> half-open --success--> closed
 *     ^                                        |  ^                             |
 *     +--reachable (one more failure reopens)--+  +-----------failure-----------+
 */
export type BreakerState =
  | { readonly kind: 'closed'; readonly failures: number }
  | { readonly kind: 'open'; readonly untilMs: number }
  /** One trial call is out; if it has not come back by then, the next may go. */
  | { readonly kind: 'half-open'; readonly trialUntilMs: number };

export interface BreakerOptions {
  /** Failures in a row that open it; at least 1. */
  readonly failuresMax: number;
  /** How long it stays open after the last failure. */
  readonly openMs: number;
}

export const BREAKER_CLOSED: BreakerState = { kind: 'closed', failures: 0 };

/** May a call go now? The state that comes back has counted the trial, where it is one. */
export function admitCall(
  state: BreakerState,
  nowMs: number,
  options: BreakerOptions,
): { readonly admitted: boolean; readonly state: BreakerState } {
  if (state.kind === 'closed') return { admitted: true, state };
  const waitUntilMs = state.kind === 'open' ? state.untilMs : state.trialUntilMs;
  if (nowMs < waitUntilMs) return { admitted: false, state };
  return { admitted: true, state: { kind: 'half-open', trialUntilMs: nowMs + options.openMs } };
}

export type BreakerEvent =
  /** A call was answered with something that makes sense. */
  | 'success'
  /** A call, or a health poll, failed by the region's fault. */
  | 'failure'
  /** A health poll was answered: the region is there, whether its reads work remains to be seen. */
  | 'reachable';

export function afterEvent(
  state: BreakerState,
  event: BreakerEvent,
  nowMs: number,
  options: BreakerOptions,
): BreakerState {
  switch (event) {
    case 'success':
      return BREAKER_CLOSED;
    case 'reachable':
      return state.kind === 'closed' ? state : { kind: 'closed', failures: options.failuresMax - 1 };
    case 'failure': {
      const failures = state.kind === 'closed' ? state.failures + 1 : options.failuresMax;
      return failures >= options.failuresMax
        ? { kind: 'open', untilMs: nowMs + options.openMs }
        : { kind: 'closed', failures };
    }
  }
}
