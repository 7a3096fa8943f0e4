import pLimit from 'p-limit';
import type { SpanQuery } from '../../global/model/query.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';
import { remainingMs } from '../fanout/deadline.js';
import type { RegionOutcome } from '../fanout/outcome.js';
import type { MergeWarning } from '../merge/merge-span.js';
import type { RegionPayload } from '../merge/merge-trace.js';
import type { QueryContext, RequestBudget } from './query-context.js';
import { querySearch } from './search-query.js';
import { queryTrace } from './trace-query.js';

export interface ServiceDependency {
  readonly parent: string;
  readonly child: string;
  readonly callCount: number;
  readonly errorCount: number;
}

export interface DependenciesAnswer {
  /** Most calls first, then by name. */
  readonly dependencies: readonly ServiceDependency[];
  /** How many traces were counted. */
  readonly traceCount: number;
  readonly complete: boolean;
  readonly nothingAsked: boolean;
  readonly outcomes: readonly RegionOutcome[];
  readonly warnings: readonly MergeWarning[];
}

/** Whole traces read at a time. */
const TRACES_AT_ONCE = 8;

/** Counts calls between services on the newest whole traces of the window, as many as the deadline allows. */
export async function queryDependencies(
  context: QueryContext,
  window: Pick<SpanQuery, 'startUnixNanoMin' | 'startUnixNanoMax'>,
  budget: RequestBudget,
): Promise<DependenciesAnswer> {
  const search = await querySearch(
    context,
    {
      query: { attributes: [], ...window },
      services: [],
      only: null,
      limit: context.limits.dependencyTracesMax,
      cursor: null,
      canonical: '',
    },
    budget,
  );
  const counts = new DependencyCounts();
  const limit = pLimit(TRACES_AT_ONCE);
  let traceCount = 0;
  let partial = 0;
  await Promise.all(
    search.traces.map(({ traceId }) =>
      limit(async () => {
        if (remainingMs(context.clock, budget.regions) <= 0) return;
        const trace = await queryTrace(context, traceId, budget);
        if (!trace.complete) partial++;
        if (trace.spanCount === 0) return;
        counts.add(trace.payloads);
        traceCount++;
      }),
    ),
  );
  const warnings = [...search.warnings];
  const left = search.traces.length - traceCount;
  if (left > 0)
    warnings.push({ code: 'truncated', message: `${left} of ${search.traces.length} traces were not read` });
  if (partial > 0) warnings.push({ code: 'region-missing', message: `${partial} traces were read in part` });
  return {
    dependencies: counts.list(),
    traceCount,
    complete: search.complete && left === 0 && partial === 0,
    nothingAsked: search.nothingAsked,
    outcomes: search.outcomes,
    warnings,
  };
}

/** Counts spans whose parent is a span of another service. Works on bytes. */
export class DependencyCounts {
  readonly #counts = new Map<string, { parent: string; child: string; callCount: number; errorCount: number }>();

  add(payloads: readonly RegionPayload[]): void {
    const services = new Map<string, string>();
    const calls: { parentSpanId: string; service: string; error: boolean }[] = [];
    for (const { payload } of payloads) {
      forEachSpan(payload, (span) => {
        const { buffer, spanIdAt, parentSpanIdAt } = span;
        const service = buffer.toString('utf8', span.serviceStart, span.serviceEnd) || UNKNOWN_SERVICE;
        const spanId = buffer.toString('latin1', spanIdAt, spanIdAt + 8);
        // Where client and server share an id (Zipkin), the server's service is the one that its children see.
        if (!services.has(spanId) || span.kind === 2) services.set(spanId, service);
        if (parentSpanIdAt >= 0) {
          const parentSpanId = buffer.toString('latin1', parentSpanIdAt, parentSpanIdAt + 8);
          calls.push({ parentSpanId, service, error: span.statusCode === 2 });
        }
        return true;
      });
    }
    for (const { parentSpanId, service, error } of calls) {
      const parent = services.get(parentSpanId);
      if (parent === undefined || parent === service) continue;
      const key = `${parent}\u0000${service}`;
      const count = this.#counts.get(key) ?? { parent, child: service, callCount: 0, errorCount: 0 };
      count.callCount++;
      if (error) count.errorCount++;
      this.#counts.set(key, count);
    }
  }

  list(): ServiceDependency[] {
    return [...this.#counts.values()].sort(
      (a, b) => b.callCount - a.callCount || compare(a.parent, b.parent) || compare(a.child, b.child),
    );
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
