import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { Segment } from '../segments/segment.js';
import type { SearchPage } from '../store/segment-store.js';

/**
 * What one assembler process holds that the store may not have yet: open traces, and blocks that the writer has not committed. Of
 * the partitions of `spans` that it names in `partitions`, a span is here or in the store at every moment after its acknowledgement plus the
 * age that is named; during a hand-over it may be in both, and in several processes.
 *
 * What is held is determined at the moment of the call, before the first `await`: who calls this first and asks the store
 * afterwards (or in the same turn) misses nothing. Answers take longer only where blocks have to be read back from the log.
 */
export interface LiveSegments {
  /**
   * Copies; an open trace appears as a segment without a block and with the flag `closed` unset. Empty for a source that is not
   * assembled here. Rejects with `unavailable` where a block had to be read back from the log and could not be.
   */
  get(source: RegionId, traceId: TraceId): Promise<readonly Segment[]>;
  /**
   * The same order and meaning as `SegmentStoreSearch.search`. Where the signal aborts before `limit` is reached, the page says how
   * far it got.
   */
  search(request: SearchRequest, signal?: AbortSignal): Promise<SearchPage>;
  /** What `get` and `search` speak for when they are called in the same turn; by partition. Empty for a source that is not assembled here. */
  partitions(source: RegionId): readonly LivePartition[];
}

/** What a process knows of one partition of `spans` that it assembles, or did until a moment ago. */
export interface LivePartition {
  readonly partition: number;
  /** Whether it assembles it now. */
  readonly owned: boolean;
  /**
   * Milliseconds since the moment up to which it has everything: what was acknowledged before is here or in the store. Null while it takes over: it
   * has not read yet what came before.
   */
  readonly ageMs: number | null;
  /** Whether that holds for search too: what the writer has just stored may not show in a search of the store yet. */
  readonly searchable: boolean;
}
