import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import { openRedisTraceIndex } from '../../global/index/redis-trace-index.js';
import type { TraceIndex } from '../../global/index/trace-index.js';
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
/** Records of the folded day: so many traces in three regions. */
const FOLDED_TRACES = 400_000;
const WARM_UP_TRACES = 20_000;
/** Calls of `apply` at once, as the applier's partitions make them. */
const AT_ONCE = 4;

/** `used_memory` of INFO: what the allocator handed out, without fragmentation. */
async function usedBytes(url: string): Promise<number> {
  const client = new Redis(url);
  const info = await client.info('memory');
  client.disconnect();
  return Number(/^used_memory:(\d+)/m.exec(info)![1]);
}

interface Folded {
  readonly exactBytes: number;
  readonly foldedBytes: number;
  /** By MEMORY USAGE of the keys. */
  readonly foldedKeyBytes: number;
  readonly cpuMicros: number;
  readonly locateMicros: number;
  readonly falseShare: number;
}

/** Fills a day that is over, folds it, and looks at what is left of it: bytes, CPU of this process a record, lookups of what is there and what is not. */
async function foldOneDay(folder: string): Promise<Folded> {
  const redis = await startRedis({ folder: join(folder, 'folded'), appendOnly: false });
  const records = FOLDED_TRACES * SAMPLE_REGIONS.length;
  const index = await openRedisTraceIndex({
    address: { url: redis.url },
    home: SAMPLE_HOME,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    retentionMs: 30 * DAY_MS,
    recordsPerDayExpected: records,
    commandBudgetMs: 30_000,
  });
  try {
    const dayEndMs = Math.floor(realClock.nowMs() / DAY_MS) * DAY_MS - 2 * DAY_MS;
    // Another day comes and goes first: what Redis keeps for scripts and tables once it has worked (some 300 kB) is nothing that a trace takes.
    await fill(index, FOLDED_TRACES, WARM_UP_TRACES, dayEndMs - 6 * DAY_MS);
    await index.fold(msToUnixNano(dayEndMs - 2 * DAY_MS));
    await index.expire(msToUnixNano(dayEndMs - 2 * DAY_MS));
    const emptyKeys = await keyBytes(redis.url);
    const empty = await usedBytes(redis.url);
    await fill(index, 0, FOLDED_TRACES, dayEndMs - DAY_MS);
    const exact = await usedBytes(redis.url);
    const cpu = process.cpuUsage();
    const removed = await index.fold(msToUnixNano(dayEndMs + 2 * DAY_MS));
    const { user, system } = process.cpuUsage(cpu);
    if (removed !== records) throw new Error(`folded ${removed} records of ${records}`);
    const left = await usedBytes(redis.url);
    const took: number[] = [];
    for (let i = 0; i < 2000; i++) {
      const traceId = sampleTraceId((i * 7919) % FOLDED_TRACES);
      const from = performance.now();
      const [location] = await index.locate([traceId]);
      took.push((performance.now() - from) * 1000);
      if (location!.folded?.length !== SAMPLE_REGIONS.length) throw new Error(`${traceId} is not found`);
    }
    let wrong = 0;
    const absent = 20_000;
    for (let n = 0; n < absent; n += 500) {
      const ids = Array.from({ length: 500 }, (_, i) => sampleTraceId(FOLDED_TRACES + WARM_UP_TRACES + n + i));
      for (const { folded = [] } of await index.locate(ids)) wrong += folded.length;
    }
    return {
      exactBytes: (exact - empty) / records,
      foldedBytes: (left - empty) / records,
      foldedKeyBytes: ((await keyBytes(redis.url)) - emptyKeys) / records,
      cpuMicros: (user + system) / records,
      locateMicros: quantileOf(took, 0.5),
      falseShare: (wrong / absent / SAMPLE_REGIONS.length) * 100,
    };
  } finally {
    await index.close();
    await redis.stop();
  }
}

async function fill(index: TraceIndex, first: number, traces: number, startMs: number): Promise<void> {
  let waiting: Promise<void>[] = [];
  for (const batch of sampleFeed(first, traces, msToUnixNano(startMs))) {
    waiting.push(index.apply(batch));
    if (waiting.length === AT_ONCE) {
      await Promise.all(waiting);
      waiting = [];
    }
  }
  await Promise.all(waiting);
}

/** What all keys of the index take by MEMORY USAGE; to be used where they are few. */
async function keyBytes(url: string): Promise<number> {
  const client = new Redis(url);
  let sum = 0;
  for (const key of await client.keys('meridian:*')) sum += (await client.memory('USAGE', key, 'SAMPLES', 0)) ?? 0;
  client.disconnect();
  return sum;
}

/**
 * Memory, apply and locate of the index in Redis (Debian's redis-server, appendonly, everysec), on the same machine: the records of three
 * regions of 80,000 traces a round, announced and closed, i.e. each record is written twice, on a day that is empty before. Then a day of
 * 400,000 traces, 1,200,000 records, exact and folded.
 */
export async function benchRedisIndex(): Promise<BenchResult> {
  const bytes: number[] = [];
  const rates: number[] = [];
  const one: { p50: number; p95: number }[] = [];
  const thousand: number[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-redis-'));
  let folded: Folded;
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
    folded = await foldOneDay(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const foldedRecords = (FOLDED_TRACES * SAMPLE_REGIONS.length).toLocaleString('en-US');
  return {
    name: 'redis-index',
    requirements: ['Ix1', 'Ix2', 'Ix8'],
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
      {
        what: `Redis memory (used_memory) a trace and region of a folded day, ${foldedRecords} records`,
        asked: { relation: 'at most', value: 1.3 },
        unit: 'B',
        measured: spreadOf([folded.foldedBytes]),
        comparedWith: `${folded.foldedKeyBytes.toFixed(2)} B by MEMORY USAGE of the keys; ${folded.exactBytes.toFixed(1)} B before it was folded`,
      },
      {
        what: 'absent (trace, region) of a folded day that are not proved absent, of 60,000',
        asked: { relation: 'below', value: 0.4 },
        unit: '%',
        measured: spreadOf([folded.falseShare]),
      },
      {
        what: 'folding, CPU of the process a record',
        asked: null,
        unit: 'µs',
        measured: spreadOf([folded.cpuMicros]),
        comparedWith: `locate one trace of the folded day, p50 ${folded.locateMicros.toFixed(0)} µs`,
      },
    ],
  };
}
