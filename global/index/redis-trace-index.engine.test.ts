import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SAMPLE_HOME, SAMPLE_REGIONS, sampleFeed, sampleTraceId } from '../../scripts/bench/sample-metadata.js';
import { REDIS_LISTPACK_ENTRIES_MAX, type RedisEngine, startRedis } from '../../scripts/engines/redis.js';
import type { RegionId } from '../model/ids.js';
import type { BlockId } from '../model/metadata.js';
import { msToUnixNano } from '../model/time.js';
import { realClock } from '../runtime/clock.js';
import { joinMetadata } from './join.js';
import { REGIONS_MAX } from './redis-apply.js';
import {
  countingProxy,
  keysIn,
  openIn,
  temporaryFolder,
  WEEK_MS,
  withClient,
  YEARS_MS,
} from './redis-harness.testing.js';
import { bucketBitsFor, DAY_MS } from './redis-layout.js';
import { PENDING_APPLIES_MAX } from './redis-trace-index.js';
import { HOME, traceIndexContract } from './trace-index.contract.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const DAY = 24n * HOUR;
/** 2025-11-21, the day of T0. */
const T0_DAY = 20413;
const folder = temporaryFolder();
let redis: RedisEngine;

beforeAll(async () => {
  redis = await startRedis({ folder: join(folder.path, 'one'), appendOnly: true });
});
afterAll(async () => {
  await redis.stop();
  folder.remove();
});

traceIndexContract('redis, buckets by day', () => openIn(redis.url));
traceIndexContract('redis, times outside the retention', () => openIn(redis.url, { retentionMs: WEEK_MS }), {
  folds: false,
});
traceIndexContract('redis, eight shards', () => openIn(redis.url, { shards: 8 }));

describe('redis index: memory', () => {
  test('at most 55 bytes a record of an ordinary trace, all of them in listpacks', async () => {
    const traces = 70_000;
    const records = traces * SAMPLE_REGIONS.length;
    const own = await startRedis({ folder: join(folder.path, 'memory'), appendOnly: false });
    try {
      const used = () =>
        withClient(own.url, async (client) => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]));
      const before = await used();
      const over = {
        retentionMs: WEEK_MS,
        bucketBits: bucketBitsFor(records, 1),
        prefix: 'meridian:',
        home: SAMPLE_HOME,
      };
      const index = await openIn(own.url, over);
      const startMs = Math.floor(realClock.nowMs() / DAY_MS) * DAY_MS;
      for (const batch of sampleFeed(0, traces, msToUnixNano(startMs))) await index.apply(batch);
      const located = await index.locate([sampleTraceId(0), sampleTraceId(traces - 1)]);
      expect(located.map((l) => l.records.length)).toEqual([3, 3]);
      expect(located[0]!.records.map((r) => r.blocks.length)).toEqual([0, 1, 0]);
      expect((await index.digests(WEST)).reduce((sum, d) => sum + d.recordCount, 0)).toBe(traces);
      await index.close();
      const bytes = ((await used()) - before) / records;
      console.log(`redis: ${bytes.toFixed(1)} bytes a record (${records} records)`);
      expect(bytes).toBeLessThanOrEqual(55);
      expect(bytes).toBeGreaterThan(30);
      const buckets = await keysIn(own.url, 'meridian:m:*');
      expect(buckets).toHaveLength(2 ** over.bucketBits);
      await withClient(own.url, async (client) => {
        let fields = 0;
        for (const key of buckets) {
          expect(await client.object('ENCODING', key)).toBe('listpack');
          fields += await client.hlen(key);
        }
        expect(fields).toBe(records);
        expect(fields / buckets.length).toBeLessThan(0.6 * REDIS_LISTPACK_ENTRIES_MAX);
      });
    } finally {
      await own.stop();
    }
  });

  test('a record beyond the length of a listpack value is kept all the same', async () => {
    const index = await openIn(redis.url);
    const coverage = Array.from({ length: 2000 }, (_, key) => ({ key, service: 'a', spanCount: 1, errorCount: 0 }));
    const large = contractTrace(1, WEST, { coverage });
    await index.apply([contractRecord(WEST, [large, contractTrace(2, WEST)])]);
    expect((await index.locate([1, 2].map(contractTraceId))).map((l) => l.records)).toEqual([
      [large],
      [contractTrace(2, WEST)],
    ]);
    await index.close();
  });
});

describe('redis index: round trips', () => {
  test('a lookup is one, of one id or of 1,000, over all retained days', async () => {
    const index = await openIn(redis.url, { prefix: 'trips:' });
    const traces = Array.from({ length: 1000 }, (_, n) =>
      contractTrace(n, WEST, { startUnixNano: T0 + BigInt(n % 9) * DAY }),
    );
    await index.apply([contractRecord(WEST, traces)]);
    const proxy = await countingProxy(redis.port);
    const reader = await openIn(proxy.url, { prefix: 'trips:', readOnly: true });
    const ids = traces.map(({ traceId }) => traceId);
    await reader.locate(ids);
    for (const asked of [[ids[3]!], ids, [contractTraceId(5000)]]) {
      const before = proxy.turns();
      const found = await reader.locate(asked);
      expect(found.filter((l) => l.records.length > 0)).toHaveLength(
        asked.length === 1 && asked[0] !== ids[3] ? 0 : asked.length,
      );
      // The kernel may hand over what was sent at once in pieces, between which an answer falls: never for one id.
      if (asked.length === 1) expect(proxy.turns() - before).toBe(1);
    }
    // A new day, region and name come up: one round trip more each, once.
    await index.apply([contractRecord(EU, [contractTrace(9999, EU, { startUnixNano: T0 - 5n * DAY })])]);
    expect((await reader.locate([contractTraceId(9999)]))[0]!.records).toHaveLength(1);
    const before = proxy.turns();
    expect((await reader.locate([contractTraceId(9999)]))[0]!.records).toHaveLength(1);
    expect(proxy.turns() - before).toBe(1);
    await reader.close();
    proxy.close();
    await index.close();
  });
});

describe('redis index: days', () => {
  test('a late earlier span moves the record to its day, and no reader ever misses it', async () => {
    const index = await openIn(redis.url, { prefix: 'move:' });
    const reader = await openIn(redis.url, { prefix: 'move:', readOnly: true });
    const ids = Array.from({ length: 40 }, (_, n) => contractTraceId(n));
    const parts = (day: bigint) => ids.map((_, n) => contractTrace(n, WEST, { startUnixNano: T0 - day * DAY }));
    await index.apply([contractRecord(WEST, parts(0n))]);
    let moving = true;
    const reading = (async () => {
      let reads = 0;
      for (; moving || reads < 5; reads++) {
        const found = await reader.locate(ids);
        expect(found.map((l) => l.records.length)).toEqual(ids.map(() => 1));
      }
    })();
    for (let day = 1n; day <= 6n; day++) {
      for (const part of parts(day)) await index.apply([contractRecord(WEST, [part])]);
    }
    moving = false;
    await reading;
    const start = T0 - 6n * DAY;
    expect((await index.locate([ids[0]!]))[0]!.records[0]!.startUnixNano).toBe(start);
    expect((await index.digests(WEST)).map((d) => [d.bucketStartMs, d.recordCount])).toEqual([
      [Number(start / HOUR) * 3_600_000, 40],
    ]);
    const days = (await keysIn(redis.url, 'move:m:*')).map((key) => key.split(':')[2]);
    expect([...new Set(days)]).toEqual([String(T0_DAY - 6)]);
    await index.close();
    await reader.close();
  });

  test('buckets, names and digests of a day expire together, after the retention', async () => {
    const index = await openIn(redis.url, { prefix: 'ex:' });
    await index.apply([contractRecord(WEST, [contractTrace(1, WEST), contractTrace(2, WEST)])]);
    const keys = (await keysIn(redis.url, 'ex:*')).filter((key) => key.includes(`:${T0_DAY}:`));
    expect(keys).toHaveLength(4);
    const dayEndMs = (T0_DAY + 1) * DAY_MS;
    await withClient(redis.url, async (client) => {
      for (const key of keys) expect(await client.expiretime(key)).toBe((dayEndMs + YEARS_MS + 2 * DAY_MS) / 1000);
      expect(await client.expiretime('ex:meta:{0}')).toBe(-1);
    });
    await index.close();
  });

  test('expiry takes whole traces over days, and drops days that are left empty', async () => {
    const index = await openIn(redis.url, { prefix: 'drop:' });
    const at = (n: number, region: RegionId, day: bigint) =>
      contractTrace(n, region, { startUnixNano: T0 + day * DAY, endUnixNano: T0 + day * DAY + 5n });
    await index.apply([
      contractRecord(WEST, [at(1, WEST, 0n), at(2, WEST, 0n), at(3, WEST, 0n)]),
      contractRecord(EU, [at(1, EU, 0n), at(2, EU, 3n), at(3, EU, 1n)]),
    ]);
    // Trace 2 has a record on a day that is not over: its old one stays.
    expect(await index.expire(T0 + 2n * DAY)).toBe(4);
    expect((await index.locate([1, 2, 3].map(contractTraceId))).map((l) => l.records.length)).toEqual([0, 2, 0]);
    expect(await keysIn(redis.url, `drop:*:${T0_DAY + 1}:*`)).toEqual([]);
    expect(await index.expire(T0 + 9n * DAY)).toBe(2);
    expect(await keysIn(redis.url, 'drop:[mnd]:*')).toEqual([]);
    // A day that comes back has a dictionary of its own.
    const back = contractTrace(2, WEST, { root: { startUnixNano: T0, service: 'other', operation: 'names' } });
    await index.apply([contractRecord(WEST, [back])]);
    expect((await index.locate([contractTraceId(2)]))[0]!.records).toEqual([back]);
    await index.close();
  });
});

describe('redis index: writers', () => {
  test('two at once lose nothing of each other', async () => {
    const writers = [await openIn(redis.url, { prefix: 'two:' }), await openIn(redis.url, { prefix: 'two:' })];
    const part = (n: number, w: number) =>
      contractTrace(n, HOME, {
        coverage: [{ key: w, service: `s${w}-${n}`, spanCount: 1, errorCount: 0 }],
        blocks: [`a/0/${w}/${n}` as BlockId],
      });
    await Promise.all(
      writers.map(async (writer, w) => {
        for (let n = 0; n < 60; n++)
          await writer.apply([contractRecord(HOME, [part(n % 20, w), part((n + 1) % 20, w)])]);
      }),
    );
    const located = await writers[0]!.locate(Array.from({ length: 20 }, (_, n) => contractTraceId(n)));
    expect(located.map((l) => l.records)).toEqual(located.map((_, n) => [joinMetadata(part(n, 0), part(n, 1))]));
    const fresh = await openIn(redis.url);
    for (const { records } of located) await fresh.apply([contractRecord(HOME, [...records])]);
    expect(await writers[1]!.digests(HOME)).toEqual(await fresh.digests(HOME));
    for (const index of [...writers, fresh]) await index.close();
  });

  test('255 regions fit, one more does not', async () => {
    const index = await openIn(redis.url);
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
    const index = await openIn(redis.url);
    const record = contractRecord(WEST, []);
    const waiting = Array.from({ length: PENDING_APPLIES_MAX }, () => index.apply([record]));
    await expect(index.apply([record])).rejects.toMatchObject({ code: 'overloaded' });
    await Promise.all(waiting);
    await index.close();
    await expect(index.apply([record])).rejects.toMatchObject({ code: 'shutting-down' });
    await expect(index.locate([contractTraceId(1)])).rejects.toMatchObject({ code: 'shutting-down' });
  });
});
