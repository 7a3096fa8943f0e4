import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { noCrash, type ReachCrashPoint } from '../../global/runtime/crash-points.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { readSpansRecordInfo } from '../log/spans-record.js';
import { BufferPool } from './buffer-pool.js';
import { Gatherer, type GathererOptions, type PartitionPiece } from './gatherer.js';
import { MemoryAppender, type PendingAppend } from './testing/memory-appender.js';

function setUp(overrides: Partial<GathererOptions> = {}, manual = false) {
  const clock = new ManualClock(1_700_000_000_000);
  const log = new MemoryAppender(manual);
  const failures: MeridianError[] = [];
  const appends: { partition: number; bytes: number; pieces: number }[] = [];
  const gatherer = new Gatherer({
    log,
    clock,
    crash: noCrash,
    pool: new BufferPool(1_000_000),
    collectorId: 'collector-1',
    instance: 0xfeedbeef,
    gatherMs: 5,
    gatherIdleMs: 2,
    gatherBytesMax: 100,
    recordBytesMax: 150,
    observer: {
      appended: (partition, bytes, pieces) => appends.push({ partition, bytes, pieces }),
      appendFailed: (_partition, error) => failures.push(error),
    },
    ...overrides,
  });
  return { clock, log, gatherer, failures, appends };
}

const piece = (partition: number, text: string): PartitionPiece => ({
  partition,
  bytes: Buffer.from(text),
  spanCount: 1,
});
const texts = (appends: readonly PendingAppend[]) =>
  appends.map((append) => `${append.partition}:${append.entries.map((entry) => Buffer.from(entry.value)).join('|')}`);
const infoOf = (append: PendingAppend) =>
  readSpansRecordInfo({ ...append.entries[0]!, offset: 0, appendedMs: 0 }, append.partition);

/** Lets microtasks run. */
const settled = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

describe('gatherer', () => {
  test('joins the pieces of all requests of some milliseconds into one record per partition', async () => {
    const { clock, log, gatherer, appends } = setUp();
    const first = gatherer.append([piece(0, 'a'), piece(1, 'b')]);
    await clock.advance(1);
    const second = gatherer.append([piece(1, 'c')]);
    expect(log.appended).toEqual([]);
    await clock.advance(1);
    await Promise.all([first, second]);
    expect(texts(log.appended)).toEqual(['0:a', '1:bc']);
    expect(appends).toEqual([
      { partition: 0, bytes: 1, pieces: 1 },
      { partition: 1, bytes: 2, pieces: 2 },
    ]);
  });

  test('while appends are under way pieces wait for them, but no longer than gatherMs', async () => {
    const { clock, log, gatherer } = setUp({}, true);
    const requests = [gatherer.append([piece(0, 'a'), piece(1, 'b')])];
    await clock.advance(2);
    requests.push(gatherer.append([piece(0, 'c')]));
    await clock.advance(4);
    requests.push(gatherer.append([piece(0, 'd')]));
    await settled();
    expect(texts(log.pending)).toEqual(['0:a', '1:b']);
    log.pending.shift()!.resolve();
    await settled();
    expect(texts(log.pending)).toEqual(['1:b']);
    log.settle();
    await settled();
    expect(texts(log.pending)).toEqual(['0:cd']);
    requests.push(gatherer.append([piece(0, 'e')]));
    await clock.advance(4);
    await settled();
    expect(texts(log.pending)).toEqual(['0:cd']);
    await clock.advance(1);
    await settled();
    expect(texts(log.pending)).toEqual(['0:cd', '0:e']);
    log.settle();
    await Promise.all(requests);
  });

  test('every record has a stamp of its own, the time of its first piece and the collector', async () => {
    const { clock, log, gatherer } = setUp();
    const first = gatherer.append([piece(0, 'a'), piece(1, 'b')]);
    await clock.advance(7);
    const second = gatherer.append([piece(0, 'c')]);
    await clock.advance(5);
    await Promise.all([first, second]);
    expect(log.appended.map(infoOf)).toEqual([
      { stamp: { instance: 0xfeedbeef, sequence: 0 }, receivedMs: 1_700_000_000_000, collectorId: 'collector-1' },
      { stamp: { instance: 0xfeedbeef, sequence: 1 }, receivedMs: 1_700_000_000_000, collectorId: 'collector-1' },
      { stamp: { instance: 0xfeedbeef, sequence: 2 }, receivedMs: 1_700_000_000_007, collectorId: 'collector-1' },
    ]);
  });

  test('a request resolves when every partition it touched is durable, not before', async () => {
    const { clock, log, gatherer } = setUp({}, true);
    let done = false;
    const request = gatherer.append([piece(0, 'a'), piece(1, 'b')]).then(() => {
      done = true;
    });
    await clock.advance(5);
    await settled();
    log.pending.shift()!.resolve();
    await settled();
    expect(done).toBe(false);
    log.pending.shift()!.resolve();
    await request;
    expect(done).toBe(true);
  });

  test('a partition with gatherBytesMax is appended at once, with one byte less it waits', async () => {
    const { clock, log, gatherer } = setUp();
    const waiting = gatherer.append([piece(0, 'x'.repeat(99))]);
    await settled();
    expect(log.appended).toHaveLength(0);
    const full = gatherer.append([piece(0, 'y')]);
    await Promise.all([waiting, full]);
    expect(log.appended).toHaveLength(1);
    await gatherer.append([piece(0, 'z'.repeat(100))]);
    expect(log.appended).toHaveLength(2);
    await clock.advance(5);
    expect(log.appended).toHaveLength(2);
  });

  test('a record holds recordBytesMax and no more; a piece beyond it goes alone and whole', async () => {
    const { clock, log, gatherer } = setUp();
    const requests = [
      gatherer.append([piece(0, 'a'.repeat(90))]),
      gatherer.append([piece(0, 'b'.repeat(60))]),
      gatherer.append([piece(0, 'c'.repeat(90))]),
      gatherer.append([piece(0, 'd'.repeat(61))]),
      gatherer.append([piece(0, 'e'.repeat(500))]),
    ];
    await clock.advance(5);
    await Promise.all(requests);
    expect(log.values().map((value) => value.length)).toEqual([150, 90, 61, 500]);
  });

  test('appends of one partition keep the order of the calls, without waiting for one another', async () => {
    const { clock, log, gatherer } = setUp({}, true);
    const requests: Promise<void>[] = [];
    for (const text of ['1', '2', '3']) {
      requests.push(gatherer.append([piece(7, text)]));
      await clock.advance(5);
      await settled();
    }
    expect(texts(log.pending)).toEqual(['7:1', '7:2', '7:3']);
    log.settle();
    await Promise.all(requests);
  });

  test('a failed append fails the requests it held and no others', async () => {
    const { clock, log, gatherer, failures } = setUp({}, true);
    const lost = gatherer.append([piece(0, 'a'), piece(1, 'b')]);
    const kept = gatherer.append([piece(1, 'c')]);
    await clock.advance(5);
    await settled();
    const [first, second] = log.pending.splice(0);
    first!.reject(new MeridianError('unavailable', 'the log is down', 'later', { retryAfterMs: 700 }));
    second!.resolve();
    await expect(lost).rejects.toMatchObject({ code: 'unavailable', retry: 'later', retryAfterMs: 700 });
    await kept;
    expect(failures.map((failure) => failure.code)).toEqual(['unavailable']);
  });

  test('what the log should not have said is a failure that passes; a permanent one weighs more', async () => {
    const { clock, log, gatherer } = setUp({}, true);
    const odd = gatherer.append([piece(0, 'a')]);
    await clock.advance(5);
    await settled();
    log.settle(new MeridianError('not-found', 'no such partition', 'never'));
    await expect(odd).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });

    const both = gatherer.append([piece(0, 'a'), piece(1, 'b'), piece(2, 'c')]);
    await clock.advance(5);
    await settled();
    const [first, second, third] = log.pending.splice(0);
    first!.reject(new Error('down'));
    second!.reject(new MeridianError('too-large', 'a record of 9 GB', 'never'));
    third!.reject(new Error('down'));
    await expect(both).rejects.toMatchObject({ code: 'too-large', retry: 'never' });
  });

  test('closing appends what waits, resolves when it is durable, and takes no more', async () => {
    const { log, gatherer } = setUp({}, true);
    const request = gatherer.append([piece(0, 'a')]);
    let closed = false;
    const closing = gatherer.close().then(() => {
      closed = true;
    });
    await settled();
    expect(texts(log.pending)).toEqual(['0:a']);
    expect(closed).toBe(false);
    await expect(gatherer.append([piece(0, 'b')])).rejects.toMatchObject({ code: 'shutting-down', retry: 'later' });
    log.settle();
    await Promise.all([request, closing]);
    expect(closed).toBe(true);
  });

  test('a request without spans is durable at once', async () => {
    const { gatherer, log } = setUp();
    await gatherer.append([]);
    expect(log.appended).toEqual([]);
  });

  test('a crash before the append leaves nothing, a crash after it leaves the spans unacknowledged', async () => {
    for (const [point, records] of [
      ['collector.before-append', 0],
      ['collector.after-append', 1],
    ] as const) {
      const crash: ReachCrashPoint = (reached) => {
        if (reached === point) throw new Error(`crash at ${point}`);
      };
      const { clock, log, gatherer } = setUp({ crash });
      const request = gatherer.append([piece(0, 'a')]);
      const refused = expect(request).rejects.toMatchObject({ retry: 'later' });
      await clock.advance(5);
      await refused;
      expect(log.appended).toHaveLength(records);
    }
  });
});
