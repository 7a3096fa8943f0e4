import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { AppendHealth, LOG_DOWN_AFTER_MS } from './append-health.js';

const unavailable = (message: string) => new MeridianError('unavailable', message, 'later');

describe('append health', () => {
  test('is ok until an append fails, and again once every failing partition took spans', async () => {
    const clock = new ManualClock(1000);
    const health = new AppendHealth(clock);
    expect(health.health()).toEqual({ part: 'collector', state: 'ok', sinceMs: 1000 });
    await clock.advance(500);
    expect(health.failed(3, unavailable('no disk'))).toBe(true);
    await clock.advance(500);
    expect(health.failed(3, unavailable('still no disk'))).toBe(false);
    expect(health.health()).toEqual({
      part: 'collector',
      state: 'down',
      detail: 'partition 3: still no disk',
      sinceMs: 1500,
    });
    await clock.advance(500);
    health.appended(3);
    expect(health.health()).toEqual({ part: 'collector', state: 'ok', sinceMs: 2500 });
  });

  test('is degraded while other partitions take spans, and down when none has for a while', async () => {
    const clock = new ManualClock(1000);
    const health = new AppendHealth(clock);
    health.failed(1, unavailable('one'));
    health.appended(2);
    expect(health.health().state).toBe('degraded');
    health.failed(2, unavailable('two'));
    await clock.advance(LOG_DOWN_AFTER_MS - 1);
    expect(health.health().state).toBe('degraded');
    await clock.advance(1);
    expect(health.health()).toMatchObject({ state: 'down', detail: 'partition 1 (and 1 more partitions): one' });
  });

  test('a record that is too large is the doing of its sender', () => {
    const health = new AppendHealth(new ManualClock());
    expect(health.failed(0, new MeridianError('too-large', 'record', 'never'))).toBe(false);
    expect(health.health().state).toBe('ok');
  });
});
