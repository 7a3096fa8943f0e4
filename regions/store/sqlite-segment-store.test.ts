import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchPosition, SpanQuery } from '../../global/model/query.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { COMPACTION } from './compaction.js';
import { segmentStoreContract } from './segment-store.contract.js';
import type { SearchPage } from './segment-store.js';
import {
  openSqliteSegmentStore,
  type SqliteSegmentStore,
  type SqliteSegmentStoreOptions,
} from './sqlite-segment-store.js';
import { databasePath } from './store-database.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { expectedPage, type ModelSegment, query } from './testing/model.js';

const EAST = 'us-east-1' as RegionId;

segmentStoreContract('sqlite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meridian-store-'));
  return {
    open: () => openSqliteSegmentStore({ folder, clock: realClock, logger: silentLogger, registry: new Registry() }),
    writeAndKill: async (blocks) => {
      const child = fork(compiledModule('regions/store/testing/write-and-wait'), [folder], {
        serialization: 'advanced',
      });
      const exited = once(child, 'exit');
      child.send(blocks.map(({ bytes }) => bytes));
      const [said] = await once(child, 'message');
      child.kill('SIGKILL');
      await exited;
      if (said !== 'written') throw new Error(String(said));
    },
    // What is committed is visible: the first look has to find it.
    eventually: (check) => check(),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
});

describe('sqlite segment store', () => {
  let folder: string;
  let open: SqliteSegmentStore[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meridian-store-'));
    open = [];
  });
  afterEach(async () => {
    await Promise.all(open.map((store) => store.close()));
    await rm(folder, { recursive: true, force: true });
  });

  const openStore = async (options: Partial<SqliteSegmentStoreOptions> = {}) => {
    const registry = new Registry();
    const store = await openSqliteSegmentStore({
      folder,
      clock: realClock,
      logger: silentLogger,
      registry,
      ...options,
    });
    open.push(store);
    return store;
  };
  const one = (number: number, start = number): ModelSegment => ({
    traceId: traceIdOf(number),
    spans: [{ span: number, service: 'orders', start: BASE + BigInt(start), attributes: { id: `v${number}` } }],
  });
  const blockOfModel = (number: number, segments: readonly ModelSegment[], source = EAST) =>
    blockOf(
      source,
      number,
      segments.map(({ traceId, spans }) => segmentOf(source, traceId, spans)),
    );
  const page = async (
    store: SqliteSegmentStore,
    conditions: Partial<SpanQuery>,
    after: SearchPosition | null,
    limit: number,
  ) => {
    const signal = new AbortController().signal;
    return store.search({ query: query(conditions), source: EAST, after, limit }, signal);
  };

  test('small blocks are packed together; by id, by block and in search they stay what they were', async () => {
    const registry = new Registry();
    const store = await openStore({ registry });
    const segments = Array.from({ length: 3 * COMPACTION.groupPacksMin }, (_, i) => one(i % 150, (i * 31) % 97));
    const blocks = await Promise.all(segments.map((segment, i) => blockOfModel(i, [segment])));
    await store.write(blocks.slice(0, 100));
    const before = (await page(store, {}, null, 20)).matches;
    await store.write(blocks.slice(100));
    await store.compact();
    expect(countOf('packs')).toBeLessThan(10);
    expect(countOf('blocks')).toBe(blocks.length);
    expect(countOf('traces')).toBeLessThanOrEqual(150 * countOf('packs'));
    expect(before).toHaveLength(20);
    for (const limit of [7, 1000]) {
      for (let after: SearchPosition | null = null, first = true; first || after; first = false) {
        const { matches, next }: SearchPage = await page(store, {}, after, limit);
        expect(matches.map(({ position }) => position)).toEqual(expectedPage(segments, query(), after, limit));
        after = next;
      }
    }
    for (const number of [0, 7, 149]) {
      const expected = segments.filter(({ traceId }) => traceId === traceIdOf(number)).length;
      expect(await store.get(EAST, traceIdOf(number))).toHaveLength(expected);
      const hinted = await store.get(EAST, traceIdOf(number), { blocks: [blocks[number]!.id], complete: true });
      expect(hinted.length).toBeGreaterThanOrEqual(1);
      const conditions = { attributes: [{ key: 'id', value: `v${number}` }] };
      expect((await page(store, conditions, null, 9)).matches[0]!.position.traceId).toBe(traceIdOf(number));
    }
    // Writing a block again that is in a pack by now changes nothing.
    await store.write(blocks.slice(0, 5));
    expect(await store.get(EAST, traceIdOf(149))).toHaveLength(1);
    expect(countOf('packs')).toBeLessThan(10);
  });

  test('pages and readings by id while small blocks are written and packed together without pause', async () => {
    const store = await openStore({ cacheBytesMax: 0 });
    const old = Array.from({ length: 200 }, (_, i) => one(i, i * 10));
    await store.write(await Promise.all(old.map((segment, i) => blockOfModel(i, [segment]))));
    let writing = true;
    const writer = (async () => {
      for (let i = 1000; writing; i += 8) {
        const more = Array.from({ length: 8 }, (_, j) => one(i + j, 100_000 + i + j));
        await store.write(await Promise.all(more.map((segment, j) => blockOfModel(i + j, [segment]))));
      }
    })();
    const conditions = { startUnixNanoMax: BASE + 50_000n };
    for (let round = 0; round < 4; round++) {
      const seen: TraceId[] = [];
      for (let after: SearchPosition | null = null, first = true; first || after; first = false) {
        const { matches, next }: SearchPage = await page(store, conditions, after, 9);
        seen.push(...matches.map(({ position }) => position.traceId));
        after = next;
        expect(await store.get(EAST, traceIdOf(seen.length % 200))).toHaveLength(1);
      }
      expect(seen).toEqual(expectedPage(old, query(), null, 1000).map(({ traceId }) => traceId));
    }
    writing = false;
    await writer;
  });

  test('packs of any extent are found beyond a position', async () => {
    const store = await openStore({ cacheBytesMax: 0 });
    const spread = [1, 10, 1000, 100_000, 3_600_000_000_000];
    const segments: ModelSegment[] = [];
    for (let i = 0; i < 60; i++) {
      const made = Array.from({ length: 4 }, (_, j) => one(4 * i + j, i * 5 + j * spread[i % spread.length]!));
      segments.push(...made);
      await store.write([await blockOfModel(i, made)]);
    }
    for (let after: SearchPosition | null = null, first = true; first || after; first = false) {
      const { matches, next }: SearchPage = await page(store, {}, after, 11);
      expect(matches.map(({ position }) => position)).toEqual(expectedPage(segments, query(), after, 11));
      after = next;
    }
    const wanted = query({ startUnixNanoMin: BASE + 20n, startUnixNanoMax: BASE + 900n });
    const { matches } = await page(store, wanted, null, 1000);
    expect(matches.map(({ position }) => position)).toEqual(expectedPage(segments, wanted, null, 1000));
  });

  test('a full disk: `unavailable`, nothing half written; there is room again after expiring', async () => {
    const store = await openStore({ bytesMax: 512 * 1024 });
    const large = async (number: number) => {
      const noise = randomBytes(40_000).toString('latin1');
      return blockOf(EAST, number, [
        segmentOf(EAST, traceIdOf(number), [{ span: 1, start: BASE, attributes: { noise } }]),
      ]);
    };
    let written = 0;
    await expect(
      (async () => {
        for (; written < 100; written++) await store.write([await large(written)]);
      })(),
    ).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
    expect(written).toBeGreaterThan(2);
    for (let i = 0; i < written; i++) expect(await store.get(EAST, traceIdOf(i))).toHaveLength(1);
    expect(await store.get(EAST, traceIdOf(written))).toEqual([]);
    expect(await store.expire(BASE + 3_600_000_000_000n)).toBe(written);
    await store.write([await large(500)]);
    expect(await store.get(EAST, traceIdOf(500))).toHaveLength(1);
  });

  test('expiring sweeps what pointed at the blocks', async () => {
    const store = await openStore();
    await store.write(await Promise.all(Array.from({ length: 20 }, (_, i) => blockOfModel(i, [one(i)]))));
    expect(await store.expire(BASE + 3_600_000_000_000n)).toBe(20);
    expect(['packs', 'blocks', 'traces'].map(countOf)).toEqual([0, 0, 0]);
  });

  test('a database of another format, or of somebody else, is not touched', async () => {
    await (await openStore()).close();
    const change = (sql: string) => {
      const db = new DatabaseSync(databasePath(folder));
      db.exec(sql);
      db.close();
    };
    change('PRAGMA user_version = 2');
    await expect(openStore()).rejects.toMatchObject({ code: 'unknown-version', retry: 'never' });
    change('PRAGMA user_version = 1; PRAGMA application_id = 7');
    await expect(openStore()).rejects.toMatchObject({ code: 'unknown-version', retry: 'never' });
    const afresh = async () => {
      await rm(folder, { recursive: true });
      await mkdir(folder);
    };
    await afresh();
    change('CREATE TABLE theirs (x)');
    await expect(openStore()).rejects.toMatchObject({ code: 'unknown-version', retry: 'never' });
    await afresh();
    await writeFile(databasePath(folder), 'this is no database, though it is as long as one'.repeat(100));
    await expect(openStore()).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('a folder that cannot be made is told; once it can, opening works', async () => {
    const taken = join(folder, 'taken');
    await writeFile(taken, '');
    await expect(openStore({ folder: taken })).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
    await rm(taken);
    await (await openStore({ folder: taken })).write([await blockOfModel(1, [one(1)])]);
  });

  test('more waiting bytes than the limit are refused; a call alone may exceed it', async () => {
    const blocks = await Promise.all([0, 1].map((i) => blockOfModel(i, [one(i)])));
    const store = await openStore({ pendingBytesMax: blocks[0]!.bytes.length + blocks[1]!.bytes.length - 1 });
    await store.write(blocks);
    const results = await Promise.allSettled(blocks.map((block) => store.write([block])));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(results[1]).toMatchObject({ reason: { code: 'overloaded', retry: 'later' } });
    await store.write([blocks[1]!]);
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
  });

  test('closing answers the writes that were on their way', async () => {
    const store = await openStore();
    const blocks = await Promise.all(Array.from({ length: 30 }, (_, i) => blockOfModel(i, [one(i)])));
    const writes = blocks.map((block) => store.write([block]));
    await store.close();
    await Promise.all(writes);
    expect(countOf('blocks')).toBe(30);
  });

  test('after closing every call says so', async () => {
    const store = await openStore();
    await store.close();
    const closed = { code: 'shutting-down', retry: 'never' };
    await expect(store.write([])).rejects.toMatchObject(closed);
    await expect(store.get(EAST, traceIdOf(1))).rejects.toMatchObject(closed);
    await expect(page(store, {}, null, 1)).rejects.toMatchObject(closed);
    await expect(store.expire(BASE)).rejects.toMatchObject(closed);
  });

  test('what the store did can be read off its metrics', async () => {
    const registry = new Registry();
    const store = await openStore({ registry });
    await store.write([await blockOfModel(1, [one(1), one(2)])]);
    await store.get(EAST, traceIdOf(1));
    await page(store, {}, null, 10);
    const text = await registry.metrics();
    expect(text).toContain('meridian_store_blocks_total 1');
    expect(text).toContain('meridian_store_spans_total 2');
    expect(text).toContain('meridian_store_read_segments_total{by="id"} 1');
    expect(text).toContain('meridian_store_read_segments_total{by="search"} 2');
  });

  function countOf(table: string): number {
    const db = new DatabaseSync(databasePath(folder));
    const { n } = db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number };
    db.close();
    return n;
  }
});
