import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { encodeFeedRecord, encodeTraceMetadata } from '../../global/index/feed-codec.js';
import { compareCoverage } from '../../global/index/join.js';
import { INDEX_FILE, openSqliteTraceIndex } from '../../global/index/sqlite-trace-index.js';
import type { TraceIndex } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId, Coverage, FeedRecord, TraceMetadata } from '../../global/model/metadata.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { type BenchResult, quantileOf, spreadOf } from './bench-result.js';

const REGIONS = ['us-east-1', 'us-west-2', 'eu-west-1'] as RegionId[];
const HOME = REGIONS[0]!;
const SERVICES = ['gateway', 'orders', 'payments', 'inventory', 'shipping', 'pricing', 'users', 'mailer'];
const ROUNDS = 3;
const TRACES = 30_000;
const BLOCK_TRACES = 64;
const START = 1_763_697_600_000_000_000n;

/** The same trace ids and shapes in every run. */
function digestOf(n: number): Buffer {
  return createHash('sha256').update(`trace ${n}`).digest();
}

function traceIdOf(n: number): TraceId {
  return digestOf(n).toString('hex', 0, 16) as TraceId;
}

/** A region's part of an ordinary trace: one to three services in one or two gatherings. */
function partOf(n: number, region: RegionId): TraceMetadata {
  const shape = digestOf(n);
  const at = REGIONS.indexOf(region) * 4 + 16;
  const startUnixNano = START + BigInt(n) * 1_000_003n + BigInt(at) * 211_003n;
  const gatherings = 1 + (shape[at]! % 2);
  const coverage: Coverage[] = [];
  for (let g = 0; g < gatherings; g++) {
    const key = (shape.readUInt32LE(at) + g * 7919) & 0xffffff;
    for (let s = 0; s <= shape[at + 1]! % 3; s++) {
      const service = SERVICES[(shape[at + 2]! + s) % SERVICES.length]!;
      coverage.push({
        key,
        service,
        spanCount: 1 + (shape[at + 3]! % 6),
        errorCount: shape[at + 3]! % 16 === 0 ? 1 : 0,
      });
    }
  }
  return {
    traceId: traceIdOf(n),
    region,
    startUnixNano,
    endUnixNano: startUnixNano + BigInt(shape.readUInt32LE(at)) / 40n,
    root: region === HOME ? { startUnixNano, service: 'gateway', operation: `GET /route-${shape[at]! % 40}` } : null,
    coverage: coverage.sort(compareCoverage),
    flags: 1,
    blocks: [`${region}/3/${181_000 + Math.floor(n / BLOCK_TRACES)}/1763699735123${n % 1000}` as BlockId],
  };
}

/** The feed of all regions, as a region would apply it: announcements, then blocks. */
function feedOf(first: number, count: number): FeedRecord[][] {
  const batches: FeedRecord[][] = [];
  for (let n = first; n < first + count; n += BLOCK_TRACES) {
    const size = Math.min(BLOCK_TRACES, first + count - n);
    const records = REGIONS.map((region): FeedRecord => {
      const blocks = [`${region}/3/${n}/1763699735123007` as BlockId];
      const traces = Array.from({ length: size }, (_, i) => ({ ...partOf(n + i, region), blocks }));
      return { region, traces, watermark: null, catalogue: [] };
    });
    const announced = records.map((record) => ({
      ...record,
      traces: record.traces.map((trace) => ({ ...trace, flags: 0, blocks: [], coverage: trace.coverage.slice(0, 1) })),
    }));
    batches.push(announced, records);
  }
  return batches;
}

async function openIn(folder: string, readOnly: boolean): Promise<TraceIndex> {
  const registry = new Registry();
  return openSqliteTraceIndex({ folder, readOnly, home: HOME, clock: realClock, registry, logger: silentLogger });
}

/**
 * Bytes on disk, apply and locate of the embedded index, with three regions' records of each of 30,000 traces a round. Announced and
 * closed, i.e. each record is written twice; locate is a reader's, in another connection, with the file in the page cache.
 */
export async function benchIndex(): Promise<BenchResult> {
  const bytes: number[] = [];
  const rates: number[] = [];
  const one: { p50: number; p95: number }[] = [];
  const thousand: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-index-'));
    try {
      const feed = feedOf(round * TRACES, TRACES);
      const writer = await openIn(folder, false);
      const begun = performance.now();
      // Four partitions' worth at a time: they share a transaction, as the applier's partitions do.
      for (let i = 0; i < feed.length; i += 4)
        await Promise.all(feed.slice(i, i + 4).map((batch) => writer.apply(batch)));
      const applied = 2 * TRACES * REGIONS.length;
      rates.push(applied / ((performance.now() - begun) / 1000));
      const reader = await openIn(folder, true);
      const took: number[] = [];
      for (let i = 0; i < 2000; i++) {
        const traceId = traceIdOf(round * TRACES + ((i * 7919) % TRACES));
        const from = performance.now();
        await reader.locate([traceId]);
        took.push((performance.now() - from) * 1000);
      }
      one.push({ p50: quantileOf(took, 0.5), p95: quantileOf(took, 0.95) });
      const ids = Array.from({ length: 1000 }, (_, i) => traceIdOf(round * TRACES + i * 17));
      const from = performance.now();
      await reader.locate(ids);
      thousand.push(performance.now() - from);
      await reader.close();
      await writer.close();
      bytes.push(statSync(join(folder, INDEX_FILE)).size / (TRACES * REGIONS.length));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const sample = Array.from({ length: BLOCK_TRACES }, (_, n) => ({
    ...partOf(n, HOME),
    blocks: ['us-east-1/3/1/7' as BlockId],
  }));
  const inBatch =
    encodeFeedRecord({ region: HOME, traces: sample, watermark: null, catalogue: [] }).length / BLOCK_TRACES;
  const alone = sample.map((trace) => encodeTraceMetadata({ ...trace, blocks: [] }).length);
  return {
    name: 'index',
    requirements: ['Ix1', 'Ix2', 'Ix6'],
    rows: [
      {
        what: 'index on disk, a trace and region, indexes included (90,000 records, names and blocks too)',
        asked: { relation: 'at most', value: 100 },
        unit: 'B',
        measured: spreadOf(bytes),
      },
      {
        what: 'metadata on the wire, a trace and region standing alone',
        asked: { relation: 'at most', value: 100 },
        unit: 'B',
        measured: spreadOf(alone),
        comparedWith: `${inBatch.toFixed(0)} B in a record of a block of ${BLOCK_TRACES}`,
      },
      {
        what: 'apply, durable: announcement and closed record of each trace and region, one process',
        asked: null,
        unit: 'records/s',
        measured: spreadOf(rates),
      },
      {
        what: 'locate one trace, three regions, p50',
        asked: { relation: 'below', value: 1000 },
        unit: 'µs',
        measured: spreadOf(one.map(({ p50 }) => p50)),
        comparedWith: `p95 ${spreadOf(one.map(({ p95 }) => p95)).median.toFixed(0)} µs`,
      },
      {
        what: 'locate 1,000 traces in one call',
        asked: null,
        unit: 'ms',
        measured: spreadOf(thousand),
      },
    ],
  };
}
