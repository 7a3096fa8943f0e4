import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import { openRedisTraceIndex } from '../../global/index/redis-trace-index.js';
import { msToUnixNano } from '../../global/model/time.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { startRedis } from '../engines/redis.js';
import { type BenchResult, quantileOf, spreadOf } from './bench-result.js';
import { SAMPLE_HOME, SAMPLE_REGIONS, sampleFeed, sampleTraceId } from './sample-metadata.js';

const ROUNDS = 3;
const TRACES = 80_000;
const RECORDS = TRACES * SAMPLE_REGIONS.length;
const DAY_MS = 86_400_000;
/** Calls of `apply` at once, as the applier's partitions make them. */
const AT_ONCE = 4;

/** `used_memory` of INFO: what the allocator handed out, without fragmentation. */
async function usedBytes(url: string): Promise<number> {
  const client = new Redis(url);
  const info = await client.info('memory');
  client.disconnect();
  return Number(/^used_memory:(\d+)/m.exec(info)![1]);
}

/**
 * Memory, apply and locate of the index in Redis (Debian's redis-server, appendonly, everysec), on the same machine: the records of three
 * regions of 80,000 traces a round, announced and closed, i.e. each record is written twice, on a day that is empty before.
 */
export async function benchRedisIndex(): Promise<BenchResult> {
  const bytes: number[] = [];
  const rates: number[] = [];
  const one: { p50: number; p95: number }[] = [];
  const thousand: number[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-redis-'));
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const redis = await startRedis({ folder: join(folder, String(round)), appendOnly: true });
      const open = (readOnly: boolean) =>
        openRedisTraceIndex({
          address: { url: redis.url },
          home: SAMPLE_HOME,
          readOnly,
          clock: realClock,
          logger: silentLogger,
          registry: new Registry(),
          retentionMs: 7 * DAY_MS,
          recordsPerDayExpected: RECORDS,
        });
      try {
        const writer = await open(false);
        const empty = await usedBytes(redis.url);
        const startMs = Math.floor(realClock.nowMs() / DAY_MS) * DAY_MS;
        const feed = [...sampleFeed(round * TRACES, TRACES, msToUnixNano(startMs))];
        const begun = performance.now();
        for (let i = 0; i < feed.length; i += AT_ONCE) {
          await Promise.all(feed.slice(i, i + AT_ONCE).map((records) => writer.apply(records)));
        }
        rates.push((2 * RECORDS) / ((performance.now() - begun) / 1000));
        bytes.push(((await usedBytes(redis.url)) - empty) / RECORDS);
        const reader = await open(true);
        await reader.locate([sampleTraceId(round * TRACES)]);
        const took: number[] = [];
        for (let i = 0; i < 2000; i++) {
          const traceId = sampleTraceId(round * TRACES + ((i * 7919) % TRACES));
          const from = performance.now();
          await reader.locate([traceId]);
          took.push((performance.now() - from) * 1000);
        }
        one.push({ p50: quantileOf(took, 0.5), p95: quantileOf(took, 0.95) });
        const ids = Array.from({ length: 1000 }, (_, i) => sampleTraceId(round * TRACES + i * 17));
        const from = performance.now();
        await reader.locate(ids);
        thousand.push(performance.now() - from);
        await reader.close();
        await writer.close();
      } finally {
        await redis.stop();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    name: 'redis-index',
    requirements: ['Ix1', 'Ix2'],
    rows: [
      {
        what: `Redis memory (used_memory) a trace and region, ${RECORDS.toLocaleString('en-US')} records, keys, names and digests included`,
        asked: { relation: 'at most', value: 55 },
        unit: 'B',
        measured: spreadOf(bytes),
      },
      {
        what: 'apply to Redis: announcement and closed record of each trace and region, one process',
        asked: null,
        unit: 'records/s',
        measured: spreadOf(rates),
      },
      {
        what: 'locate one trace in Redis, three regions, one retained day, p50',
        asked: { relation: 'below', value: 1000 },
        unit: 'µs',
        measured: spreadOf(one.map(({ p50 }) => p50)),
        comparedWith: `p95 ${spreadOf(one.map(({ p95 }) => p95)).median.toFixed(0)} µs`,
      },
      { what: 'locate 1,000 traces in one call, Redis', asked: null, unit: 'ms', measured: spreadOf(thousand) },
    ],
  };
}
