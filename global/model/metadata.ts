import type { RegionId, TraceId } from './ids.js';

/**
 * What one region tells the others about its part of one trace. It is made by the region that holds the spans
 * and by no other (one writer per trace and region). Copies of it, partial or whole, repeated, re-cut or out of
 * order, are joined by `global/index/join.ts`, which is commutative, associative and idempotent.
 */
export interface TraceMetadata {
  readonly traceId: TraceId;
  /** The region whose spans these are. */
  readonly region: RegionId;
  /** Earliest start and latest end of the spans covered. A join takes the minimum and the maximum. */
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  /** The parentless span, if one is covered. A join keeps the earliest; ties by service, then operation. */
  readonly root: RootSpan | null;
  /** Which spans of the trace this record counts. Ordered by key, then service; no two entries share both. */
  readonly coverage: readonly Coverage[];
  /** Bits of MetadataFlag; a join takes the union. */
  readonly flags: number;
  /** Blocks that hold the spans, in the region's own index only (never sent to others). A join takes the union. */
  readonly blocks: readonly BlockId[];
}

export interface RootSpan {
  readonly startUnixNano: bigint;
  readonly service: string;
  readonly operation: string;
}

/**
 * The spans of one trace that a client sent together, in one ResourceSpans message. `key` is 24 bits of a hash of them
 * (`regions/segments/summarize.ts`), so that it survives re-reading, re-sending, mirroring and adoption by a standby. Counting by it is
 * what makes counts immune to crashes: however the records are cut into segments, the same (key, service) is counted once.
 * Two messages of one trace share a key with probability 2^-24; a join then keeps the larger counts.
 */
export interface Coverage {
  /** 0 to 2^24 - 1. */
  readonly key: number;
  readonly service: string;
  readonly spanCount: number;
  readonly errorCount: number;
}

export const MetadataFlag = {
  /** Some segment was closed: the record is more than an early announcement. */
  closed: 1,
  /** Coverage was cut at its limit: counts are lower bounds. */
  countsAtLeast: 2,
  /** Some span starts implausibly far in the future or the past of its reception. */
  implausibleTime: 4,
} as const;

/**
 * Name of a block: `{source region}/{partition}/{first offset}/{number}`, where the number is unique among the
 * blocks of a partition (it comes from the assembler's start time and a counter, so blocks that are cut anew after a
 * crash never overwrite those cut before).
 */
export type BlockId = string & { readonly __brand: 'BlockId' };

/**
 * "Every span that was appended to partition `partition` of the region's `spans` before `watermarkUnixNano`
 * (by the clock of the assembler that owns the partition) has a record in the feed before this."
 */
export interface Watermark {
  readonly region: RegionId;
  readonly partition: number;
  /** Number of partitions of the region's `spans`, to find a trace's own partition. */
  readonly partitionCount: number;
  readonly watermarkUnixNano: bigint;
}

/** A service's operation, as it was seen in a region. */
export interface CatalogueEntry {
  readonly service: string;
  readonly operation: string;
  /** OTLP SpanKind, 0 to 5. */
  readonly kind: number;
  readonly lastSeenMs: number;
}

/**
 * One record of `trace-metadata`: the metadata of one block's segments, or of traces just seen for the first time,
 * or none; then the watermark that they establish. Wire format: `global/index/feed-codec.ts`.
 */
export interface FeedRecord {
  readonly region: RegionId;
  readonly traces: readonly TraceMetadata[];
  readonly watermark: Watermark | null;
  readonly catalogue: readonly CatalogueEntry[];
}
