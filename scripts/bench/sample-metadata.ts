import { createHash } from 'node:crypto';
import { compareCoverage } from '../../global/index/join.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId, Coverage, FeedRecord, TraceMetadata } from '../../global/model/metadata.js';

/** Ordinary metadata of three regions, the same in every run. */
export const SAMPLE_REGIONS = ['us-east-1', 'us-west-2', 'eu-west-1'] as RegionId[];
export const SAMPLE_HOME = SAMPLE_REGIONS[0]!;
/** Traces of one feed record. */
export const SAMPLE_BLOCK_TRACES = 64;
const SERVICES = ['gateway', 'orders', 'payments', 'inventory', 'shipping', 'pricing', 'users', 'mailer'];

function digestOf(n: number): Buffer {
  return createHash('sha256').update(`trace ${n}`).digest();
}

export function sampleTraceId(n: number): TraceId {
  return digestOf(n).toString('hex', 0, 16) as TraceId;
}

/** A region's part of a trace, one a millisecond from `startUnixNano` on: one to three services in one or two requests, the root at home. */
function partOf(n: number, region: RegionId, startUnixNano: bigint, blocks: readonly BlockId[]): TraceMetadata {
  const shape = digestOf(n);
  const at = SAMPLE_REGIONS.indexOf(region) * 4 + 16;
  const start = startUnixNano + BigInt(n) * 1_000_003n + BigInt(at) * 211_003n;
  const coverage: Coverage[] = [];
  for (let request = 0; request <= shape[at]! % 2; request++) {
    const key = (shape.readUInt32LE(at) + request * 7919) & 0xffffff;
    for (let s = 0; s <= shape[at + 1]! % 3; s++) {
      const service = SERVICES[(shape[at + 2]! + s) % SERVICES.length]!;
      const spanCount = 1 + (shape[at + 3]! % 6);
      coverage.push({ key, service, spanCount, errorCount: shape[at + 3]! % 16 === 0 ? 1 : 0 });
    }
  }
  const operation = `GET /route-${shape[at]! % 40}`;
  return {
    traceId: sampleTraceId(n),
    region,
    startUnixNano: start,
    endUnixNano: start + BigInt(shape.readUInt32LE(at)) / 40n,
    root: region === SAMPLE_HOME ? { startUnixNano: start, service: 'gateway', operation } : null,
    coverage: coverage.sort(compareCoverage),
    flags: 1,
    blocks,
  };
}

/** The feeds of all regions as a region would apply them: for 64 traces at a time their announcements, then their blocks. */
export function* sampleFeed(first: number, count: number, startUnixNano: bigint): Generator<FeedRecord[]> {
  for (let n = first; n < first + count; n += SAMPLE_BLOCK_TRACES) {
    const size = Math.min(SAMPLE_BLOCK_TRACES, first + count - n);
    const records = SAMPLE_REGIONS.map((region): FeedRecord => {
      const block = `${region}/3/${181_000 + Math.floor(n / 7)}/${763_699_735_123_000 + Math.floor(n / 64)}` as BlockId;
      const traces = Array.from({ length: size }, (_, i) => partOf(n + i, region, startUnixNano, [block]));
      return { region, traces, watermark: null, catalogue: [] };
    });
    yield records.map((record) => ({
      ...record,
      traces: record.traces.map((trace) => ({ ...trace, flags: 0, blocks: [], coverage: trace.coverage.slice(0, 1) })),
    }));
    yield records;
  }
}
