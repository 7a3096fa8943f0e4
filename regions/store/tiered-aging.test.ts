import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { unixNanoToMs } from '../../global/model/time.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { createAging } from './tiered-aging.js';

const DAY_MS = 86_400_000;

test('what is 7 days old becomes warm, what is 30 days old cold, at the start and on; a failure of one does not stop the other', async () => {
  const clock = new ManualClock(100 * DAY_MS);
  const registry = new Registry();
  const done: string[] = [];
  let failing = false;
  const act = (what: string, before: bigint) => {
    done.push(`${what} ${Math.floor(unixNanoToMs(before) / DAY_MS)}`);
    if (failing && what === 'warm') throw new MeridianError('unavailable', 'no node answers', 'later');
  };
  const aging = createAging({
    store: {
      demote: async (before) => {
        act('cold', before);
        return { blocks: 1, objects: 1, bytes: 10, unpackable: 0 };
      },
    },
    warm: async (before) => {
      act('warm', before);
      return 1;
    },
    clock,
    logger: silentLogger,
    registry,
    intervalMs: DAY_MS,
  });
  const value = async (name: string) => (await registry.getSingleMetric(name)!.get()).values[0]!.value;
  const settled = async (count: number) => {
    while (done.length < count) await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    return done.splice(0);
  };
  await aging.start();
  expect(await settled(2)).toEqual(['warm 93', 'cold 70']);
  expect(await value('meridian_cold_demoted_to_seconds')).toBeGreaterThanOrEqual((70 * DAY_MS) / 1000);
  failing = true;
  await clock.advance(DAY_MS);
  expect(await settled(2)).toEqual(['warm 94', 'cold 71']);
  expect(await value('meridian_cold_aging_failing_state')).toBe(1);
  failing = false;
  await clock.advance(DAY_MS);
  expect(await settled(2)).toEqual(['warm 95', 'cold 72']);
  expect(await value('meridian_cold_aging_failing_state')).toBe(0);
  await aging.stop();
  await clock.advance(10 * DAY_MS);
  expect(done).toEqual([]);
});
