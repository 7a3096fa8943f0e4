import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { admitCall, afterEvent, BREAKER_CLOSED, type BreakerState } from './breaker.js';

const OPTIONS = { failuresMax: 3, openMs: 5000 };

function run(
  events: readonly ('success' | 'failure' | 'reachable')[],
  state: BreakerState = BREAKER_CLOSED,
  nowMs = 0,
) {
  return events.reduce((s, event) => afterEvent(s, event, nowMs, OPTIONS), state);
}

describe('breaker', () => {
  test('opens at the limit of failures in a row, not one before; a success in between starts anew', () => {
    expect(run(['failure', 'failure']).kind).toBe('closed');
    expect(run(['failure', 'failure', 'failure'])).toEqual({ kind: 'open', untilMs: 5000 });
    expect(run(['failure', 'failure', 'success', 'failure', 'failure']).kind).toBe('closed');
  });

  test('lets nothing through while open, then one trial, then the next only when that is overdue', () => {
    const open = run(['failure', 'failure', 'failure']);
    expect(admitCall(open, 4999, OPTIONS).admitted).toBe(false);
    const trial = admitCall(open, 5000, OPTIONS);
    expect(trial).toEqual({ admitted: true, state: { kind: 'half-open', trialUntilMs: 10_000 } });
    expect(admitCall(trial.state, 9999, OPTIONS).admitted).toBe(false);
    expect(admitCall(trial.state, 10_000, OPTIONS).admitted).toBe(true);
    expect(run(['success'], trial.state)).toEqual(BREAKER_CLOSED);
    expect(run(['failure'], trial.state, 6000)).toEqual({ kind: 'open', untilMs: 11_000 });
  });

  test('a health poll that is answered closes it, but the next failure opens it again', () => {
    const reachable = run(['failure', 'failure', 'failure', 'reachable']);
    expect(reachable).toEqual({ kind: 'closed', failures: 2 });
    expect(run(['failure'], reachable).kind).toBe('open');
    expect(run(['failure', 'reachable'])).toEqual({ kind: 'closed', failures: 1 });
  });

  test('it is never shut for ever: openMs without news always admits a call', () => {
    const event = fc.constantFrom('success', 'failure', 'reachable', 'ask');
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat(8000)), { maxLength: 50 }), (steps) => {
        let state: BreakerState = BREAKER_CLOSED;
        let nowMs = 0;
        for (const [what, wait] of steps) {
          nowMs += wait;
          state = what === 'ask' ? admitCall(state, nowMs, OPTIONS).state : afterEvent(state, what, nowMs, OPTIONS);
        }
        expect(admitCall(state, nowMs + OPTIONS.openMs, OPTIONS).admitted).toBe(true);
      }),
    );
  });
});
