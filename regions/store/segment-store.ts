import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId, TraceMetadata } from '../../global/model/metadata.js';
import type { SearchPosition, SearchRequest } from '../../global/model/query.js';
import type { EncodedBlock, Segment } from '../segments/segment.js';

/**
 * Where a region keeps segments: its own, and those of the regions that it stands by for, kept apart by source.
 * Elasticsearch in production, SQLite embedded; `segment-store.contract.ts` holds both.
 */
export interface SegmentStoreWriter {
  /**
   * Resolves when the blocks are durable; they are visible to `get` then, and to `search` within the store's refresh time (at most
   * 1 s). Writing a block again, in any order with others, changes nothing. Rejects with `unavailable` (retry later), or
   * with `malformed`/`unknown-version` where a block cannot be read (retry never; none of the call's blocks is then promised).
   */
  write(blocks: readonly EncodedBlock[]): Promise<void>;
}

export interface SegmentStoreReader {
  /**
   * All segments of the trace that `source` made, in no particular order; none: an empty list. `hints` names blocks that are known to
   * hold some: a store may use them to be faster, and finds segments outside them all the same unless `hints.complete`.
   */
  get(source: RegionId, traceId: TraceId, hints?: ReadHints): Promise<readonly Segment[]>;
}

export interface ReadHints {
  /** Blocks that are known to hold some of the trace. */
  readonly blocks: readonly BlockId[];
  /** Nothing of the trace is anywhere else. */
  readonly complete: boolean;
  /**
   * Proof, not a guess, that no span of the trace starts before this, e.g. because its root is known. A store with a cold part need not look for
   * it in what is older (less an allowance for clocks); without it everything is asked.
   */
  readonly startUnixNanoMin?: bigint;
}

export interface SegmentStoreSearch {
  /**
   * Matching segments of `request.source` in search order (newest start, then trace id), strictly after `request.after`, each trace
   * once per page, at its first place in that order. Conditions are verified on the payload. Where the budget of
   * `signal` ends before `limit` is reached, the page says how far it got.
   */
  search(request: SearchRequest, signal: AbortSignal): Promise<SearchPage>;
}

export interface SearchPage {
  readonly matches: readonly SearchMatch[];
  /** Null when nothing older can match; else the position from which to go on (the last match, or farther). */
  readonly next: SearchPosition | null;
}

/** A matching segment: its place in the order, and its metadata for the summary. */
export interface SearchMatch {
  readonly position: SearchPosition;
  readonly metadata: TraceMetadata;
}

export interface SegmentStoreRetention {
  /**
   * Removes blocks whose newest span ended, and was received, before the time (so that spans of a wrong clock are not gone at once).
   * Blocks that were stored together with newer ones may stay until those go. Resolves with the number removed.
   */
  expire(beforeUnixNano: bigint): Promise<number>;
}

export interface SegmentStore
  extends SegmentStoreWriter,
    SegmentStoreReader,
    SegmentStoreSearch,
    SegmentStoreRetention {
  close(): Promise<void>;
}
