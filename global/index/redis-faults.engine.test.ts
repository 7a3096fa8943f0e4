import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisEngine, startRedis } from '../../scripts/engines/redis.js';
import { realClock } from '../runtime/clock.js';
import { openIn, temporaryFolder, withClient } from './redis-harness.testing.js';
import { ROUND_TRIPS_MAX } from './redis-link.js';
import type { FeedPosition, ReceivedRecord, TraceIndex } from './trace-index.js';
import { contractRecord, contractTrace, contractTraceId, T0, WEST } from './trace-index-records.testing.js';

const folder = temporaryFolder();
let redis: RedisEngine;
const unavailable = { code: 'unavailable', retry: 'later' };

beforeAll(async () => {
  redis = await startRedis({ folder: join(folder.path, 'faults'), appendOnly: true });
});
afterAll(async () => {
  await redis.stop();
  folder.remove();
});

/** Record number `n` of a feed with one partition, the watermark behind it and the position after it. */
function fed(n: number): { records: ReceivedRecord[]; position: FeedPosition } {
  const watermark = {
    region: WEST,
    partition: 0,
    partitionCount: 1,
    watermarkUnixNano: T0 + BigInt(n),
    vouchedFromUnixNano: 0n,
  };
  return {
    records: [contractRecord(WEST, [contractTrace(n, WEST)], { watermark })],
    position: { topic: 'west.trace-metadata', partition: 0, nextOffset: n + 1, vouchedFromUnixNano: 0n },
  };
}

async function feed(index: TraceIndex, n: number): Promise<void> {
  const { records, position } = fed(n);
  await index.apply(records, position);
}

/** Until it no longer rejects: Redis is there again and so is the connection. */
async function again<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      expect(error).toMatchObject(unavailable);
      await realClock.sleep(20);
    }
  }
}

describe('redis index: restarts', () => {
  test.each([
    ['stopped', 'everysec', () => redis.stop()],
    ['killed, with appendfsync always,', 'always', () => redis.kill()],
  ])(
    'a Redis that is %s has everything that was resolved when it is back; meanwhile calls are unavailable',
    async (_, appendfsync, end) => {
      await withClient(redis.url, (client) => client.config('SET', 'appendfsync', appendfsync));
      const index = await openIn(redis.url);
      const ids = Array.from({ length: 300 }, (_unused, n) => contractTraceId(n));
      for (let n = 0; n < 300; n++) await feed(index, n);
      const before = [await index.locate(ids), await index.digests(WEST), await index.watermarks()];
      await end();
      await expect(index.locate(ids)).rejects.toMatchObject(unavailable);
      await expect(feed(index, 300)).rejects.toMatchObject(unavailable);
      await expect(index.feedPosition('west.trace-metadata', 0)).rejects.toMatchObject(unavailable);
      await expect(openIn(redis.url)).rejects.toMatchObject(unavailable);
      const reader = await openIn(redis.url, { readOnly: true });
      await expect(reader.locate(ids)).rejects.toMatchObject(unavailable);
      await redis.restart();
      expect(await again(() => index.locate(ids))).toEqual(before[0]);
      expect([await index.digests(WEST), await index.watermarks()]).toEqual(before.slice(1));
      expect((await again(() => reader.locate([ids[0]!])))[0]!.records).toEqual([]);
      await feed(index, 300);
      expect((await index.watermarks())[0]).toMatchObject({ watermarkUnixNano: T0 + 300n, vouchedFromUnixNano: 0n });
      expect(await index.feedPosition('west.trace-metadata', 0)).toEqual(fed(300).position);
      await index.close();
      await reader.close();
    },
  );

  test('killed in the middle of writes, it comes back as it was at one moment, and claims nothing beyond it', async () => {
    const index = await openIn(redis.url);
    let resolved = -1;
    const writing = (async () => {
      for (let n = 0; ; n++) {
        await feed(index, n);
        resolved = n;
      }
    })();
    writing.catch(() => {});
    while (resolved < 50) await realClock.sleep(1);
    await redis.kill();
    await expect(writing).rejects.toMatchObject(unavailable);
    await redis.restart();
    const position = await again(() => index.feedPosition('west.trace-metadata', 0));
    // With appendfsync everysec the last writes may be gone, resolved or not, but only as a whole.
    const count = position?.nextOffset ?? 0;
    const fedAtMost = resolved + 2;
    expect(count).toBeLessThanOrEqual(fedAtMost);
    const found = await index.locate(Array.from({ length: fedAtMost }, (_, n) => contractTraceId(n)));
    expect(found.map((l) => l.records.length)).toEqual(found.map((_, n) => (n < count ? 1 : 0)));
    expect((await index.digests(WEST)).reduce((sum, d) => sum + d.recordCount, 0)).toBe(count);
    const marks = (await index.watermarks()).map((w) => w.watermarkUnixNano);
    expect(marks).toEqual(count > 0 ? [T0 + BigInt(count - 1)] : []);
    await index.close();
  });

  test('a Redis that hangs makes calls unavailable within their budget, and is used again afterwards', async () => {
    const index = await openIn(redis.url, { commandBudgetMs: 200 });
    await feed(index, 1);
    process.kill(redis.pid, 'SIGSTOP');
    try {
      const calls = [index.locate([contractTraceId(1)]), feed(index, 2), index.digests(WEST)];
      await Promise.all(calls.map((call) => expect(call).rejects.toMatchObject(unavailable)));
      await expect(openIn(redis.url, { connectBudgetMs: 200 })).rejects.toMatchObject(unavailable);
    } finally {
      process.kill(redis.pid, 'SIGCONT');
    }
    await again(() => feed(index, 2));
    expect((await index.locate([1, 2].map(contractTraceId))).map((l) => l.records.length)).toEqual([1, 1]);
    await index.close();
  });
});

describe('redis index: limits', () => {
  test('round trips wait up to a limit', async () => {
    const index = await openIn(redis.url, { commandBudgetMs: 500 });
    await feed(index, 1);
    process.kill(redis.pid, 'SIGSTOP');
    const asked = [contractTraceId(1)];
    const waiting = Array.from({ length: ROUND_TRIPS_MAX }, () => index.locate(asked).catch((error: unknown) => error));
    const beyond = index.locate(asked).catch((error: unknown) => error);
    process.kill(redis.pid, 'SIGCONT');
    expect(await beyond).toMatchObject({ code: 'overloaded', retry: 'later' });
    for (const found of await Promise.all(waiting)) expect(found).not.toMatchObject({ code: 'overloaded' });
    expect((await again(() => index.locate(asked)))[0]!.records).toHaveLength(1);
    await index.close();
  });
});

describe('redis index: flushed', () => {
  const flush = () => withClient(redis.url, (client) => client.flushall());

  test('nothing is claimed of what was lost until the feed begins anew', async () => {
    const index = await openIn(redis.url);
    const reader = await openIn(redis.url, { prefix: 'other:', readOnly: true });
    for (let n = 0; n < 5; n++) await feed(index, n);
    expect(await index.feedPosition('west.trace-metadata', 0)).toEqual(fed(4).position);
    await flush();
    const nothing = { traceId: contractTraceId(2), records: [], watermarks: [] };
    expect(await index.locate([contractTraceId(2)])).toEqual([nothing]);
    expect(await reader.locate([contractTraceId(2)])).toEqual([nothing]);
    // The feed's reader does not know yet: what it says of the time before is not believed, nor is its position kept.
    await feed(index, 5);
    const [located] = await index.locate([contractTraceId(5)]);
    expect(located!.records).toHaveLength(1);
    expect(located!.watermarks).toEqual([
      { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: T0 + 5n },
    ]);
    expect(await index.feedPosition('west.trace-metadata', 0)).toBeNull();
    // Now it does, and begins anew from what it received since.
    const { records, position } = fed(6);
    const anew = { ...position, vouchedFromUnixNano: T0 };
    const watermark = { ...records[0]!.watermark!, vouchedFromUnixNano: T0 };
    await index.apply([{ ...records[0]!, watermark }], anew);
    expect((await index.locate([contractTraceId(2)]))[0]!.watermarks).toEqual([watermark]);
    expect(await index.feedPosition('west.trace-metadata', 0)).toEqual(anew);
    await index.close();
    await reader.close();
  });

  test('while it is read: a trace is never absent where its region’s watermark vouches', async () => {
    const prefix = 'flushed:';
    const index = await openIn(redis.url, { prefix });
    const reader = await openIn(redis.url, { prefix, readOnly: true });
    const ids = Array.from({ length: 100 }, (_, n) => contractTraceId(n));
    let running = true;
    let present = 0;
    let unproved = 0;
    const reading = (async () => {
      while (running) {
        for (const { records, watermarks } of await again(() => reader.locate(ids))) {
          if (records.length === 1) present++;
          else if (!watermarks.some((w) => w.vouchedFromUnixNano !== undefined && w.watermarkUnixNano >= T0 + 99n))
            unproved++;
          else throw new Error('a trace is claimed to be absent that the feed held');
        }
      }
    })();
    for (let round = 0; round < 8; round++) {
      // The feed from its beginning, the watermark last.
      expect(await index.feedPosition('west.trace-metadata', 0)).toBeNull();
      for (let n = 0; n < 100; n += 10) {
        const records = Array.from({ length: 10 }, (_, i) => fed(n + i).records[0]!);
        await index.apply(records, fed(n + 9).position);
      }
      await reader.locate(ids);
      await flush();
      // As a reader of the feed would that has not asked yet.
      await feed(index, 99);
    }
    running = false;
    await reading;
    expect(present).toBeGreaterThan(0);
    expect(unproved).toBeGreaterThan(0);
    await index.close();
    await reader.close();
  });

  test('opened again after a flush, the index is empty and has no position', async () => {
    const prefix = 'reopened:';
    const first = await openIn(redis.url, { prefix });
    await feed(first, 1);
    await first.close();
    const second = await openIn(redis.url, { prefix });
    expect(await second.feedPosition('west.trace-metadata', 0)).toEqual(fed(1).position);
    await second.close();
    await flush();
    const third = await openIn(redis.url, { prefix });
    expect(await third.feedPosition('west.trace-metadata', 0)).toBeNull();
    expect(await third.locate([contractTraceId(1)])).toEqual([
      { traceId: contractTraceId(1), records: [], watermarks: [] },
    ]);
    await third.close();
  });
});

describe('redis index: configuration', () => {
  test('a Redis that evicts is refused', async () => {
    await withClient(redis.url, (client) => client.config('SET', 'maxmemory-policy', 'volatile-lru'));
    try {
      await expect(openIn(redis.url)).rejects.toMatchObject({ code: 'configuration', retry: 'never' });
    } finally {
      await withClient(redis.url, (client) => client.config('SET', 'maxmemory-policy', 'noeviction'));
    }
  });

  test('another layout or another number of shards is refused and left alone', async () => {
    const prefix = 'fixed:';
    const index = await openIn(redis.url, { prefix });
    await feed(index, 1);
    await expect(openIn(redis.url, { prefix, shards: 2 })).rejects.toMatchObject({ code: 'configuration' });
    await withClient(redis.url, (client) => client.hset('fixed:meta:{0}', 'version', 3));
    await expect(openIn(redis.url, { prefix })).rejects.toMatchObject({ code: 'unknown-version' });
    await expect(index.locate([contractTraceId(1)])).rejects.toMatchObject({ code: 'unknown-version' });
    await withClient(redis.url, (client) => client.hset('fixed:meta:{0}', 'version', 2));
    expect((await index.locate([contractTraceId(1)]))[0]!.records).toHaveLength(1);
    await index.close();
    for (const wrong of [{ shards: 3 }, { shards: 2048 }, { bucketBits: 3 }, { bucketBits: 25 }]) {
      await expect(openIn(redis.url, wrong)).rejects.toMatchObject({ code: 'configuration' });
    }
  });

  test('a missing redis-server says how to get it', async () => {
    const command = 'no-such-redis-server';
    await expect(startRedis({ folder: join(folder.path, 'none'), appendOnly: false, command })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('apt-get install redis-server'),
    });
  });
});
