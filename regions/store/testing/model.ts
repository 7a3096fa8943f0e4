import type { TraceId } from '../../../global/model/ids.js';
import { compareSearchPositions, type SearchPosition, type SpanQuery } from '../../../global/model/query.js';
import { minNano } from '../../../global/model/time.js';
import { UNKNOWN_SERVICE } from '../../../global/otlp/span-view.js';
import type { TestValue } from '../../../global/otlp/testing/test-spans.js';
import type { TestSpan } from './blocks.js';

/** A segment as the tests remember it. */
export interface ModelSegment {
  readonly traceId: TraceId;
  readonly spans: readonly TestSpan[];
}

/** The whole range of starts. */
export const ANY_TIME = { startUnixNanoMin: 0n, startUnixNanoMax: (1n << 64n) - 1n };

export function query(conditions: Partial<SpanQuery> = {}): SpanQuery {
  return { attributes: [], ...ANY_TIME, ...conditions };
}

export function positionOf(segment: ModelSegment): SearchPosition {
  const starts = segment.spans.map(({ start }) => start);
  return { startUnixNano: starts.reduce(minNano), traceId: segment.traceId };
}

/** What a search has to answer, told from the objects that the bytes were made of. */
export function expectedPage(
  segments: readonly ModelSegment[],
  wanted: SpanQuery,
  after: SearchPosition | null,
  limit: number,
): SearchPosition[] {
  const page = new Map<TraceId, SearchPosition>();
  const positions = segments.filter((segment) => segmentMatches(segment, wanted)).map(positionOf);
  for (const position of positions.sort(compareSearchPositions)) {
    if (after && compareSearchPositions(position, after) <= 0) continue;
    if (page.size < limit && !page.has(position.traceId)) page.set(position.traceId, position);
  }
  return [...page.values()];
}

export function segmentMatches(segment: ModelSegment, wanted: SpanQuery): boolean {
  if (wanted.traceIds && !wanted.traceIds.includes(segment.traceId)) return false;
  return segment.spans.some((span) => spanMatches(span, wanted));
}

function spanMatches(span: TestSpan, wanted: SpanQuery): boolean {
  const end = span.end ?? span.start + 1000n;
  const duration = end < span.start ? 0n : end - span.start;
  return (
    (wanted.service === undefined || (span.service || UNKNOWN_SERVICE) === wanted.service) &&
    (wanted.operation === undefined || (span.name ?? 'operation') === wanted.operation) &&
    (wanted.error === undefined || (span.error ?? false) === wanted.error) &&
    (wanted.kind === undefined || (span.kind ?? 0) === wanted.kind) &&
    (wanted.durationNanoMin === undefined || duration >= wanted.durationNanoMin) &&
    (wanted.durationNanoMax === undefined || duration <= wanted.durationNanoMax) &&
    span.start >= wanted.startUnixNanoMin &&
    span.start <= wanted.startUnixNanoMax &&
    wanted.attributes.every(({ key, value }) => {
      const resource: Record<string, TestValue> = { ...span.resource };
      if (span.service !== undefined) resource['service.name'] = span.service;
      const own = span.attributes ?? {};
      const found = Object.hasOwn(own, key) ? own[key] : Object.hasOwn(resource, key) ? resource[key] : undefined;
      return found !== undefined && String(found) === value;
    })
  );
}
