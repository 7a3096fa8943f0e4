import type { TraceMetadata } from '../../global/model/metadata.js';
import { MetadataFlag } from '../../global/model/metadata.js';
import type { SpanQuery } from '../../global/model/query.js';

/**
 * Whether a segment with these metadata may hold a span that matches: false only where none can. Spares reading payloads; the
 * conditions themselves are checked there.
 */
export function mayMatch(metadata: TraceMetadata, query: SpanQuery): boolean {
  const { startUnixNano, endUnixNano, coverage, flags } = metadata;
  if (startUnixNano > query.startUnixNanoMax || endUnixNano < query.startUnixNanoMin) return false;
  if (query.durationNanoMin !== undefined && endUnixNano - startUnixNano < query.durationNanoMin) return false;
  // Coverage that was cut at its limit may lack a service or an error.
  if (flags & MetadataFlag.countsAtLeast) return true;
  const { service, error } = query;
  if (service === undefined && error === undefined) return true;
  return coverage.some(
    (entry) =>
      (service === undefined || entry.service === service) &&
      (error === undefined || (error ? entry.errorCount > 0 : entry.errorCount < entry.spanCount)),
  );
}
