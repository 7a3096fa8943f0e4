import { describe, expect, test } from 'vitest';
import { Backoff, backoffMs, untilDone } from './backoff.js';
import { ManualClock } from './clock.js';
import { MeridianError } from './errors.js';

test('waits double from the first to the longest', () => {
  const range = { firstMs: 100, maxMs: 300 };
  expect([1, 2, 3, 4, 10_000].map((failure) => backoffMs(range, failure))).toEqual([100, 200, 300, 300, 300]);
});

test('with jitter: between half and the whole, from the first again after a reset', async () => {
  const waits: number[] = [];
  const clock = new ManualClock();
  clock.sleep = async (ms: number) => void waits.push(ms);
  let random = 0;
  const backoff = new Backoff(clock, () => random, { firstMs: 100, maxMs: 300 });
  const { signal } = new AbortController();
  await backoff.wait(signal);
  random = 0.5;
  await backoff.wait(signal);
  await backoff.wait(signal);
  backoff.reset();
  await backoff.wait(signal);
  expect(waits).toEqual([50, 150, 225, 75]);
});

describe('repeating until done', () => {
  const setUp = () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const retries: string[] = [];
    const options = {
      clock,
      firstMs: 100,
      maxMs: 300,
      signal: abort.signal,
      onRetry: (error: MeridianError) => retries.push(error.message),
    };
    return { clock, abort, retries, options };
  };
  const down = () => new MeridianError('unavailable', 'down', 'later');

  test('waits 100, 200, 300, 300 ms between attempts', async () => {
    const { clock, options } = setUp();
    const startMs = clock.nowMs();
    const attempts: number[] = [];
    const done = untilDone(async () => {
      attempts.push(clock.nowMs() - startMs);
      if (attempts.length < 5) throw down();
      return 'done';
    }, options);
    for (let passed = 0; passed < 2_000; passed += 50) {
      await Promise.resolve();
      await clock.advance(50);
    }
    expect(await done).toBe('done');
    expect(attempts).toEqual([0, 100, 300, 600, 900]);
  });

  test('gives up at what no repetition helps, and when it is told to', async () => {
    const { abort, options, retries } = setUp();
    const refused = new MeridianError('refused', 'no', 'never');
    await expect(untilDone(() => Promise.reject(refused), options)).rejects.toBe(refused);
    expect(retries).toEqual([]);
    const waiting = untilDone(() => Promise.reject(down()), options);
    const ended = expect(waiting).rejects.toMatchObject({ code: 'unavailable' });
    await Promise.resolve();
    abort.abort();
    await ended;
  });

  test('waits at least as long as the failure asks', async () => {
    const { clock, options } = setUp();
    const waits: number[] = [];
    let failures = 2;
    const attempt = async () => {
      if (failures-- > 0) throw new MeridianError('overloaded', 'full', 'later', { retryAfterMs: 150 });
    };
    const done = untilDone(attempt, { ...options, onRetry: (_error, waitMs) => waits.push(waitMs) });
    for (let passed = 0; passed < 500; passed += 50) await clock.advance(50);
    await done;
    expect(waits).toEqual([150, 200]);
  });
});
