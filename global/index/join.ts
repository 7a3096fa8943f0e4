import { type Coverage, MetadataFlag, type RootSpan, type TraceMetadata } from '../model/metadata.js';
import { maxNano, minNano } from '../model/time.js';
import { invariant } from '../runtime/errors.js';
import { encodeTraceMetadata } from './feed-codec.js';
import { FEED_LIMITS } from './feed-limits.js';

/**
 * Joins two records of one trace and region: the least record that says what both say. Commutative, associative, idempotent (for
 * records within the limits), so that repeats, order, gaps and other cuts into segments do not matter:
 *
 *   start        the smaller                  flags     the union
 *   end          the larger                   blocks    the union, the smallest `blocksPerTraceMax` of it: a record with
 *   root         the earlier; then by service           that many may lack some
 *                and operation, ascending
 *   coverage     the union by (key, service), the larger of each count; of it the smallest `coverageEntriesMax`
 *                by key and service, with the flag `countsAtLeast` where something fell off
 *
 * Keeping the smallest k of a union is associative because an entry that falls off somewhere has k smaller ones, which stay.
 */
export function joinMetadata(a: TraceMetadata, b: TraceMetadata): TraceMetadata {
  invariant(
    a.traceId === b.traceId && a.region === b.region,
    `join of ${a.traceId}@${a.region}, ${b.traceId}@${b.region}`,
  );
  const union = mergeSorted(a.coverage, b.coverage, compareCoverage, largerCounts);
  const cut = union.length > FEED_LIMITS.coverageEntriesMax;
  return {
    traceId: a.traceId,
    region: a.region,
    startUnixNano: minNano(a.startUnixNano, b.startUnixNano),
    endUnixNano: maxNano(a.endUnixNano, b.endUnixNano),
    root: earlierRoot(a.root, b.root),
    coverage: cut ? union.slice(0, FEED_LIMITS.coverageEntriesMax) : union,
    flags: a.flags | b.flags | (cut ? MetadataFlag.countsAtLeast : 0),
    blocks: mergeSorted(a.blocks, b.blocks, compareText, (x) => x).slice(0, FEED_LIMITS.blocksPerTraceMax),
  };
}

function mergeSorted<T>(
  a: readonly T[],
  b: readonly T[],
  compare: (x: T, y: T) => number,
  both: (x: T, y: T) => T,
): readonly T[] {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const merged: T[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const order = compare(a[i]!, b[j]!);
    if (order < 0) merged.push(a[i++]!);
    else if (order > 0) merged.push(b[j++]!);
    else merged.push(both(a[i++]!, b[j++]!));
  }
  while (i < a.length) merged.push(a[i++]!);
  while (j < b.length) merged.push(b[j++]!);
  return merged;
}

/** The order of coverage: by key, then by service. */
export function compareCoverage(a: Coverage, b: Coverage): number {
  return a.key - b.key || compareText(a.service, b.service);
}

function largerCounts(a: Coverage, b: Coverage): Coverage {
  if (a.spanCount >= b.spanCount && a.errorCount >= b.errorCount) return a;
  return {
    key: a.key,
    service: a.service,
    spanCount: Math.max(a.spanCount, b.spanCount),
    errorCount: Math.max(a.errorCount, b.errorCount),
  };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function earlierRoot(a: RootSpan | null, b: RootSpan | null): RootSpan | null {
  if (!a) return b;
  if (!b) return a;
  if (a.startUnixNano !== b.startUnixNano) return a.startUnixNano < b.startUnixNano ? a : b;
  return (compareText(a.service, b.service) || compareText(a.operation, b.operation)) <= 0 ? a : b;
}

export interface ServiceCounts {
  readonly name: string;
  readonly spanCount: number;
  readonly errorCount: number;
}

/** Spans and errors that the record counts; lower bounds where the flag `countsAtLeast` is set. */
export function metadataCounts(metadata: TraceMetadata): { spanCount: number; errorCount: number } {
  let spanCount = 0;
  let errorCount = 0;
  for (const entry of metadata.coverage) {
    spanCount += entry.spanCount;
    errorCount += entry.errorCount;
  }
  return { spanCount, errorCount };
}

/** The counts by service, in order of name. */
export function servicesOf(metadata: TraceMetadata): ServiceCounts[] {
  const services = new Map<string, { name: string; spanCount: number; errorCount: number }>();
  for (const { service, spanCount, errorCount } of metadata.coverage) {
    const counts = services.get(service) ?? { name: service, spanCount: 0, errorCount: 0 };
    counts.spanCount += spanCount;
    counts.errorCount += errorCount;
    services.set(service, counts);
  }
  return [...services.values()].sort((a, b) => compareText(a.name, b.name));
}

/** Bytes that are equal exactly where two records are, but for their blocks: what digests hash. */
export function canonicalBytes(metadata: TraceMetadata): Buffer {
  return encodeTraceMetadata(metadata.blocks.length === 0 ? metadata : { ...metadata, blocks: [] });
}
