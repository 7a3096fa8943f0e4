import type { RegionId, TraceId } from './ids.js';

/**
 * A search. All conditions except `services` hold on one and the same span; a trace matches where one of its spans does.
 * Times are inclusive. An absent condition does not restrict.
 */
export interface SpanQuery {
  readonly service?: string;
  readonly operation?: string;
  /** Exact match on span attributes, then on resource attributes; numbers and booleans by their decimal or literal text. */
  readonly attributes: readonly AttributeCondition[];
  /** True: status is error. False: it is not. */
  readonly error?: boolean;
  /** OTLP SpanKind, 0 to 5. */
  readonly kind?: number;
  readonly durationNanoMin?: bigint;
  readonly durationNanoMax?: bigint;
  /** The span starts in this range. */
  readonly startUnixNanoMin: bigint;
  readonly startUnixNanoMax: bigint;
  /** Restricts to these traces, where given (at most 1,000). */
  readonly traceIds?: readonly TraceId[];
}

export interface AttributeCondition {
  readonly key: string;
  readonly value: string;
}

/**
 * A place in a region's search order: segments by start (newest first), then by trace id (ascending). A page goes on
 * strictly after it.
 */
export interface SearchPosition {
  readonly startUnixNano: bigint;
  readonly traceId: TraceId;
}

/** The part of a search that a router decides, beyond the conditions. */
export interface SearchRequest {
  readonly query: SpanQuery;
  readonly source: RegionId;
  readonly after: SearchPosition | null;
  /** 1 to 1,000. */
  readonly limit: number;
}

/** Negative where `a` comes before `b` in search order. */
export function compareSearchPositions(a: SearchPosition, b: SearchPosition): number {
  if (a.startUnixNano !== b.startUnixNano) return a.startUnixNano > b.startUnixNano ? -1 : 1;
  return a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0;
}
