import type { RegionId, TraceId } from '../model/ids.js';
import type { FeedRecord, TraceMetadata } from '../model/metadata.js';
import { BUCKET_MS } from './digest.js';

export const WEST = 'us-west-2' as RegionId;
export const EU = 'eu-west-1' as RegionId;
/** Nanoseconds. */
export const HOUR = BigInt(BUCKET_MS) * 1_000_000n;
export const T0 = 1_763_697_600_000_000_000n;

/** The id of trace number `n` of a contract suite. */
export function contractTraceId(number: number): TraceId {
  // Spread over the whole range, so that ids fall everywhere.
  const high = Math.imul(number + 1, 0x9e3779b1) >>> 0;
  return (high.toString(16).padStart(8, '0') + (number + 1).toString(16).padStart(24, '0')) as TraceId;
}

/** Metadata of trace number `n` in a region, with the fields of `over`. */
export function contractTrace(n: number, region: RegionId, over: Partial<TraceMetadata> = {}): TraceMetadata {
  return {
    traceId: contractTraceId(n),
    region,
    startUnixNano: T0 + BigInt(n) * 1_000n,
    endUnixNano: T0 + BigInt(n) * 1_000n + 5_000_000n,
    root: { startUnixNano: T0 + BigInt(n) * 1_000n, service: 'gateway', operation: `GET /${n % 3}` },
    coverage: [{ key: n & 0xffffff, service: 'gateway', spanCount: 3, errorCount: n % 2 }],
    flags: 1,
    blocks: [],
    ...over,
  };
}

/** A feed record of a region. */
export function contractRecord(region: RegionId, traces: TraceMetadata[], over: Partial<FeedRecord> = {}): FeedRecord {
  return { region, traces, watermark: null, catalogue: [], ...over };
}
