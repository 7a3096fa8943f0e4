import type { RegionId, TraceId } from '../model/ids.js';
import type { CatalogueEntry, FeedRecord, TraceMetadata, Watermark } from '../model/metadata.js';

/**
 * The global metadata index: each region holds a full copy of every region's feed. Redis in production, SQLite
 * embedded; `trace-index.contract.ts` holds both. What it holds is always a join of what it was given: losing it costs
 * a replay of the feed, never an answer (routers ask every region when in doubt).
 */
export interface TraceIndexWriter {
  /** Joins the records in. Durable on resolve; idempotent; any order except that a feed partition's watermark comes after its records. */
  apply(records: readonly FeedRecord[]): Promise<void>;
}

export interface TraceLocation {
  readonly traceId: TraceId;
  /** At most one per region, in order of region. */
  readonly records: readonly TraceMetadata[];
  /** Per region that ever published one: the watermark of the trace's own `spans` partition there. */
  readonly watermarks: readonly Watermark[];
}

export interface TraceIndexReader {
  /** One location per id, in the order of the ids (at most 1,000), in one round trip. */
  locate(traceIds: readonly TraceId[]): Promise<readonly TraceLocation[]>;
  /** Every watermark that is known. */
  watermarks(): Promise<readonly Watermark[]>;
}

export interface CatalogueReader {
  /** All entries of the regions (of all known ones where none is given), any order. */
  catalogue(regions?: readonly RegionId[]): Promise<readonly (CatalogueEntry & { readonly region: RegionId })[]>;
}

/** A digest of all records of one region whose start lies in one bucket: equal exactly where the records are (but for hash collisions). */
export interface IndexDigest {
  readonly region: RegionId;
  /** Start of the bucket; buckets are an hour long. */
  readonly bucketStartMs: number;
  readonly recordCount: number;
  /** Sum modulo 2^64 of a 64-bit hash of each record's canonical bytes (blocks left out), as 16 hex characters. */
  readonly hash: string;
}

export interface IndexDigests {
  digests(region: RegionId): Promise<readonly IndexDigest[]>;
  /** Records of a bucket in pages, ordered by trace id, after the given id. An empty page is the end. */
  bucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]>;
}

export interface TraceIndexRetention {
  /** Forgets traces that ended before the time. */
  expire(beforeUnixNano: bigint): Promise<number>;
  /** Forgets everything, for a rebuild. */
  clear(): Promise<void>;
}

export interface TraceIndex
  extends TraceIndexWriter,
    TraceIndexReader,
    CatalogueReader,
    IndexDigests,
    TraceIndexRetention {
  close(): Promise<void>;
}
