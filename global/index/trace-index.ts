import type { RegionId, TraceId } from '../model/ids.js';
import type { CatalogueEntry, FeedRecord, TraceMetadata, Watermark } from '../model/metadata.js';

/**
 * A watermark as one copy of the index holds it: it speaks for the spans from `vouchedFromUnixNano` up to the watermark, and for no
 * others (docs/decisions/0006). This is no part of the feed: each copy has its own.
 */
export interface VouchedWatermark extends Watermark {
  /**
   * Every span that was appended to the partition at or after this time (by the clock of the source's log) and before the watermark has a record
   * in this copy. 0: the feed was received from its first record on. Left out: nothing is known of how the feed was received, and the
   * watermark proves nothing.
   */
  readonly vouchedFromUnixNano?: bigint;
}

/** A feed record as it is given to a copy: what its watermark vouches for was added by who received it. */
export interface ReceivedRecord extends FeedRecord {
  readonly watermark: VouchedWatermark | null;
}

/** How far a copy received one partition of a feed. It is kept in the copy, so that it is lost with what it speaks of. */
export interface FeedPosition {
  /** The topic as it is named in this region's log. */
  readonly topic: string;
  readonly partition: number;
  /** Everything before this offset was applied, from the record that vouches on. */
  readonly nextOffset: number;
  /** As of `VouchedWatermark`. */
  readonly vouchedFromUnixNano: bigint;
}

/**
 * The global metadata index: each region holds a full copy of every region's feed. Redis in production, SQLite
 * embedded; `trace-index.contract.ts` holds both. What it holds is always a join of what it was given: losing it costs
 * a replay of the feed, never an answer (routers ask every region when in doubt).
 */
export interface TraceIndexWriter {
  /**
   * Joins the records in: all of the call or, where it rejects (`unavailable`: retry later), possibly none. Durable on resolve; idempotent; any
   * order except that a feed partition's watermark comes after its records, within a call or in a later one that begins
   * when the earlier has resolved. Blocks are kept for the home region's records only. Of watermarks of one
   * partition the highest is kept, with what it vouches for; of equal ones the one that vouches for more.
   * The position, where one is given, takes the place of an earlier one of the same topic and partition: together with the records or after them,
   * never before.
   */
  apply(records: readonly ReceivedRecord[], position?: FeedPosition): Promise<void>;
}

export interface FeedPositions {
  /** The position that was given last; null where none was since the index was made or cleared. */
  feedPosition(topic: string, partition: number): Promise<FeedPosition | null>;
}

/**
 * What is left of a region's records of old days (docs/decisions/0012): the region may hold a part of the trace that began at or after
 * `startUnixNanoMin` and ended at or before `endUnixNanoMax`, or none at all: about one answer in 256, per region and folded day, is wrong. So it is a
 * reason to ask the region, and it bounds what the region holds; it is no proof that there is such a trace. Never of a part whose times
 * are implausible (such records are not folded).
 */
export interface FoldedPart {
  readonly region: RegionId;
  readonly startUnixNanoMin: bigint;
  readonly endUnixNanoMax: bigint;
}

export interface TraceLocation {
  readonly traceId: TraceId;
  /** At most one per region, in order of region. Where the region is in `folded` too, it may tell of a part of what the region holds. */
  readonly records: readonly TraceMetadata[];
  /** At most one per region, in order of region, over all folded days; left out where there is none. */
  readonly folded?: readonly FoldedPart[];
  /**
   * Per region that published it, in order of region: the watermark of the trace's own `spans` partition there. Where the region's
   * number of partitions has changed, the lowest of the partitions that the trace had, vouching for no more than any of them.
   */
  readonly watermarks: readonly VouchedWatermark[];
}

export interface LocateOptions {
  /** Leave `folded` out: for who wants records and proves nothing by their absence. A probe of each folded day is saved. */
  readonly exactOnly?: boolean;
}

export interface TraceIndexReader {
  /**
   * One location per id, in the order of the ids (at most 1,000, else `invalid`), in one round trip; ids may repeat.
   *
   * The records, folded parts and watermarks of a location are of one moment: where a watermark of region R is given, every record of the trace that
   * R's feed held before that watermark, from what it vouches for on, has been joined in. So if R has a watermark here, and neither a record nor a
   * folded part, no span of the trace was appended in R from `vouchedFromUnixNano` up to the watermark, except spans whose record expired: the
   * index must be kept at least as long as the segments are. A region without a watermark here proves nothing. Rejects with `unavailable` when the
   * index cannot be read.
   */
  locate(traceIds: readonly TraceId[], options?: LocateOptions): Promise<readonly TraceLocation[]>;
  /** Every watermark that is known. */
  watermarks(): Promise<readonly VouchedWatermark[]>;
}

export interface CatalogueReader {
  /** All entries of the regions (of all known ones where none is given), any order. */
  catalogue(regions?: readonly RegionId[]): Promise<readonly (CatalogueEntry & { readonly region: RegionId })[]>;
  /**
   * How many entries were ever added to each known region's catalogue, by region. It never falls (but by `clear`): an entry that
   * expired still counts, and counts again when it comes back. A source stops telling of new operations at a limit, and does not
   * forget them as the index does; only this number shows that it may have stopped.
   */
  catalogueTotals(): Promise<ReadonlyMap<RegionId, number>>;
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
  /** In order of time; without hours of days that are folded, wholly or in part. */
  digests(region: RegionId): Promise<readonly IndexDigest[]>;
  /** Records of a bucket in pages, ordered by trace id, after the given id; of a folded day those that are left. An empty page is the end. */
  bucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]>;
}

export interface TraceIndexRetention {
  /**
   * Forgets traces all of whose records, of every region, ended before the time (a record that went alone would read as absence), folded days
   * all of whose records did, and catalogue entries last seen more than `CATALOGUE_MARGIN_MS` before it. Resolves with the number of records.
   */
  expire(beforeUnixNano: bigint): Promise<number>;
  /** Forgets everything, positions too, for a rebuild. */
  clear(): Promise<void>;
}

export interface TraceIndexFolding {
  /**
   * Folds the days (of UTC, by the start of a record) that ended before the time: their records' ids go into filters, the records go. What
   * stays exact: records that ended at or after the time, those with implausible times, days with fewer than `recordsMin` records
   * (default FOLD_RECORDS_MIN), and what came late, until there is enough of it to fold again. Each step is short and leaves a state that is
   * right, so a fold that was cut off just goes on with the next call; `apply` and `locate` go on meanwhile. One fold at a time, else `overloaded`.
   * Resolves with the number of records that went.
   */
  fold(beforeUnixNano: bigint, recordsMin?: number): Promise<number>;
  /** End of the newest day that is folded, wholly or in part; 0 where none is. Buckets before it are not to be compared with others' (reconcile). */
  foldedBeforeMs(): Promise<number>;
}

export interface TraceIndex
  extends TraceIndexWriter,
    FeedPositions,
    TraceIndexReader,
    CatalogueReader,
    IndexDigests,
    TraceIndexRetention,
    TraceIndexFolding {
  close(): Promise<void>;
}
