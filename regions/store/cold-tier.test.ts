import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { EncodedBlock } from '../segments/segment.js';
import { openFolderStorage } from './cold-folder-storage.js';
import { HOUR_MS } from './cold-object-name.js';
import { listAll, type ObjectStorage } from './cold-object-storage.js';
import type { ColdCrashPoint } from './cold-packer.js';
import { COLD_CLOCK_GRACE_MS, type ColdTierOptions } from './cold-tier.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { type ModelSegment, query } from './testing/model.js';
import { never, openTiered, type TieredForTests } from './testing/tiered-for-tests.js';
import { PartialAnswer } from './tiered-partial-answer.js';

const EAST = 'us-east-1' as RegionId;
const WEST = 'us-west-2' as RegionId;
const HOUR = BigInt(HOUR_MS) * 1_000_000n;
const LATER = BASE + 1000n * HOUR;

/** Counts, and fails when it is told to. */
class WatchedStorage implements ObjectStorage {
  readonly calls: string[] = [];
  broken = false;
  /** Changes what is put. */
  spoil: ((bytes: Buffer) => Buffer) | null = null;
  constructor(readonly inner: ObjectStorage) {}

  read(name: string, from: number, length: number): Promise<Buffer> {
    return this.#call('read', () => this.inner.read(name, from, length));
  }
  list(prefix: string, after: string | null) {
    return this.#call('list', () => this.inner.list(prefix, after));
  }
  put(name: string, bytes: Buffer): Promise<void> {
    return this.#call('put', () => this.inner.put(name, this.spoil ? this.spoil(bytes) : bytes));
  }
  remove(name: string): Promise<void> {
    return this.#call('remove', () => this.inner.remove(name));
  }
  close(): Promise<void> {
    return this.inner.close();
  }
  /** How often it was called since the last time this was asked. */
  count(what: string): number {
    const count = this.calls.filter((call) => call === what).length;
    return count;
  }
  forget(): void {
    this.calls.length = 0;
  }
  async #call<T>(what: string, act: () => Promise<T>): Promise<T> {
    this.calls.push(what);
    if (this.broken) throw new MeridianError('unavailable', `${what}: the storage is away`, 'later');
    return act();
  }
}

describe('cold tier', () => {
  let folder: string;
  let storage: WatchedStorage;
  const opened: TieredForTests[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meridian-cold-'));
    storage = new WatchedStorage(await openFolderStorage(join(folder, 'cold')));
  });
  afterEach(async () => {
    for (const { store } of opened.splice(0)) await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  const open = async (options: Partial<ColdTierOptions> = {}) => {
    const tiered = await openTiered(join(folder, 'hot'), storage, options);
    opened.push(tiered);
    return tiered;
  };
  const reopen = async (options: Partial<ColdTierOptions> = {}) => {
    for (const { store } of opened.splice(0)) await store.close();
    return open(options);
  };
  /** A block of one trace, `hours` after BASE. */
  const one = (number: number, hours: number, source = EAST, service = 'orders') =>
    blockOf(source, number, [
      segmentOf(source, traceIdOf(number), [
        { span: number, service, start: BASE + BigInt(hours) * HOUR + BigInt(number) },
      ]),
    ]);
  const blocks = (...made: Promise<EncodedBlock>[]) => Promise.all(made);
  const names = async () => (await listAll(storage.inner, '')).map(({ name }) => name.replace(/-[0-9a-f]{24}-/, '-*-'));
  const request = (rest: Partial<SearchRequest> = {}): SearchRequest => ({
    query: query(),
    source: EAST,
    after: null,
    limit: 100,
    ...rest,
  });

  test('whole hours move, by source and hour, and are gone from the hot store', async () => {
    const { store, hot } = await open();
    await store.write(await blocks(one(1, 0), one(2, 0), one(3, 1), one(4, 1, WEST), one(5, 2)));
    const report = await store.demote(BASE + 2n * HOUR + HOUR / 2n, never);
    expect(report).toMatchObject({ blocks: 4, objects: 3, unpackable: 0 });
    expect(await names()).toEqual([
      'cold/us-east-1/2026-01-01/00-*-2.cold',
      'cold/us-east-1/2026-01-01/01-*-1.cold',
      'cold/us-west-2/2026-01-01/01-*-1.cold',
    ]);
    for (const number of [1, 2, 3]) {
      expect(await hot.get(EAST, traceIdOf(number))).toEqual([]);
      expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
    }
    expect(await store.get(WEST, traceIdOf(4))).toHaveLength(1);
    // Its hour had not ended.
    expect(await hot.get(EAST, traceIdOf(5))).toHaveLength(1);
    expect(await store.demote(BASE + 2n * HOUR + HOUR / 2n, never)).toEqual({
      blocks: 0,
      objects: 0,
      bytes: 0,
      unpackable: 0,
    });
  });

  test('a trace that is there costs three reads, one that is not costs none; both once the summaries are known', async () => {
    const { store } = await open();
    await store.write(await blocks(...Array.from({ length: 6 }, (_, i) => one(i, i))));
    await store.demote(LATER, never);
    const { cold } = await reopen();
    storage.forget();
    expect(await cold.get(EAST, traceIdOf(99))).toEqual([]);
    expect(storage.calls.sort()).toEqual(['list', 'list', ...Array.from({ length: 6 }, () => 'read')]);
    storage.forget();
    expect(await cold.get(EAST, traceIdOf(98))).toEqual([]);
    expect(storage.calls).toEqual([]);
    expect(await cold.get(EAST, traceIdOf(2))).toHaveLength(1);
    // Page and block.
    expect(storage.calls).toEqual(['read', 'read']);
  });

  test('a known start spares all that is older, but for the allowance for clocks', async () => {
    const { store } = await open();
    await store.write(await blocks(...Array.from({ length: 10 }, (_, i) => one(i, i))));
    await store.demote(LATER, never);
    const { cold } = await reopen();
    const grace = BigInt(COLD_CLOCK_GRACE_MS) * 1_000_000n;
    storage.forget();
    expect(await cold.get(EAST, traceIdOf(8), { startUnixNanoMin: BASE + 8n * HOUR + 8n })).toHaveLength(1);
    // Hours 7 (the allowance), 8 and 9, then page and block.
    expect(storage.count('read')).toBe(5);
    storage.forget();
    expect(await cold.get(EAST, traceIdOf(50), { startUnixNanoMin: BASE + 10n * HOUR + grace })).toEqual([]);
    expect(storage.count('read')).toBe(0);
    expect(await cold.get(EAST, traceIdOf(9), { startUnixNanoMin: BASE + 10n * HOUR + grace - 1n })).toHaveLength(1);
  });

  test.each(['before-put', 'after-put', 'after-remove'] as const)(
    'a packer that ends %s loses nothing, and the next run finishes without writing anything twice',
    async (point: ColdCrashPoint) => {
      const crashing = await open({
        crash: (reached) => {
          if (reached === point) throw new Error('crashed');
        },
      });
      await crashing.store.write(await blocks(...Array.from({ length: 5 }, (_, i) => one(i, 0))));
      await expect(crashing.store.demote(LATER, never)).rejects.toThrow('crashed');
      const everything = async ({ store }: TieredForTests) => {
        for (let number = 0; number < 5; number++) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
        expect((await store.search(request(), never)).matches).toHaveLength(5);
      };
      await everything(crashing);
      const next = await reopen();
      await everything(next);
      await next.store.demote(LATER, never);
      await everything(next);
      expect(await names()).toEqual(['cold/us-east-1/2026-01-01/00-*-5.cold']);
      expect(await next.hot.aged.oldest(0, unixNanoToMs(LATER))).toBeNull();
    },
  );

  test('blocks that come late, or again, for a packed hour: another object with just the new ones', async () => {
    const { store } = await open();
    const first = await blocks(one(1, 0), one(2, 0));
    await store.write(first);
    await store.demote(LATER, never);
    await store.write([...first, ...(await blocks(one(3, 0)))]);
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
    const report = await store.demote(LATER, never);
    expect(report).toMatchObject({ blocks: 3, objects: 1 });
    expect((await names()).sort()).toEqual([
      'cold/us-east-1/2026-01-01/00-*-1.cold',
      'cold/us-east-1/2026-01-01/00-*-2.cold',
    ]);
    for (const number of [1, 2, 3]) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
    expect((await store.search(request(), never)).matches).toHaveLength(3);
  });

  test('packs that the embedded store joined under the name of a packed block are not taken for it', async () => {
    const { store, hot } = await open();
    const small = await blocks(...Array.from({ length: 64 }, (_, i) => one(i, 0)));
    await store.write(small.slice(0, 1));
    await store.demote(LATER, never);
    await store.write(small);
    await hot.compact();
    await store.demote(LATER, never);
    for (let number = 0; number < 64; number++) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
    expect(await hot.aged.oldest(0, unixNanoToMs(LATER))).toBeNull();
  });

  test('what is read back differently is not removed from the hot store', async () => {
    const { store, hot } = await open();
    await store.write(await blocks(one(1, 0)));
    storage.spoil = (bytes) => {
      const spoilt = Buffer.from(bytes);
      spoilt[3]! ^= 1;
      return spoilt;
    };
    await expect(store.demote(LATER, never)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('read back'),
    });
    expect(await hot.get(EAST, traceIdOf(1))).toHaveLength(1);
    storage.spoil = null;
    expect(await store.demote(LATER, never)).toMatchObject({ blocks: 1 });
    expect(await hot.get(EAST, traceIdOf(1))).toEqual([]);
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
  });

  test('objects end at their limit of bytes; a block beyond it has one of its own', async () => {
    const made = await blocks(...Array.from({ length: 7 }, (_, i) => one(i, 0)));
    const limit = made[0]!.bytes.length + made[1]!.bytes.length;
    for (const [objectBytesMax, objects] of [
      [limit, 4],
      [limit - 1, 7],
      [1, 7],
      [1_000_000, 1],
    ] as const) {
      const { store } = await reopen({ objectBytesMax });
      await store.write(made);
      expect(await store.demote(LATER, never)).toMatchObject({ blocks: 7, objects });
      for (let number = 0; number < 7; number++) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
      await store.expire(LATER);
      expect(await names()).toEqual([]);
    }
  });

  test('summaries and lists are bounded and shared', async () => {
    const { store } = await open({ summaryBytesMax: 2500 });
    await store.write(await blocks(...Array.from({ length: 10 }, (_, i) => one(i, i))));
    await store.demote(LATER, never);
    const { cold } = await reopen({ summaryBytesMax: 2500 });
    await cold.get(EAST, traceIdOf(99));
    storage.forget();
    await Promise.all(Array.from({ length: 5 }, () => cold.get(EAST, traceIdOf(99))));
    // Ten objects, of which some are in memory; five callers share the reads of the others.
    expect(storage.count('read')).toBeGreaterThan(4);
    expect(storage.count('read')).toBeLessThan(20);
    expect(storage.count('list')).toBe(0);
  });

  test('a search of young traces asks nothing of the cold tier; an old one reads no more hours than it needs', async () => {
    const { store } = await open();
    const segments: ModelSegment[] = Array.from({ length: 12 }, (_, i) => ({
      traceId: traceIdOf(i),
      spans: [{ span: i, service: 'orders', start: BASE + BigInt(i) * HOUR + BigInt(i) }],
    }));
    await store.write(await blocks(...segments.map((_, i) => one(i, i))));
    await store.demote(BASE + 10n * HOUR, never);
    const { store: again } = await reopen();
    await again.search(request({ limit: 1 }), never);
    storage.forget();
    const young = await again.search(request({ query: query({ startUnixNanoMin: BASE + 10n * HOUR }) }), never);
    expect(young.matches).toHaveLength(2);
    const page = await again.search(request({ limit: 2 }), never);
    expect(page.matches.map(({ position }) => position.traceId)).toEqual([traceIdOf(11), traceIdOf(10)]);
    expect(storage.calls).toEqual([]);
    const next = await again.search(request({ limit: 2, after: page.next }), never);
    expect(next.matches.map(({ position }) => position.traceId)).toEqual([traceIdOf(9), traceIdOf(8)]);
    // Three hours' summaries and blocks at most.
    expect(storage.count('read')).toBeLessThanOrEqual(6);
  });

  test('one tier that is away: an error that names it and has what the other knows', async () => {
    const { store, hot } = await open();
    await store.write(await blocks(one(1, 0), one(2, 5)));
    await store.demote(BASE + 2n * HOUR, never);
    const { store: again } = await reopen();
    storage.broken = true;
    const failed = await again.get(EAST, traceIdOf(2)).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(PartialAnswer);
    expect(failed).toMatchObject({
      part: 'cold tier',
      code: 'unavailable',
      answer: [{ metadata: { traceId: traceIdOf(2) } }],
    });
    const search = await again.search(request(), never).catch((error: unknown) => error);
    expect(search).toMatchObject({
      part: 'cold tier',
      answer: { matches: [{ metadata: { traceId: traceIdOf(2) } }], next: null },
    });
    expect(await again.health().check()).toMatchObject({
      part: 'cold tier',
      state: 'down',
      detail: expect.stringContaining('away'),
    });
    await expect(again.demote(LATER, never)).rejects.toMatchObject({ code: 'unavailable' });
    storage.broken = false;
    expect(await again.get(EAST, traceIdOf(1))).toHaveLength(1);
    expect(await again.health().check()).toMatchObject({ state: 'ok' });
    await hot.close();
    const [{ hot: current }] = opened as [TieredForTests];
    await current.close();
    expect(await again.get(EAST, traceIdOf(1)).catch((error: unknown) => error)).toMatchObject({
      part: 'store',
      answer: [{ metadata: { traceId: traceIdOf(1) } }],
    });
  });

  test('expire removes whole hours, at their end and not before', async () => {
    const { store } = await open();
    await store.write(await blocks(one(1, 0), one(2, 0), one(3, 1, WEST)));
    await store.demote(LATER, never);
    expect(await store.expire(BASE + HOUR - 1n)).toBe(0);
    expect(await store.expire(BASE + HOUR)).toBe(2);
    expect(await store.get(EAST, traceIdOf(1))).toEqual([]);
    expect(await store.get(WEST, traceIdOf(3))).toHaveLength(1);
    expect(await store.expire(BASE + 2n * HOUR)).toBe(1);
    expect(await names()).toEqual([]);
  });

  test('files that are not ours are left alone', async () => {
    await storage.put('cold/us-east-1/README', Buffer.from('x'));
    await storage.put('cold/us-east-1/2020-01-01/00-0123456789abcdef01234567-1.cold', Buffer.from('not a cold object'));
    const { store } = await open();
    await expect(store.get(EAST, traceIdOf(1))).rejects.toMatchObject({ part: 'cold tier', code: 'malformed' });
    expect(await store.expire(LATER)).toBe(1);
    expect(await names()).toEqual(['cold/us-east-1/README']);
    expect(await store.get(EAST, traceIdOf(1))).toEqual([]);
  });
});
