import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisEngine, startRedis } from '../../scripts/engines/redis.js';
import { realClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/logger.js';
import { openRedisTraceIndex, type RedisTraceIndexOptions } from './redis-trace-index.js';
import { HOME, traceIndexContract } from './trace-index.contract.js';

const folder = mkdtempSync(join(tmpdir(), 'meridian-redis-'));
const YEARS_MS = 20 * 365 * 86_400_000;
const WEEK_MS = 7 * 86_400_000;
let redis: RedisEngine;
let indexes = 0;

beforeAll(async () => {
  redis = await startRedis({ folder: join(folder, 'one'), appendOnly: true });
});
afterAll(async () => {
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** An index of its own in the one Redis. */
function open(over: Partial<RedisTraceIndexOptions> = {}) {
  return openRedisTraceIndex({
    address: { url: redis.url },
    home: HOME,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    retentionMs: YEARS_MS,
    bucketBits: 6,
    prefix: `t${indexes++}:`,
    ...over,
  });
}

traceIndexContract('redis, buckets by day', () => open());
traceIndexContract('redis, times outside the retention', () => open({ retentionMs: WEEK_MS }));
traceIndexContract('redis, eight shards', () => open({ shards: 8 }));

describe('redis index', () => {
  test('opens', async () => {
    const index = await open();
    expect(await index.watermarks()).toEqual([]);
    await index.close();
  });
});
