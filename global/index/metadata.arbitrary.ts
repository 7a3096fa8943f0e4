import fc from 'fast-check';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, CatalogueEntry, Coverage, FeedRecord, TraceMetadata } from '../model/metadata.js';
import { compareCoverage } from './join.js';

/** Arbitrary metadata for property tests, small pools of names and keys so that joins clash. */

const NAMES = ['gateway', 'orders', 'payments', 'žluťoučký kůň', '服务', '', 'GET /orders/{id}', '🦜', 'a'.repeat(300)];

export const anyName: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...NAMES) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 40 }) },
);

const anyNano = fc.oneof(
  fc.bigInt({ min: 1_700_000_000_000_000_000n, max: 1_700_000_100_000_000_000n }),
  fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  fc.constantFrom(0n, 1n, 0xffff_ffff_ffff_ffffn, 1n << 53n),
);

export const anyTraceId: fc.Arbitrary<TraceId> = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => (bytes.every((b) => b === 0) ? '1'.repeat(32) : Buffer.from(bytes).toString('hex')) as TraceId);

const anyCoverage: fc.Arbitrary<Coverage[]> = fc
  .array(
    fc.record({
      key: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 0xffffff })),
      service: anyName,
      spanCount: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constant(0xffff_ffff)),
      errorRate: fc.integer({ min: 0, max: 4 }),
    }),
    { maxLength: 12 },
  )
  .map((entries) => {
    const byPlace = new Map<string, Coverage>();
    for (const { key, service, spanCount, errorRate } of entries) {
      const errorCount = Math.floor((spanCount * errorRate) / 4);
      byPlace.set(`${key} ${service}`, { key, service, spanCount, errorCount });
    }
    return [...byPlace.values()].sort(compareCoverage);
  });

const anyBlocks: fc.Arbitrary<BlockId[]> = fc
  .uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 4 })
  .map((numbers) => numbers.map((n) => `us-east-1/3/${n}/77` as BlockId).sort());

/** Metadata of one given trace and region. */
export function anyMetadataOf(traceId: TraceId, region: RegionId): fc.Arbitrary<TraceMetadata> {
  return fc.record({
    traceId: fc.constant(traceId),
    region: fc.constant(region),
    startUnixNano: anyNano,
    endUnixNano: anyNano,
    root: fc.option(fc.record({ startUnixNano: anyNano, service: anyName, operation: anyName }), { nil: null }),
    coverage: anyCoverage,
    flags: fc.integer({ min: 0, max: 7 }),
    blocks: anyBlocks,
  });
}

export const anyRegion: fc.Arbitrary<RegionId> = fc.constantFrom(
  'us-east-1' as RegionId,
  'us-west-2' as RegionId,
  'eu-west-1' as RegionId,
);

export const anyMetadata: fc.Arbitrary<TraceMetadata> = fc
  .tuple(anyTraceId, anyRegion)
  .chain(([traceId, region]) => anyMetadataOf(traceId, region));

const anyCatalogue: fc.Arbitrary<CatalogueEntry[]> = fc.array(
  fc.record({
    service: anyName,
    operation: anyName,
    kind: fc.integer({ min: 0, max: 5 }),
    lastSeenMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
  }),
  { maxLength: 5 },
);

export const anyFeedRecord: fc.Arbitrary<FeedRecord> = anyRegion.chain((region) =>
  fc.record({
    region: fc.constant(region),
    traces: fc.array(
      anyTraceId.chain((id) => anyMetadataOf(id, region)),
      { maxLength: 6 },
    ),
    watermark: fc.option(
      fc.integer({ min: 1, max: 100 }).chain((partitionCount) =>
        fc.record({
          region: fc.constant(region),
          partition: fc.integer({ min: 0, max: partitionCount - 1 }),
          partitionCount: fc.constant(partitionCount),
          watermarkUnixNano: anyNano,
        }),
      ),
      { nil: null },
    ),
    catalogue: anyCatalogue,
  }),
);
