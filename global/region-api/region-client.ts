import type { IndexDigest } from '../index/trace-index.js';
import type { LogRecord } from '../log/span-log.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import type { SearchPosition, SearchRequest } from '../model/query.js';
import type { PartHealth } from '../runtime/service.js';

/**
 * One region as a router, or another region, sees it. Every call ends by its deadline or when the signal aborts, and rejects with
 * a `MeridianError`: `unavailable` (not reached), `timeout`, `refused`, `unknown-version`, `malformed` (an answer that makes no
 * sense: treated like a region that is down), `too-large`. Answers are untrusted: their sizes are checked, their OTLP is not yet scanned.
 */
export interface RegionClient extends RegionReads, RegionFeed, RegionIndexReads {
  close(): void;
}

export interface CallOptions {
  /** From now, milliseconds. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface RegionReads {
  getTrace(request: TraceRequest, call: CallOptions): Promise<RegionTrace>;
  search(request: SearchRequest, call: CallOptions): Promise<RegionSearchPage>;
  status(call: CallOptions): Promise<RegionStatus>;
}

export interface RegionFeed {
  /** Records from `fromOffset` on, then as they come, until the signal aborts (the iteration then ends). */
  followTopic(
    topic: string,
    partition: number,
    fromOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<FollowedRecords>;
}

export interface RegionIndexReads {
  indexDigests(region: RegionId, call: CallOptions): Promise<readonly IndexDigest[]>;
  /** Empty: the end of the bucket. */
  indexBucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
    call: CallOptions,
  ): Promise<readonly TraceMetadata[]>;
}

export interface TraceRequest {
  readonly source: RegionId;
  readonly traceId: TraceId;
  /** Blocks that the caller's index names; the region also knows its own. */
  readonly blocks: readonly BlockId[];
  readonly bytesMax: number;
}

export interface RegionTrace {
  readonly segments: readonly RegionSegment[];
  readonly truncated: boolean;
  /** Parts of the region that could not be asked: the answer may lack spans. */
  readonly missing: readonly MissingPart[];
}

export interface RegionSegment {
  /** OTLP TracesData. */
  readonly payload: Buffer;
  readonly live: boolean;
  readonly receivedFirstMs: number;
  readonly receivedLastMs: number;
  readonly metadata: TraceMetadata;
}

export interface MissingPart {
  readonly part: string;
  readonly reason: string;
  readonly sinceMs: number;
}

export interface RegionSearchPage {
  readonly matches: readonly { readonly position: SearchPosition; readonly metadata: TraceMetadata }[];
  readonly next: SearchPosition | null;
  readonly missing: readonly MissingPart[];
}

export interface RegionStatus {
  readonly region: RegionId;
  readonly parts: readonly PartHealth[];
  readonly links: readonly LinkStatus[];
  readonly startedMs: number;
}

export interface LinkStatus {
  readonly from: RegionId;
  /** Age of the oldest record that is there and not here; 0 when caught up. */
  readonly lagMs: number;
  readonly state: 'up' | 'behind' | 'down';
}

export interface FollowedRecords {
  readonly records: readonly LogRecord[];
  /** End of the partition at the source when this was read. */
  readonly endOffset: number;
}
