import { expect, test } from 'vitest';
import { ManualClock } from '../global/runtime/clock.js';
import { MeridianError } from '../global/runtime/errors.js';
import { silentLogger } from '../global/runtime/logger.js';
import { createRetention } from './retention.js';

const HOUR_MS = 3_600_000;

test('forgets what is older every hour, the store before the index, also after a failure, until it is stopped', async () => {
  const clock = new ManualClock(10 * HOUR_MS);
  const forgotten: string[] = [];
  let failing = false;
  const forget = (what: string) => async (beforeUnixNano: bigint) => {
    forgotten.push(`${what} ${beforeUnixNano / 1_000_000n / BigInt(HOUR_MS)} h`);
    if (failing) throw new MeridianError('unavailable', 'locked', 'later');
    return 1;
  };
  const retention = createRetention({
    store: { expire: forget('store') },
    index: { expire: forget('index') },
    retentionMs: 4 * HOUR_MS,
    clock,
    logger: silentLogger,
  });
  await retention.start();
  await clock.advance(HOUR_MS - 1);
  expect(forgotten.splice(0)).toEqual([]);
  await clock.advance(1);
  expect(forgotten.splice(0)).toEqual(['store 7 h', 'index 7 h']);
  failing = true;
  await clock.advance(HOUR_MS);
  // The index may not forget before the store has.
  expect(forgotten.splice(0)).toEqual(['store 8 h']);
  failing = false;
  await clock.advance(HOUR_MS);
  expect(forgotten.splice(0)).toEqual(['store 9 h', 'index 9 h']);
  await retention.stop();
  await clock.advance(10 * HOUR_MS);
  expect(forgotten).toEqual([]);
});
