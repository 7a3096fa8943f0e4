import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { CallOptions, MissingPart } from '../../global/region-api/region-client.js';
import type { LivePartition } from '../assembler/open-traces-reader.js';
import type { Segment } from '../segments/segment.js';
import type { SearchPage } from '../store/segment-store.js';

/** A segment that an assembler holds; why it was closed is of no interest to readers. */
export type LiveSegment = Omit<Segment, 'closeReason'>;

/** What one process holds, and what that speaks for. */
export interface LiveAnswer<T> {
  readonly found: T;
  /** Names the process for as long as it lives. */
  readonly process: string;
  readonly partitions: readonly LivePartition[];
}

/** Another process of this region. Calls end by their deadline or with the signal and reject with a `MeridianError` that names the address. */
export interface LivePeer {
  /** host:port */
  readonly address: string;
  getLive(source: RegionId, traceId: TraceId, call: CallOptions): Promise<LiveAnswer<readonly LiveSegment[]>>;
  searchLive(request: SearchRequest, call: CallOptions): Promise<LiveAnswer<SearchPage>>;
  close(): void;
}

/** What the assemblers of a whole region hold that its store may not have yet. Never rejects: what could not be asked is named in `missing`. */
export interface LiveReads {
  get(source: RegionId, traceId: TraceId): Promise<{ segments: readonly LiveSegment[]; missing: MissingPart | null }>;
  /** Pages of the same request, each in search order. */
  search(
    request: SearchRequest,
    signal: AbortSignal,
  ): Promise<{ pages: readonly SearchPage[]; missing: MissingPart | null }>;
}
