import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { Segment } from '../segments/segment.js';
import type { SearchPage } from '../store/segment-store.js';

/**
 * What the assembler holds that the store may not have yet: open traces, and blocks that it made and the writer has not
 * committed. A span is here or in the store at every moment after its acknowledgement plus the assembler's reading delay;
 * during the hand-over it may be in both.
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
}
