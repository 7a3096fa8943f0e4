import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { ManualClock, realClock } from './clock.js';

test('a manual clock wakes sleepers in order of their time, and not before', async () => {
  const clock = new ManualClock(0);
  const woken: string[] = [];
  void clock.sleep(20).then(() => woken.push('20'));
  void clock.sleep(10).then(() => {
    woken.push('10');
    void clock.sleep(5).then(() => woken.push('10+5'));
  });
  await clock.advance(9);
  expect(woken).toEqual([]);
  await clock.advance(11);
  expect(woken).toEqual(['10', '10+5', '20']);
  expect(clock.nowMs()).toBe(20);
});

test.each([
  ['manual', new ManualClock()],
  ['real', realClock],
] as const)('%s: an aborted sleep ends at once', async (_name, clock) => {
  const stop = new AbortController();
  const slept = clock.sleep(3_600_000, stop.signal);
  stop.abort();
  await slept;
  await clock.sleep(3_600_000, stop.signal);
  expect(stop.signal.aborted).toBe(true);
});

test('the real clock agrees with itself', () => {
  const ms = realClock.nowMs();
  expect(Math.abs(Number(realClock.nowUnixNano() / 1_000_000n) - ms)).toBeLessThan(60_000);
});

test('manual: a sleep leaves no listener on the signal, however it ends', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const ended = [clock.sleep(10, stop.signal), clock.sleep(20, stop.signal)];
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(2);
  await clock.advance(10);
  await ended[0];
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1);
  stop.abort();
  await ended[1];
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
});

test('real: a sleep that was slept to its end leaves no listener on the signal', async () => {
  const stop = new AbortController();
  const slept = realClock.sleep(1, stop.signal);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1);
  await slept;
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
});
