import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LogOffsets, LogReads, LogRecord } from '../../global/log/span-log.js';
import type { RegionId } from '../../global/model/ids.js';
import { ManualClock, realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { EncodedBlock } from '../segments/segment.js';
import { createFolderSnapshots } from './snapshot-folder.js';
import {
  encodeSnapshotRecord,
  parseSnapshotRecord,
  type SnapshotEngine,
  type SnapshotRecord,
  snapshotFor,
  snapshotName,
  snapshotsToRemove,
} from './snapshot-record.js';
import { createSnapshots, type SnapshotServiceOptions } from './snapshot-service.js';
import { openSqliteSegmentStore, type SqliteSegmentStore } from './sqlite-segment-store.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';

const EAST = 'us-east-1' as RegionId;
const GROUP = 'writer';
const TOPIC = 'segments';
const HOUR_MS = 3_600_000;

/** A log of one topic in memory, as far as snapshots use it. */
class FakeLog implements LogOffsets, LogReads {
  readonly partitions: LogRecord[][] = [[], []];
  readonly first = [0, 0];
  readonly commits: (number | null)[] = [null, null];

  append(partition: number, value: Uint8Array, appendedMs: number): void {
    const offset = this.first[partition]! + this.partitions[partition]!.length;
    this.partitions[partition]!.push({ offset, appendedMs, key: null, value, headers: {} });
  }
  /** Drops the oldest records. */
  forget(partition: number, count: number): void {
    this.partitions[partition]!.splice(0, count);
    this.first[partition]! += count;
  }
  async ends() {
    return this.partitions.map((records, i) => this.first[i]! + records.length);
  }
  async starts() {
    return [...this.first];
  }
  async committed() {
    return [...this.commits];
  }
  async offsetAt(_topic: string, partition: number, timeMs: number) {
    const found = this.partitions[partition]!.find(({ appendedMs }) => appendedMs >= timeMs);
    return found?.offset ?? (await this.ends())[partition]!;
  }
  async rewind(_group: string, _topic: string, partition: number, nextOffset: number) {
    this.commits[partition] = nextOffset;
  }
  async read(_topic: string, partition: number, fromOffset: number) {
    return this.partitions[partition]!.filter(({ offset }) => offset >= fromOffset).slice(0, 2);
  }
}

describe('snapshots of the embedded store', () => {
  let folder: string;
  let store: SqliteSegmentStore;
  let log: FakeLog;
  let clock: ManualClock;
  let engine: SnapshotEngine;
  let stops: string[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meridian-snapshots-'));
    const shared = { clock: realClock, logger: silentLogger, registry: new Registry() };
    store = await openSqliteSegmentStore({ folder: join(folder, 'store'), ...shared });
    engine = createFolderSnapshots({ storeFolder: join(folder, 'store'), store, folder: join(folder, 'snapshots') });
    log = new FakeLog();
    clock = new ManualClock(Date.UTC(2026, 0, 31, 7));
    stops = [];
  });
  afterEach(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  const make = (options: Partial<SnapshotServiceOptions> = {}) =>
    createSnapshots({
      engine,
      views: [{ group: GROUP, topic: TOPIC }],
      log,
      store,
      whileStopped: async (work) => {
        stops.push('stop');
        try {
          return await work();
        } finally {
          stops.push('start');
        }
      },
      clock,
      logger: silentLogger,
      registry: new Registry(),
      markerFile: join(folder, 'restoring'),
      schedule: () => () => {},
      ...options,
    });
  const block = (number: number): Promise<EncodedBlock> =>
    blockOf(EAST, number, [
      segmentOf(EAST, traceIdOf(number), [{ span: 1, service: 'a', start: BASE + BigInt(number) }]),
    ]);
  /** The writer's work: into the log, into the store, committed. */
  const write = async (number: number) => {
    const made = await block(number);
    log.append(number % 2, made.bytes, clock.nowMs());
    await store.write([made]);
    log.commits[number % 2] = (await log.ends())[number % 2]!;
    await clock.advance(1000);
  };
  const stored = async () => {
    const found: number[] = [];
    for (let number = 0; number < 20; number++) {
      if ((await store.get(EAST, traceIdOf(number))).length > 0) found.push(number);
    }
    return found;
  };

  test('a store that lost everything is whole again: the newest snapshot, and what came after it from the log', async () => {
    const snapshots = make();
    for (const number of [0, 1, 2]) await write(number);
    const record = await snapshots.create('hourly');
    expect(record).toMatchObject({
      name: 'hourly-20260131t070003z',
      positions: [{ group: GROUP, topic: TOPIC, offsets: [2, 1] }],
    });
    for (const number of [3, 4, 5]) await write(number);
    await store.expire((1n << 64n) - 1n);
    expect(await stored()).toEqual([]);
    expect(await snapshots.restore({ toMs: null })).toMatchObject({ stage: 'done', blocks: 3, unreadable: 0 });
    expect(await stored()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(log.commits).toEqual([3, 3]);
    expect(stops).toEqual(['stop', 'start']);
    expect((await snapshots.status()).restore).toMatchObject({ stage: 'done' });
  });

  test('a point in time: what was stored until then, nothing that came after', async () => {
    const snapshots = make();
    await write(0);
    await snapshots.create();
    await write(1);
    const afterOne = clock.nowMs() - 1;
    await write(2);
    await snapshots.create();
    await write(3);
    await snapshots.restore({ toMs: afterOne });
    expect(await stored()).toEqual([0, 1]);
    // Writers go on with what comes now.
    expect(log.commits).toEqual(await log.ends());
    await snapshots.restore({ toMs: null });
    expect(await stored()).toEqual([0, 1, 2, 3]);
  });

  test('nothing is touched where it cannot be done: no snapshot old enough, or a log that does not go back to it', async () => {
    const snapshots = make();
    await write(0);
    await expect(snapshots.restore({ toMs: null })).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('there are: none'),
    });
    const first = clock.nowMs();
    await clock.advance(1000);
    const { name, takenMs } = await snapshots.create();
    await expect(snapshots.restore({ toMs: first })).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining(name),
    });
    await expect(snapshots.restore({ toMs: first, snapshot: name })).rejects.toMatchObject({ code: 'invalid' });
    await expect(snapshots.restore({ toMs: null, snapshot: 'manual-20200101t000000z' })).rejects.toMatchObject({
      code: 'not-found',
    });
    await clock.advance(1000);
    for (const number of [1, 3]) await write(number);
    log.forget(1, 1);
    await expect(snapshots.restore({ toMs: takenMs + 5000 })).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('offsets 0 to 1 of segments/1'),
    });
    expect(stops).toEqual([]);
    expect(await stored()).toEqual([0, 1, 3]);
  });

  test('a group with members elsewhere refuses to be rewound: the store is untouched and fit', async () => {
    const snapshots = make();
    await write(0);
    await snapshots.create();
    await write(1);
    log.rewind = async () => Promise.reject(new MeridianError('refused', 'the group has members', 'later'));
    await expect(snapshots.beginRestore({ toMs: null })).rejects.toMatchObject({ code: 'refused' });
    expect(await stored()).toEqual([0, 1]);
    expect((await snapshots.status()).restore).toBeNull();
    expect(await snapshots.health().check()).toMatchObject({
      state: 'degraded',
      detail: 'restore: the group has members',
    });
  });

  test('a restore that fails halfway shows in health, also to the next process, until one succeeds', async () => {
    let broken = true;
    const failing: SnapshotEngine = {
      create: (record) => engine.create(record),
      list: () => engine.list(),
      remove: (name) => engine.remove(name),
      restore: async (name) => {
        if (broken) throw new MeridianError('unavailable', 'no room left on the disk', 'later');
        await engine.restore(name);
      },
    };
    const snapshots = make({ engine: failing });
    await write(0);
    await snapshots.create();
    await expect(snapshots.restore({ toMs: null })).rejects.toMatchObject({ code: 'unavailable' });
    expect(stops).toEqual(['stop', 'start']);
    expect(await snapshots.health().check()).toMatchObject({
      state: 'down',
      detail: expect.stringContaining('no room left'),
    });
    await expect(snapshots.create()).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('incomplete'),
    });
    const next = make({ engine: failing });
    await next.start();
    expect(await next.health().check()).toMatchObject({
      state: 'down',
      detail: expect.stringContaining('restore again'),
    });
    await expect(next.beginRestore({ toMs: 1 })).rejects.toMatchObject({ code: 'not-found' });
    broken = false;
    expect(await next.beginRestore({ toMs: null })).toMatchObject({ stage: 'copying' });
    await next.stop();
    expect((await next.status()).restore).toMatchObject({ stage: 'done' });
    expect(await stored()).toEqual([0]);
    const after = make();
    await after.start();
    expect(await after.health().check()).toMatchObject({ state: 'ok' });
  });

  test('a record of the log that is no block is counted and passed over', async () => {
    const snapshots = make();
    await snapshots.create();
    log.append(0, Buffer.from('nonsense'), clock.nowMs());
    await write(2);
    expect(await snapshots.restore({ toMs: null })).toMatchObject({ stage: 'done', blocks: 1, unreadable: 1 });
    expect(await stored()).toEqual([2]);
  });

  test('a copy is consistent while the store is written', async () => {
    const snapshots = make();
    for (let i = 0; i < 4; i++) await write(i);
    const taking = snapshots.create();
    for (let i = 4; i < 12; i++) await write(i);
    await taking;
    await store.expire((1n << 64n) - 1n);
    await snapshots.restore({ toMs: null });
    expect(await stored()).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });

  test('one thing at a time; a half-made snapshot of a killed process is no snapshot and goes', async () => {
    const snapshots = make();
    await write(0);
    const taking = snapshots.create();
    await expect(snapshots.create()).rejects.toMatchObject({ code: 'refused', retry: 'later' });
    await taking;
    await rm(join(folder, 'snapshots', 'x'), { recursive: true, force: true });
    await writeFile(join(folder, 'snapshots', 'hourly-20260101t000000z.partial'), '');
    expect(await engine.list()).toHaveLength(1);
    await clock.advance(1000);
    await snapshots.create();
    expect((await readdir(join(folder, 'snapshots'))).filter((name) => name.endsWith('partial'))).toEqual([]);
  });

  test('the schedule takes hourly and daily ones and keeps so many; failures show until one succeeds', async () => {
    const beats = new Map<string, () => void>();
    const registry = new Registry();
    const kept: SnapshotRecord[] = [];
    let broken = false;
    const memory: SnapshotEngine = {
      create: async (record) => {
        if (broken) throw new MeridianError('unavailable', 'the repository is away', 'later');
        kept.push(record);
      },
      list: async () => [...kept],
      remove: async (name) => {
        kept.splice(
          kept.findIndex((record) => record.name === name),
          1,
        );
      },
      restore: async () => {},
    };
    const schedule = (expression: string, beat: () => void) => {
      beats.set(expression, beat);
      return () => void beats.delete(expression);
    };
    const snapshots = make({
      engine: memory,
      registry,
      schedule,
      hourlyCron: 'h',
      dailyCron: 'd',
      hourlyKept: 2,
      dailyKept: 1,
    });
    await snapshots.start();
    const beat = async (kind: string) => {
      beats.get(kind)!();
      for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(HOUR_MS);
    };
    for (const kind of ['h', 'd', 'h', 'h', 'd']) await beat(kind);
    expect(kept.map(({ kind }) => kind)).toEqual(['hourly', 'hourly', 'daily']);
    const age = async () =>
      (await registry.getSingleMetric('meridian_snapshot_newest_age_seconds')!.get()).values[0]!.value;
    expect(await age()).toBe(3600);
    broken = true;
    await beat('h');
    expect(await snapshots.health().check()).toMatchObject({
      state: 'degraded',
      detail: expect.stringContaining('the repository is away'),
    });
    expect((await snapshots.status()).lastFailure).toMatchObject({ what: 'snapshot (hourly)' });
    broken = false;
    await beat('h');
    expect(await snapshots.health().check()).toMatchObject({ state: 'ok' });
    await clock.advance(4 * HOUR_MS);
    expect(await snapshots.health().check()).toMatchObject({
      state: 'degraded',
      detail: 'the newest snapshot is 300 minutes old',
    });
    await snapshots.stop();
    expect(beats.size).toBe(0);
  });
});

describe('snapshot records', () => {
  const record: SnapshotRecord = {
    name: snapshotName('daily', Date.UTC(2026, 0, 2, 3, 4, 5, 678)),
    kind: 'daily',
    takenMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    positions: [{ group: GROUP, topic: TOPIC, offsets: [1, 0] }],
  };

  test('the format stays as it is', () => {
    const golden =
      '{"version":1,"name":"daily-20260102t030405z","kind":"daily","takenMs":1767323045678,"positions":[{"group":"writer","topic":"segments","offsets":[1,0]}]}';
    expect(encodeSnapshotRecord(record)).toBe(golden);
    expect(parseSnapshotRecord(golden, 'x')).toEqual(record);
  });

  test('what is none is told', () => {
    const code = (text: string) => {
      try {
        return parseSnapshotRecord(text, 'record x');
      } catch (error) {
        return error instanceof MeridianError ? error.code : error;
      }
    };
    expect(code('{"version":2}')).toBe('unknown-version');
    for (const text of ['', 'null', '{}', '{"version":1}', encodeSnapshotRecord({ ...record, name: '../x' })]) {
      expect(code(text)).toBe('malformed');
    }
  });

  test('which go, and from which a time is restored', () => {
    const at = (kind: SnapshotRecord['kind'], hour: number) => ({ ...record, kind, takenMs: hour * HOUR_MS });
    const all = [at('daily', 1), at('hourly', 2), at('manual', 3), at('hourly', 4), at('daily', 5)];
    expect(snapshotsToRemove(all, { hourlyKept: 1, dailyKept: 2 })).toEqual([all[1]]);
    expect(snapshotsToRemove(all, { hourlyKept: 0, dailyKept: 0 })).toEqual([all[3], all[1], all[0]]);
    expect(snapshotFor(all, 4 * HOUR_MS)).toBe(all[3]);
    expect(snapshotFor(all, 4 * HOUR_MS - 1)).toBe(all[2]);
    expect(snapshotFor(all, HOUR_MS - 1)).toBeNull();
  });
});
