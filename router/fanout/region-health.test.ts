import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { judgeRegion } from '../query/fleet-query.js';
import { FakeRegionClient } from '../testing/fake-region-client.js';
import { EAST } from '../testing/query-rig.js';
import { HealthPoll, pollOnce } from './health-poll.js';
import { failureOf } from './outcome.js';
import { RegionHealth } from './region-health.js';

const DOWN = failureOf(new MeridianError('unavailable', 'connection refused', 'later'));
const GARBAGE = failureOf(new MeridianError('malformed', 'no OTLP', 'never'));
const LATE = failureOf(new MeridianError('timeout', 'no answer', 'later'));
const STATUS = { region: EAST, parts: [{ part: 'api', state: 'ok' as const }], links: [], startedMs: 0 };

function made(): { clock: ManualClock; health: RegionHealth } {
  const clock = new ManualClock(1_000_000);
  return { clock, health: new RegionHealth(EAST, clock) };
}

describe('RegionHealth', () => {
  test('since is the first failure after the last success, whatever failed since', async () => {
    const { clock, health } = made();
    health.pollFailed(DOWN);
    await clock.advance(1000);
    expect(health.readFailed(DOWN, 1000).sinceMs).toBe(1_000_000);
    health.readSucceeded();
    expect(health.failing()).toBeNull();
    await clock.advance(1000);
    expect(health.readFailed(DOWN, 1000).sinceMs).toBe(1_002_000);
    expect(health.failingForMs()).toBe(0);
  });

  test('an answered poll mends what was unreachable, not what was garbage', () => {
    const { health } = made();
    health.readFailed(DOWN, 1000);
    health.pollSucceeded(STATUS);
    expect(health.failing()).toBeNull();
    health.readFailed(GARBAGE, 1000);
    health.pollSucceeded(STATUS);
    expect(health.failing()!.failure).toBe(GARBAGE);
  });

  test('a time-out counts from the named time on: a tiny deadline of one caller shuts nobody else out', () => {
    const { health } = made();
    for (let i = 0; i < 10; i++) health.readFailed(LATE, 499);
    expect(health.admit().admitted).toBe(true);
    for (let i = 0; i < 3; i++) health.readFailed(LATE, 500);
    expect(health.admit().admitted).toBe(false);
  });

  test('the caller’s own mistakes do not count', () => {
    const { health } = made();
    const invalid = failureOf(new MeridianError('invalid', 'limit', 'never'));
    for (let i = 0; i < 10; i++) health.readFailed(invalid, 1000);
    expect(health.breaker).toBe('closed');
  });
});

describe('judgeRegion', () => {
  test('suspect while unreached, lost from 30 s on, returning until everything is well again', async () => {
    const { clock, health } = made();
    expect(judgeRegion(health, clock.nowMs()).state).toBe('suspect');
    health.pollSucceeded(STATUS);
    expect(judgeRegion(health, clock.nowMs())).toEqual({ state: 'healthy', sinceMs: 1_000_000 });
    await clock.advance(1000);
    health.pollFailed(DOWN);
    await clock.advance(29_999);
    expect(judgeRegion(health, clock.nowMs())).toMatchObject({ state: 'suspect', sinceMs: 1_001_000 });
    await clock.advance(1);
    expect(judgeRegion(health, clock.nowMs())).toMatchObject({ state: 'lost', reason: 'connection refused' });
    health.pollSucceeded({ ...STATUS, links: [{ from: EAST, lagMs: 5000, state: 'behind' }] });
    expect(judgeRegion(health, clock.nowMs())).toMatchObject({
      state: 'returning',
      reason: `the link from ${EAST} is behind`,
    });
    health.pollSucceeded(STATUS);
    expect(judgeRegion(health, clock.nowMs())).toEqual({ state: 'healthy', sinceMs: 1_031_000 });
  });

  test('a part that is down makes it suspect since then', () => {
    const { clock, health } = made();
    health.pollSucceeded({ ...STATUS, parts: [{ part: 'store', state: 'down', detail: 'disk full', sinceMs: 77 }] });
    expect(judgeRegion(health, clock.nowMs())).toEqual({
      state: 'suspect',
      sinceMs: 77,
      reason: 'store is down (disk full)',
    });
  });
});

describe('health poll', () => {
  test('a hung region is given up at the time limit, and delays no other', async () => {
    const clock = new ManualClock();
    const peers = ['a', 'b'].map((name) => {
      const client = new FakeRegionClient(name as typeof EAST, clock);
      return { region: client.region, client, health: new RegionHealth(client.region, clock) };
    });
    peers[0]!.client.mode = { kind: 'hung' };
    const poll = new HealthPoll(new Map(peers.map((p) => [p.region, p])), clock, { everyMs: 1000, deadlineMs: 2000 });
    poll.start();
    for (let i = 0; i < 59; i++) {
      for (let j = 0; j < 30; j++) await Promise.resolve();
      await clock.advance(100);
    }
    expect(peers[0]!.client.callCount('status')).toBe(2);
    expect(peers[0]!.health.failing()!.failure.state).toBe('timeout');
    expect(peers[1]!.client.callCount('status')).toBe(6);
    expect(peers[1]!.health.failing()).toBeNull();
    await poll.stop();
  });

  test('another region at the address is a failure', async () => {
    const { clock, health } = made();
    const client = new FakeRegionClient('other' as typeof EAST, clock);
    await pollOnce({ region: EAST, client, health }, clock, 1000);
    expect(health.failing()!.failure).toMatchObject({
      code: 'malformed',
      reason: expect.stringContaining('"other" answered'),
    });
  });
});
