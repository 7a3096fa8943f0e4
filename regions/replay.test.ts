import { describe, expect, test } from 'vitest';
import type { LogOffsets } from '../global/log/span-log.js';
import { parseReplayFrom } from './api/admin-api.js';
import { ReplayableViews, type ViewConsumer } from './replay.js';

/** One topic of two partitions, records 10..20 and 5..5. */
class Offsets implements LogOffsets {
  rewound: [number, number][] = [];
  commits = [20, 5];
  ends = async () => [20, 5];
  starts = async () => [10, 5];
  committed = async () => this.commits;
  offsetAt = async (_topic: string, _partition: number, timeMs: number) => timeMs;
  rewind = async (_group: string, _topic: string, partition: number, next: number) => {
    this.rewound.push([partition, next]);
    this.commits[partition] = next;
  };
}

function setUp() {
  const log = new Offsets();
  const events: string[] = [];
  const create = (): ViewConsumer => ({
    health: () => ({ part: 'store', check: async () => ({ part: 'store', state: 'ok' }) }),
    start: async () => void events.push('start'),
    stop: async () => void events.push('stop'),
  });
  const views = new ReplayableViews(log, [{ name: 'store', group: 'writer', topics: ['segments'], create }]);
  return { log, events, views };
}

describe('ReplayableViews', () => {
  test('stops the consumer, rewinds, starts a new one; tells how far it is', async () => {
    const { log, events, views } = setUp();
    await views.start();
    await views.replay('store', { kind: 'time', ms: 14 });
    expect(events).toEqual(['start', 'stop', 'start']);
    expect(log.rewound).toEqual([
      [0, 14],
      [1, 5],
    ]);
    expect(await views.progress()).toEqual({ view: 'store', done: false, recordsDone: 0, recordsTotal: 6 });
    log.commits = [17, 5];
    expect(await views.progress()).toMatchObject({ done: false, recordsDone: 3 });
    log.commits = [25, 6];
    expect(await views.progress()).toMatchObject({ done: true, recordsDone: 6 });
  });

  test('an offset outside of what is retained is moved to its edge', async () => {
    const { log, views } = setUp();
    await views.start();
    await views.replay('store', { kind: 'offset', offset: 1 });
    expect(log.rewound[0]).toEqual([0, 10]);
    await views.replay('store', { kind: 'offset', offset: 99 });
    expect(log.rewound.at(-2)).toEqual([0, 20]);
  });

  test('a rewind that fails leaves the consumer running, and is told', async () => {
    const { log, events, views } = setUp();
    await views.start();
    log.rewind = async () => Promise.reject(new Error('has members'));
    await expect(views.replay('store', { kind: 'earliest' })).rejects.toThrow('has members');
    expect(events).toEqual(['start', 'stop', 'start']);
    expect(await views.progress()).toMatchObject({ error: 'has members' });
    await views.stop();
    expect(events.at(-1)).toBe('stop');
  });

  test('work while a view stands still: its consumer runs again afterwards, also when the work fails; nothing else starts meanwhile', async () => {
    const { events, views } = setUp();
    await views.start();
    const work = async () => {
      events.push('work');
      await expect(views.replay('store', { kind: 'earliest' })).rejects.toMatchObject({ code: 'refused' });
      await expect(views.whileStopped('store', async () => {})).rejects.toMatchObject({ code: 'refused' });
      return 7;
    };
    expect(await views.whileStopped('store', work)).toBe(7);
    await expect(views.whileStopped('store', async () => Promise.reject(new Error('no room')))).rejects.toThrow(
      'no room',
    );
    expect(events).toEqual(['start', 'stop', 'work', 'start', 'stop', 'start']);
    await expect(views.whileStopped('shop', work)).rejects.toMatchObject({ code: 'invalid' });
  });

  test('an unknown view is named', async () => {
    await expect(setUp().views.replay('shop', { kind: 'earliest' })).rejects.toThrow(/"shop"; there are store/);
  });
});

test.each([
  ['earliest', { kind: 'earliest' }],
  ['offset:12', { kind: 'offset', offset: 12 }],
  ['1700000000', { kind: 'time', ms: 1_700_000_000_000 }],
  ['1700000000123', { kind: 'time', ms: 1_700_000_000_123 }],
  ['2026-11-21T00:00:00Z', { kind: 'time', ms: Date.UTC(2026, 10, 21) }],
])('parseReplayFrom %s', (text, from) => expect(parseReplayFrom(text)).toEqual(from));

test.each(['', 'yesterday', 'offset:', 'offset:-1', '-5'])('parseReplayFrom refuses "%s"', (text) => {
  expect(() => parseReplayFrom(text)).toThrow(/replay/);
});
