import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { Segment } from '../segments/segment.js';
import type { SearchPage } from '../store/segment-store.js';

/**
 * What the assembler holds that the store may not have yet: open traces, and blocks that it made and the writer has not
 * committed. A span is here or in the store at every moment after its acknowledgement plus the assembler's reading delay;
 * during the hand-over it may be in both.
 */
export interface LiveSegments {
  /** Copies; an open trace appears as a segment without a block and with the flag `closed` unset. */
  get(source: RegionId, traceId: TraceId): readonly Segment[];
  /** The same order and meaning as `SegmentStoreSearch.search`. */
  search(request: SearchRequest): SearchPage;
}
