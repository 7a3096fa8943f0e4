import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisEngine, startRedis } from '../../scripts/engines/redis.js';
import { FOLD_RECORDS_MIN } from './index-limits.js';
import { countingProxy, keysIn, openIn, temporaryFolder, withClient, YEARS_MS } from './redis-harness.testing.js';
import { DAY_MS } from './redis-layout.js';
import type { TraceIndex } from './trace-index.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const folder = temporaryFolder();
let redis: RedisEngine;

beforeAll(async () => {
  redis = await startRedis({ folder: join(folder.path, 'folding'), appendOnly: false });
});
afterAll(async () => {
  await redis.stop();
  folder.remove();
});

const DAY = 24n * HOUR;
const DAY_1 = (T0 / DAY) * DAY + DAY;

async function fill(index: TraceIndex, count: number, first = 0): Promise<void> {
  for (let n = first; n < first + count; n += 1000) {
    const size = Math.min(1000, first + count - n);
    await index.apply([
      contractRecord(
        WEST,
        Array.from({ length: size }, (_, i) => contractTrace(n + i, WEST)),
      ),
    ]);
  }
}

/** How many of the traces the index has neither exactly nor folded. */
async function missing(index: TraceIndex, count: number): Promise<number> {
  let lost = 0;
  for (let n = 0; n < count; n += 500) {
    const ids = Array.from({ length: Math.min(500, count - n) }, (_, i) => contractTraceId(n + i));
    for (const { records, folded = [] } of await index.locate(ids)) {
      if (records.length === 0 && !folded.some(({ region }) => region === WEST)) lost++;
    }
  }
  return lost;
}

describe('redis index: folding', () => {
  test('a folded day is found with one round trip, in few keys that expire; its buckets, names and digests are gone', async () => {
    const index = await openIn(redis.url, { prefix: 'one:' });
    await fill(index, FOLD_RECORDS_MIN + 500);
    expect(await index.fold(DAY_1)).toBe(FOLD_RECORDS_MIN + 500);
    const filters = await keysIn(redis.url, 'one:f:*');
    expect(filters.length).toBeGreaterThan(0);
    expect(filters.length).toBeLessThan(8);
    expect(await keysIn(redis.url, 'one:[mnd]:*')).toEqual([]);
    await withClient(redis.url, async (client) => {
      for (const key of filters) {
        expect(await client.expiretime(key)).toBe((Number(DAY_1 / 1_000_000n) + YEARS_MS + 3 * DAY_MS) / 1000);
      }
    });
    const proxy = await countingProxy(redis.port);
    const reader = await openIn(proxy.url, { prefix: 'one:', readOnly: true });
    await reader.locate([contractTraceId(1)]);
    for (const n of [7, 10_000]) {
      const before = proxy.turns();
      expect((await reader.locate([contractTraceId(n)]))[0]!.folded?.map(({ region }) => region)).toContain(WEST);
      expect(proxy.turns() - before).toBe(1);
    }
    await reader.close();
    proxy.close();
    await index.close();
  });

  test('a fold that is cut off anywhere loses nothing, and another process goes on with it', async () => {
    const count = 3000;
    const first = await openIn(redis.url, { prefix: 'cut:' });
    await fill(first, count);
    await first.close();
    for (const roundTrips of [1, 2, 4, 7, 11, 16]) {
      const index = await openIn(redis.url, { prefix: 'cut:' });
      const folding = index.fold(DAY_1, 1).then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
      // Answers come in order: so many of the fold's questions have been answered, or more.
      for (let n = 0; n < roundTrips; n++) await index.watermarks();
      await index.close();
      expect(['done', 'shutting-down', 'unavailable']).toContain(await folding);
      const reader = await openIn(redis.url, { prefix: 'cut:', readOnly: true });
      expect(await missing(reader, count)).toBe(0);
      await reader.close();
    }
    const last = await openIn(redis.url, { prefix: 'cut:' });
    await last.fold(DAY_1, 1);
    expect(await missing(last, count)).toBe(0);
    expect(await keysIn(redis.url, 'cut:m:*')).toEqual([]);
    await last.close();
  });

  test('two processes that fold at once lose nothing; in one process the second is refused', async () => {
    const count = 3000;
    const writers = [await openIn(redis.url, { prefix: 'two:' }), await openIn(redis.url, { prefix: 'two:' })];
    await fill(writers[0]!, count);
    const folding = writers.map((writer) => writer.fold(DAY_1, 1));
    await expect(writers[0]!.fold(DAY_1, 1)).rejects.toMatchObject({ code: 'overloaded' });
    await Promise.allSettled(folding);
    expect(await missing(writers[1]!, count)).toBe(0);
    await writers[0]!.fold(DAY_1, 1);
    expect(await missing(writers[1]!, count)).toBe(0);
    for (const writer of writers) await writer.close();
  });

  test('an index of the layout before is taken over, and its days fold', async () => {
    const first = await openIn(redis.url, { prefix: 'old:' });
    await fill(first, 50);
    await first.close();
    await withClient(redis.url, (client) => client.hset('old:meta:{0}', 'version', 1));
    const second = await openIn(redis.url, { prefix: 'old:' });
    expect(await withClient(redis.url, (client) => client.hget('old:meta:{0}', 'version'))).toBe('2');
    expect(await second.fold(DAY_1, 1)).toBe(50);
    expect(await missing(second, 50)).toBe(0);
    await second.close();
  });

  test('a filter of another version, or of other sizes than its fold says, is not read over', async () => {
    const index = await openIn(redis.url, { prefix: 'bad:' });
    await fill(index, 50);
    await index.fold(DAY_1, 1);
    const [key] = await keysIn(redis.url, 'bad:f:*');
    const set = (at: number, byte: number) =>
      withClient(redis.url, (client) => client.setrange(key!, at, Buffer.of(byte)));
    const ids = Array.from({ length: 50 }, (_, n) => contractTraceId(n));
    await set(0, 9);
    await expect(index.locate(ids)).rejects.toMatchObject({ code: 'unknown-version' });
    await set(0, 1);
    await set(7, 99);
    await expect(index.locate(ids)).rejects.toMatchObject({ code: 'malformed' });
    await index.close();
  });

  test('a small filter whose seed is not the first is asked again, once', async () => {
    const index = await openIn(redis.url, { prefix: 'seed:' });
    for (let n = 0; n < 40; n++) {
      const at = T0 - BigInt(n + 1) * DAY;
      const traces = Array.from({ length: 20 }, (_, i) =>
        contractTrace(n * 20 + i, EU, { startUnixNano: at, endUnixNano: at }),
      );
      await index.apply([contractRecord(EU, traces)]);
    }
    await index.fold(DAY_1, 20);
    const seeds = await withClient(redis.url, async (client) => {
      const keys = await keysIn(redis.url, 'seed:f:*');
      return Promise.all(keys.map(async (key) => (await client.getBuffer(key))![1]));
    });
    expect(seeds.some((seed) => seed! > 0)).toBe(true);
    for (const _ of [1, 2]) {
      const found = await index.locate(Array.from({ length: 800 }, (_unused, n) => contractTraceId(n)));
      expect(found.every(({ folded = [] }) => folded.some(({ region }) => region === EU))).toBe(true);
    }
    await index.close();
  });
});
