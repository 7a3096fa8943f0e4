import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { Registry } from 'prom-client';
import { afterAll, describe, expect, test } from 'vitest';
import type { RegionId } from '../model/ids.js';
import type { BlockId } from '../model/metadata.js';
import { ManualClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/logger.js';
import { REGIONS_MAX } from './sqlite-connection.js';
import { SQLITE_FILTER_KEYS_MAX } from './sqlite-fold.js';
import { openSqliteTraceIndex, PENDING_APPLIES_MAX } from './sqlite-trace-index.js';
import { HOME, traceIndexContract } from './trace-index.contract.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const folder = mkdtempSync(join(tmpdir(), 'meridian-index-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newFile = () => join(folder, String(files++), 'index.db');

function open(file: string, readOnly = false) {
  const clock = new ManualClock();
  return openSqliteTraceIndex({
    folder: dirname(file),
    readOnly,
    home: HOME,
    clock,
    registry: new Registry(),
    logger: silentLogger,
  });
}

/** What the first layout's tables were, with a region, its watermark and two operations. */
const VERSION_1 = `
PRAGMA journal_mode = WAL;
CREATE TABLE trace (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE region (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE name (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE TABLE block (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE TABLE digest (region INTEGER, bucket INTEGER, count INTEGER NOT NULL, sum BLOB NOT NULL,
  PRIMARY KEY (region, bucket)) WITHOUT ROWID;
CREATE TABLE watermark (region INTEGER, part INTEGER, parts INTEGER NOT NULL, nano BLOB NOT NULL,
  PRIMARY KEY (region, part)) WITHOUT ROWID;
CREATE TABLE parts (region INTEGER, parts INTEGER, PRIMARY KEY (region, parts)) WITHOUT ROWID;
CREATE TABLE catalogue (region INTEGER, service TEXT, operation TEXT, kind INTEGER, seen INTEGER NOT NULL,
  PRIMARY KEY (region, service, operation, kind)) WITHOUT ROWID;
INSERT INTO region VALUES (1, '${WEST}');
INSERT INTO parts VALUES (1, 1);
INSERT INTO watermark VALUES (1, 0, 1, x'0000000000000005');
INSERT INTO catalogue VALUES (1, 'a', 'x', 1, 9), (1, 'a', 'y', 1, 9);
PRAGMA user_version = 1;
`;

traceIndexContract('sqlite', () => open(newFile()));

describe('sqlite index', () => {
  test('what was applied survives closing and opening, numbering goes on', async () => {
    const file = newFile();
    const first = await open(file);
    const mark = { region: WEST, partition: 1, partitionCount: 2, watermarkUnixNano: 77n, vouchedFromUnixNano: 7n };
    const position = { topic: 't', partition: 0, nextOffset: 9, vouchedFromUnixNano: 7n };
    await first.apply([contractRecord(WEST, [contractTrace(1, WEST)], { watermark: mark })], position);
    await first.close();
    const second = await open(file);
    await second.apply([contractRecord(EU, [contractTrace(1, EU)]), contractRecord(WEST, [contractTrace(1, WEST)])]);
    const [found] = await second.locate([contractTraceId(1)]);
    expect(found!.records).toEqual([contractTrace(1, EU), contractTrace(1, WEST)]);
    expect(await second.watermarks()).toEqual([mark]);
    expect(await second.feedPosition('t', 0)).toEqual(position);
    await second.close();
  });

  test('a reader of another connection sees what is applied, with new names, regions and watermarks', async () => {
    const file = newFile();
    const writer = await open(file);
    const reader = await open(file, true);
    expect((await reader.locate([contractTraceId(1)]))[0]!.records).toEqual([]);
    for (const [n, region] of [
      [1, WEST],
      [2, EU],
    ] as const) {
      const mark = { region, partition: 0, partitionCount: 1, watermarkUnixNano: BigInt(n) };
      const trace = contractTrace(n, region, {
        root: { startUnixNano: 5n, service: `s${n}`, operation: `o${n}` },
      });
      await writer.apply([contractRecord(region, [trace], { watermark: mark })]);
      const [found] = await reader.locate([contractTraceId(n)]);
      expect(found!.records).toEqual([trace]);
      expect(found!.watermarks).toContainEqual(mark);
    }
    await writer.close();
    expect((await reader.locate([contractTraceId(2)]))[0]!.records).toHaveLength(1);
    await reader.close();
  });

  test('a reader says unavailable until there is a file, and recovers when it is replaced', async () => {
    const file = newFile();
    const reader = await open(file, true);
    await expect(reader.locate([contractTraceId(1)])).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
    const first = await open(file);
    await first.apply([contractRecord(WEST, [contractTrace(1, WEST)])]);
    expect((await reader.locate([contractTraceId(1)]))[0]!.records).toHaveLength(1);
    await first.close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
    await expect(reader.watermarks()).rejects.toMatchObject({ code: 'unavailable' });
    const other = newFile();
    const second = await open(other);
    await second.apply([contractRecord(WEST, [contractTrace(2, WEST)])]);
    await second.close();
    renameSync(other, file);
    expect((await reader.locate([contractTraceId(1), contractTraceId(2)])).map((l) => l.records.length)).toEqual([
      0, 1,
    ]);
    await reader.close();
    await expect(reader.locate([contractTraceId(1)])).rejects.toMatchObject({ code: 'shutting-down' });
  });

  test('a reader refuses to write', async () => {
    const reader = await open(newFile(), true);
    await expect(reader.apply([contractRecord(WEST, [])])).rejects.toMatchObject({ code: 'refused' });
    await expect(reader.expire(1n)).rejects.toMatchObject({ code: 'refused' });
    await expect(reader.clear()).rejects.toMatchObject({ code: 'refused' });
    await reader.close();
  });

  test('a layout of version 1 is made new: it vouches for nothing, until the next watermark does', async () => {
    const file = newFile();
    mkdirSync(dirname(file), { recursive: true });
    const old = new DatabaseSync(file);
    old.exec(VERSION_1);
    old.close();
    const reader = await open(file, true);
    await expect(reader.watermarks()).rejects.toMatchObject({ code: 'unavailable' });
    const writer = await open(file);
    const mark = { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: 5n };
    expect(await reader.watermarks()).toEqual([mark]);
    expect((await reader.watermarks())[0]).not.toHaveProperty('vouchedFromUnixNano');
    expect(await writer.feedPosition('t', 0)).toBeNull();
    expect((await writer.catalogueTotals()).get(WEST)).toBe(2);
    const next = { ...mark, watermarkUnixNano: 6n, vouchedFromUnixNano: 3n };
    await writer.apply([contractRecord(WEST, [], { watermark: next })]);
    expect(await reader.watermarks()).toEqual([next]);
    await Promise.all([reader.close(), writer.close()]);
  });

  test('a fold that is cut off loses nothing, and goes on when the file is open again; a reader sees it too', async () => {
    const file = newFile();
    const count = SQLITE_FILTER_KEYS_MAX + 2_000;
    const first = await open(file);
    for (let n = 0; n < count; n += 1000) {
      const size = Math.min(1000, count - n);
      const traces = Array.from({ length: size }, (_, i) => contractTrace(n + i, WEST, { root: null, coverage: [] }));
      await first.apply([contractRecord(WEST, traces)]);
    }
    await first.close();
    const before = T0 + 48n * HOUR;
    const reader = await open(file, true);
    const ids = Array.from({ length: 300 }, (_, i) => contractTraceId(i * 61));
    for (const turns of [2, 21, 25]) {
      const index = await open(file);
      const folding = index.fold(before, 1).catch((error: { code: string }) => error.code);
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      await index.close();
      expect(['shutting-down', 'number']).toContain(typeof (await folding) === 'number' ? 'number' : await folding);
      for (const { records, folded = [] } of await reader.locate(ids)) {
        expect(records.length + folded.length).toBeGreaterThan(0);
      }
    }
    const last = await open(file);
    await expect(Promise.all([last.fold(before, 1), last.fold(before, 1)])).rejects.toMatchObject({
      code: 'overloaded',
    });
    while ((await last.fold(before, 1).catch(() => 1)) > 0);
    for (const { records, folded } of await reader.locate(ids)) {
      expect([records, folded!.map(({ region }) => region)]).toEqual([[], [WEST]]);
    }
    expect(await reader.foldedBeforeMs()).toBeGreaterThan(0);
    await Promise.all([last.close(), reader.close()]);
  });

  test('a layout of another version is not touched', async () => {
    const file = newFile();
    await (await open(file)).close();
    const database = new DatabaseSync(file);
    database.exec('PRAGMA user_version = 4');
    database.close();
    await expect(open(file)).rejects.toMatchObject({ code: 'unknown-version' });
    const reader = await open(file, true);
    await expect(reader.watermarks()).rejects.toMatchObject({ code: 'unknown-version' });
    await reader.close();
  });

  test('a transaction that fails leaves nothing behind, in the file or in memory', async () => {
    const index = await open(newFile());
    await index.apply([contractRecord(WEST, [contractTrace(1, WEST)])]);
    const before = await index.digests(WEST);
    const mark = { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: 5n };
    const bad = contractTrace(3, WEST, { startUnixNano: -1n });
    await expect(
      index.apply([contractRecord(WEST, [contractTrace(2, WEST), bad], { watermark: mark })]),
    ).rejects.toThrow();
    expect(await index.watermarks()).toEqual([]);
    expect(await index.digests(WEST)).toEqual(before);
    await index.apply([contractRecord(WEST, [contractTrace(2, WEST)])]);
    expect((await index.locate([contractTraceId(2)]))[0]!.records).toEqual([contractTrace(2, WEST)]);
    await index.close();
  });

  test('255 regions fit, one more does not', async () => {
    const index = await open(newFile());
    const region = (n: number) => `r${n}` as RegionId;
    await index.apply(
      Array.from({ length: REGIONS_MAX }, (_, n) => contractRecord(region(n), [contractTrace(1, region(n))])),
    );
    await expect(
      index.apply([contractRecord(region(REGIONS_MAX), [contractTrace(1, region(REGIONS_MAX))])]),
    ).rejects.toMatchObject({ code: 'too-large' });
    expect((await index.locate([contractTraceId(1)]))[0]!.records).toHaveLength(REGIONS_MAX);
    await index.close();
  });

  test('calls of apply wait up to a limit', async () => {
    const index = await open(newFile());
    const record = contractRecord(WEST, []);
    const waiting = Array.from({ length: PENDING_APPLIES_MAX }, () => index.apply([record]));
    await expect(index.apply([record])).rejects.toMatchObject({ code: 'overloaded' });
    await Promise.all(waiting);
    await index.close();
    await expect(index.apply([record])).rejects.toMatchObject({ code: 'shutting-down' });
  });

  test('names and blocks that nothing uses any more are swept; those in use stay readable', async () => {
    const index = await open(newFile());
    const trace = (n: number, endUnixNano: bigint) =>
      contractTrace(n, HOME, {
        startUnixNano: 1n,
        endUnixNano,
        root: { startUnixNano: 1n, service: 'a', operation: `op ${n}` },
        blocks: [`us-east-1/0/${n}/1` as BlockId],
      });
    const count = 6000;
    for (let n = 0; n < count; n += 500) {
      const traces = Array.from({ length: 500 }, (_, i) => trace(n + i, n + i < 100 ? 500n : 100n));
      await index.apply([contractRecord(HOME, traces)]);
    }
    const expiring = index.expire(200n);
    // Names that come back while the sweep walks are in use again.
    await index.apply([contractRecord(HOME, [{ ...trace(count - 1, 900n), traceId: contractTraceId(0) }])]);
    expect(await expiring).toBe(count - 100);
    const left = await index.locate([contractTraceId(0), contractTraceId(50)]);
    expect(left[0]!.records[0]!.blocks).toEqual([`us-east-1/0/0/1`, `us-east-1/0/${count - 1}/1`]);
    expect(left[1]!.records).toEqual([trace(50, 500n)]);
    await index.close();
  });

  test('at most 100 bytes on disk for a trace and region, indexes included', async () => {
    const file = newFile();
    const index = await open(file);
    const count = 10_000;
    const regions = [HOME, WEST, EU];
    for (let n = 0; n < count; n += 250) {
      for (const region of regions) {
        const traces = Array.from({ length: 250 }, (_, i) =>
          contractTrace(n + i, region, {
            endUnixNano: contractTrace(n + i, region).startUnixNano + 48_211_907n,
            coverage: [
              { key: 0x11aa22, service: 'gateway', spanCount: 4, errorCount: 0 },
              { key: 0x11aa22, service: 'orders', spanCount: 5, errorCount: 1 },
              { key: 0x77bb88, service: 'orders', spanCount: 1, errorCount: 0 },
            ],
            blocks: region === HOME ? [`us-east-1/3/${n + (i >> 6)}/1763699735123007` as BlockId] : [],
          }),
        );
        const announced = traces.map((t) => ({ ...t, flags: 0, blocks: [], coverage: t.coverage.slice(0, 1) }));
        await index.apply([contractRecord(region, announced)]);
        await index.apply([contractRecord(region, traces)]);
      }
    }
    await index.close();
    expect(statSync(file).size / (count * regions.length)).toBeLessThanOrEqual(100);
    expect(statSync(file).size / (count * regions.length)).toBeGreaterThan(40);
  });
});
