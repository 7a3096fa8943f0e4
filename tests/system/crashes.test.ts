import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { CRASH_POINTS } from '../../global/runtime/crash-points.js';
import { EAST, TestFleet, WEST } from './test-fleet.js';
import { type AcknowledgedTrace, missingOrDouble, seededIds, sendTrace, wrongCounts } from './traffic.js';

/** Lo4, In2: acknowledged spans = queryable spans, none twice, whatever dies when. */

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await new TestFleet({ regions: [EAST, WEST], regionOptions: { assemblerSettleMs: 150 } }).start();
});
afterAll(() => fleet.stop());

function setCrashPoint(crashAt: string | null): void {
  const file = join(fleet.dataDir, EAST, 'region.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...config, crashAt }));
}

const ids = seededIds(20261121);

describe('a crash at each named point of the write path', () => {
  test.each(CRASH_POINTS)('%s', { timeout: 120_000 }, async (point) => {
    await fleet.stopRegion(EAST);
    setCrashPoint(point);
    const died = fleet.nextState(`${EAST} region`, 'died').then(() => setCrashPoint(null));
    // It may die before it is ready: what it read on start was enough to reach the point.
    await fleet.startRegion(EAST).catch(() => {});
    const acknowledged: AcknowledgedTrace[] = [];
    let dead = false;
    void died.then(() => {
      dead = true;
    });
    for (let i = 0; i < 200 && !dead; i++) {
      acknowledged.push(await sendTrace(fleet, [EAST, WEST], ids));
      await realClock.sleep(20);
    }
    await died;
    acknowledged.push(await sendTrace(fleet, [WEST, EAST], ids));
    expect(await missingOrDouble(fleet, WEST, acknowledged)).toEqual([]);
    expect(await wrongCounts(fleet, WEST, acknowledged)).toEqual([]);
  });
});

test('kill -9 of the region process under load, again and again', { timeout: 180_000 }, async () => {
  const acknowledged: AcknowledgedTrace[] = [];
  let sending = true;
  const senders = Array.from({ length: 4 }, async (_, sender) => {
    const own = seededIds(1000 + sender);
    while (sending) acknowledged.push(await sendTrace(fleet, [EAST, WEST], own));
  });
  for (let kill = 0; kill < 5; kill++) {
    // Not an event to wait for: the kills are meant to fall anywhere.
    await realClock.sleep(150 + kill * 130);
    const up = fleet.nextState(`${EAST} region`, 'up');
    process.kill(fleet.pid(EAST), 'SIGKILL');
    await up;
  }
  sending = false;
  await Promise.all(senders);
  expect(acknowledged.length).toBeGreaterThan(20);
  expect(await missingOrDouble(fleet, WEST, acknowledged)).toEqual([]);
  expect(await wrongCounts(fleet, WEST, acknowledged)).toEqual([]);
});
