import { describe, expect, test } from 'vitest';
import { ManualClock } from './clock.js';
import { deepHealth, StateMemory, worstState } from './health.js';

describe('deepHealth', () => {
  test('a check that hangs is down after the limit, one that throws is down with its reason, others answer', async () => {
    const clock = new ManualClock();
    const answered = deepHealth(
      [
        { part: 'good', check: async () => ({ part: 'good', state: 'ok' }) },
        { part: 'thrown', check: async () => Promise.reject(new Error('no disk')) },
        { part: 'hung', check: () => new Promise(() => {}) },
      ],
      100,
      clock,
    );
    await clock.advance(100);
    expect(await answered).toEqual([
      { part: 'good', state: 'ok' },
      { part: 'thrown', state: 'down', detail: 'no disk' },
      { part: 'hung', state: 'down', detail: 'no answer to its check within 100 ms' },
    ]);
  });

  test('the worst state counts', () => {
    expect(worstState([])).toBe('ok');
    expect(
      worstState([
        { part: 'a', state: 'ok' },
        { part: 'b', state: 'degraded' },
      ]),
    ).toBe('degraded');
    expect(
      worstState([
        { part: 'a', state: 'down' },
        { part: 'b', state: 'degraded' },
      ]),
    ).toBe('down');
  });
});

describe('StateMemory', () => {
  test('remembers the first failure until the next success', async () => {
    const clock = new ManualClock(1000);
    const memory = new StateMemory('store', clock);
    await clock.advance(10);
    memory.failed('one');
    await clock.advance(10);
    memory.failed('two');
    expect(memory.health()).toEqual({ part: 'store', state: 'down', sinceMs: 1010, detail: 'two' });
    await clock.advance(10);
    memory.succeeded();
    await clock.advance(10);
    memory.succeeded();
    expect(memory.health()).toEqual({ part: 'store', state: 'ok', sinceMs: 1030 });
  });
});
