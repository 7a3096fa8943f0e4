import { randomBytes } from 'node:crypto';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LogEntry } from '../../global/log/span-log.js';
import { ManualClock } from '../../global/runtime/clock.js';
import type { FollowedBatch } from './log-tail.js';
import { Happenings, Member, readAll, textEntry, texts, topicOf } from './span-log-harness.js';
import { LogFolder } from './sqlite-log-for-tests.js';

let folder: LogFolder;
beforeEach(() => {
  folder = new LogFolder();
});
afterEach(() => folder.dispose());

/** Does not get smaller on disk. */
function noise(bytes: number): LogEntry {
  return { key: null, value: randomBytes(bytes), headers: {} };
}

function sized(bytes: number): LogEntry {
  return { key: null, value: Buffer.alloc(bytes), headers: {} };
}

describe('limits of the embedded log', () => {
  test('an entry may be as large as the limit, not a byte larger; key and headers count', async () => {
    const log = await folder.open({ entryBytesMax: 1000 });
    await log.ensure([topicOf('t', 1)]);
    await log.append('t', 0, [sized(1000)]);
    await expect(log.append('t', 0, [sized(1001)])).rejects.toMatchObject({ code: 'too-large' });
    const withKey = { key: Buffer.alloc(100), value: Buffer.alloc(883), headers: { h: Buffer.alloc(9) } };
    await log.append('t', 0, [withKey]);
    await expect(log.append('t', 0, [{ ...withKey, key: Buffer.alloc(101) }])).rejects.toMatchObject({
      code: 'too-large',
    });
    expect((await log.ends('t'))[0]).toBe(2);
  });

  test('headers: their number and their bytes', async () => {
    const log = await folder.open({ headersMax: 2, headersBytesMax: 30 });
    await log.ensure([topicOf('t', 1)]);
    const entry = (headers: Record<string, Uint8Array>) => [{ key: null, value: Buffer.from('v'), headers }];
    const none = Buffer.alloc(0);
    await log.append('t', 0, entry({ a: none, b: none }));
    await expect(log.append('t', 0, entry({ a: none, b: none, c: none }))).rejects.toMatchObject({
      code: 'too-large',
      message: expect.stringContaining('3 headers'),
    });
    await log.append('t', 0, entry({ a: Buffer.alloc(22) }));
    await expect(log.append('t', 0, entry({ a: Buffer.alloc(23) }))).rejects.toMatchObject({ code: 'too-large' });
  });

  test('what waits for its commit: full is taken, one byte more is overloaded, and later there is room again', async () => {
    const log = await folder.open({ queuedBytesMax: 1000 });
    await log.ensure([topicOf('t', 1)]);
    const first = log.append('t', 0, [sized(600)]);
    const second = log.append('t', 0, [sized(400)]);
    await expect(log.append('t', 0, [sized(1)])).rejects.toMatchObject({ code: 'overloaded', retry: 'later' });
    await Promise.all([first, second]);
    await log.append('t', 0, [sized(1000)]);
    expect((await log.ends('t'))[0]).toBe(3);
  });

  test('an append larger than a round is committed alone and whole', async () => {
    const log = await folder.open({ roundBytesMax: 1000 });
    await log.ensure([topicOf('t', 2)]);
    const appends = [1, 1200, 400, 600, 1, 5000].map((bytes, i) =>
      log.append('t', i % 2, [sized(bytes), textEntry(`${i}`)]),
    );
    await Promise.all(appends);
    const all = [...(await readAll(log, 't', 0)), ...(await readAll(log, 't', 1))];
    expect(all.filter((r) => r.value.some((b) => b !== 0)).map((r) => texts([r])[0])).toEqual([
      '0',
      '2',
      '4',
      '1',
      '3',
      '5',
    ]);
  });

  test('a full log refuses with unavailable and goes on when retention has made room', async () => {
    const log = await folder.open({ bytesMax: 1024 * 1024, sliceBytesMax: 200_000 });
    await log.ensure([topicOf('t', 1, { retentionMs: 60_000 }), topicOf('u', 1)]);
    await log.append('u', 0, [noise(100_000)]);
    let taken = 0;
    const fill = async () => {
      for (; taken < 50; taken++) await log.append('t', 0, [noise(100_000)]);
    };
    await expect(fill()).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
    expect(taken).toBeGreaterThan(2);
    const end = (await log.ends('t'))[0]!;
    expect(end).toBe(taken);
    const happenings = new Happenings();
    folder.clock.shiftMs += 120_000;
    const tryAgain = async (): Promise<void> => {
      await log.append('t', 0, [textEntry('room')]).catch(tryAgain);
      happenings.happened();
    };
    await tryAgain();
    expect(texts(await readAll(log, 't', 0, end))).toEqual(['room']);
  });

  test.each(['', 'a b', 'a/b', '..', 'x'.repeat(250)])('%j is no topic name', async (name) => {
    const log = await folder.open();
    await expect(log.ensure([topicOf(name, 1)])).rejects.toMatchObject({ code: 'invalid' });
  });

  test('topics: longest name, partitions, retention', async () => {
    const log = await folder.open({ partitionsMax: 4 });
    await log.ensure([topicOf('x'.repeat(249), 4), topicOf('us-east-1.spans_dlq', 1)]);
    for (const partitions of [0, 5, 1.5]) {
      await expect(log.ensure([topicOf('t', partitions)])).rejects.toMatchObject({ code: 'invalid' });
    }
    await expect(log.ensure([topicOf('t', 1, { retentionMs: 0 })])).rejects.toMatchObject({ code: 'invalid' });
  });
});

describe('the embedded log and its folder', () => {
  test('a second process is refused, and let in when the first has closed', async () => {
    const log = await folder.open();
    await expect(folder.open()).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining(folder.path),
    });
    await folder.close(log);
    await folder.open();
  });

  test('what is unknown is not found, by every call', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 1)]);
    const calls = [
      () => log.ends('x'),
      () => log.starts('x'),
      () => log.committed('g', 'x'),
      () => log.read('t', 1, 0, 1),
      () => log.offsetAt('t', -1, 0),
      () => log.rewind('g', 't', 1, 0),
      () =>
        log.subscribe({ group: 'g', topics: ['x'], from: 'earliest', batchBytesMax: 1, assigned: () => expect.fail() }),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'not-found' });
    await expect(log.rewind('g', 't', 0, -1)).rejects.toMatchObject({ code: 'invalid' });
  });

  test('close hands handlers their last chance, finishes appends, and then refuses', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 1)]);
    const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
    const member = await Member.join(
      log,
      { group: 'g', topics: ['t'], onClose: async () => void (await log.append('t', 0, [textEntry('closing')])) },
      shared,
    );
    await member.until(() => member.owned().length === 1);
    const pending = log.append('t', 0, [textEntry('pending')]);
    await folder.close(log);
    await pending;
    expect(member.ownerships[0]!.closed).toBe('stopped');
    await expect(log.append('t', 0, [textEntry('late')])).rejects.toMatchObject({ code: 'unavailable' });
    await expect(log.read('t', 0, 0, 1)).rejects.toMatchObject({ code: 'unavailable' });
    const again = await folder.open();
    expect(texts(await readAll(again, 't', 0)).sort()).toEqual(['closing', 'pending']);
  });

  test('a failing consumer gets its batch again at once, then waits longer and longer', async () => {
    const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
    const waits: number[] = [];
    class WatchedClock extends ManualClock {
      override sleep(ms: number, signal?: AbortSignal): Promise<void> {
        const slept = super.sleep(ms, signal);
        if (ms < 3_600_000) waits.push(ms);
        shared.happenings.happened();
        return slept;
      }
    }
    const clock = new WatchedClock();
    const log = await folder.open({ clock, redeliveryMs: 100, redeliveryMaxMs: 250, retentionCheckMs: 3_600_000 });
    await log.ensure([topicOf('t', 1)]);
    let attempts = 0;
    const onBatch = () => {
      attempts++;
      throw new Error('never');
    };
    const member = await Member.join(log, { group: 'g', topics: ['t'], onBatch }, shared);
    await log.append('t', 0, [textEntry('a')]);
    for (const [number, waitMs] of [100, 200, 250, 250].entries()) {
      await member.until(() => waits.length === number + 1);
      expect(attempts).toBe(number + 2);
      await clock.advance(waitMs - 1);
      expect(attempts).toBe(number + 2);
      await clock.advance(1);
    }
    await member.until(() => waits.length === 5);
    expect(waits).toEqual([100, 200, 250, 250, 250]);
    expect(new Set(member.ownerships.map((o) => o.closed))).toEqual(new Set(['lost']));
    await member.stop();
  });

  test('metrics: appended, commits, lag, members; gone after close', async () => {
    const registry = new Registry();
    const log = await folder.open({ registry });
    await log.ensure([topicOf('t', 2)]);
    await log.append('t', 0, [textEntry('abc'), textEntry('de')]);
    await log.rewind('g', 't', 0, 1);
    const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
    const member = await Member.join(log, { group: 'h', topics: ['t'] }, shared);
    const text = await registry.metrics();
    expect(text).toContain('meridian_log_appended_records_total{topic="t"} 2');
    expect(text).toContain('meridian_log_appended_bytes_total{topic="t"} 5');
    expect(text).toContain('meridian_log_commit_seconds_count 1');
    expect(text).toContain('meridian_log_commit_records_sum 2');
    expect(text).toContain('meridian_log_lag_records{group="g",topic="t"} 1');
    expect(text).toContain('meridian_log_lag_records{group="h",topic="t"}');
    expect(text).toContain('meridian_log_group_members{group="h"} 1');
    await member.stop();
    await folder.close(log);
    expect(await registry.metrics()).not.toContain('meridian_log');
  });
});

describe('following a partition', () => {
  test('what is there, then what comes, until the signal', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 2)]);
    await log.append(
      't',
      1,
      ['a', 'b', 'c'].map((v) => textEntry(v)),
    );
    const stop = new AbortController();
    const got: FollowedBatch[] = [];
    for await (const batch of log.follow('t', 1, 1, stop.signal)) {
      got.push(batch);
      if (got.length === 1) void log.append('t', 1, [textEntry('d')]);
      else stop.abort();
    }
    expect(got.map((b) => [texts(b.records), b.endOffset])).toEqual([
      [['b', 'c'], 3],
      [['d'], 4],
    ]);
  });

  test('the first batch tells the end, also when there is nothing yet; an abort ends the waiting', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 1)]);
    const stop = new AbortController();
    const got: FollowedBatch[] = [];
    for await (const batch of log.follow('t', 0, 0, stop.signal)) {
      got.push(batch);
      queueMicrotask(() => stop.abort());
    }
    expect(got).toEqual([{ records: [], endOffset: 0 }]);
  });

  test('in pieces when it is far behind, every record once', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 1)]);
    for (let i = 0; i < 8; i++) await log.append('t', 0, [sized(400_000)]);
    const stop = new AbortController();
    const offsets: number[] = [];
    let pieces = 0;
    for await (const { records } of log.follow('t', 0, 0, stop.signal)) {
      pieces++;
      offsets.push(...records.map((r) => r.offset));
      if (offsets.length === 8) stop.abort();
    }
    expect(offsets).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(pieces).toBe(4);
  });

  test('an unknown partition is not found, a closed log unavailable', async () => {
    const log = await folder.open();
    await log.ensure([topicOf('t', 1)]);
    const next = (partition: number) =>
      log.follow('t', partition, 0, new AbortController().signal)[Symbol.asyncIterator]();
    await expect(next(1).next()).rejects.toMatchObject({ code: 'not-found' });
    const waiting = next(0);
    await waiting.next();
    const after = expect(waiting.next()).rejects.toMatchObject({ code: 'unavailable' });
    await folder.close(log);
    await after;
  });
});
