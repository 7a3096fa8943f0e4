import type { RegionId } from '../../global/model/ids.js';
import type { SpanQuery } from '../../global/model/query.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { leavesGap, type RegionOutcome } from '../fanout/outcome.js';
import type { MergeWarning } from '../merge/merge-span.js';
import { conditionsHash, decodeCursor, encodeCursor, type SearchCursor } from '../search/cursor.js';
import type { TraceSummary } from '../search/known-trace.js';
import { runSearch, type SearchRunResult } from '../search/run-search.js';
import { planSearch, type SearchRegionPlan } from '../search/search-plan.js';
import { askIndex, callContext, planRegions, type QueryContext, type RequestBudget } from './query-context.js';
import { gapWarnings } from './trace-query.js';

export interface TraceSearch {
  readonly query: SpanQuery;
  /** Each of these occurs somewhere in the trace, in whatever region; the first is the span condition's. */
  readonly services: readonly string[];
  readonly only: ReadonlySet<RegionId> | null;
  readonly limit: number;
  readonly cursor: string | null;
  /** The conditions and the window as the caller wrote them: a cursor is bound to this. */
  readonly canonical: string;
}

export interface SearchAnswer {
  readonly traces: readonly TraceSummary[];
  readonly nextCursor: string | null;
  readonly outcomes: readonly RegionOutcome[];
  readonly complete: boolean;
  readonly nothingAsked: boolean;
  readonly plan: readonly SearchRegionPlan[];
  readonly warnings: readonly MergeWarning[];
}

/** One page of a search over all regions. Throws `invalid` or `unknown-version` for a cursor that does not fit. */
export async function querySearch(
  context: QueryContext,
  search: TraceSearch,
  budget: RequestBudget,
): Promise<SearchAnswer> {
  const cursor = search.cursor === null ? null : openCursor(search.cursor, search.canonical);
  // Pages of one search share the window of the first: `timeRange=5m` must not move on between them.
  const query: SpanQuery = cursor
    ? { ...search.query, startUnixNanoMin: cursor.startUnixNanoMin, startUnixNanoMax: cursor.startUnixNanoMax }
    : search.query;
  const service = query.service ?? null;
  const index =
    service === null
      ? null
      : await askIndex(context, budget, async () => {
          // In this order: a catalogue that is older than its watermarks would prove too much.
          const watermarks = await context.index.watermarks();
          const catalogue = await context.index.catalogue();
          const catalogueTotals = await context.index.catalogueTotals();
          return { catalogue, catalogueTotals, watermarks };
        });
  const plan = planSearch({
    regions: planRegions(context.fleet),
    only: search.only,
    service,
    index,
    lagNanoMax: context.limits.catalogueLagNanoMax,
    nowUnixNano: context.clock.nowUnixNano(),
  });
  const result = await runSearch(
    {
      query,
      plan,
      services: search.services,
      limit: search.limit,
      last: cursor?.last ?? null,
      emitted: cursor?.emitted ?? [],
      regions: plan.map(({ region }) => ({
        region,
        resume: cursor?.regions.find((r) => r.region === region)?.resume ?? { kind: 'beginning' },
      })),
    },
    {
      index: context.index,
      peers: context.peers,
      context: callContext(context, budget),
      pageMatchesMin: context.limits.pageMatchesMin,
      indexMsMax: Math.min(context.limits.indexMsMax, budget.deadlineMs * context.limits.indexShare),
    },
  );
  context.metrics.outcomes('search', result.outcomes);
  const next: SearchCursor | null = result.next && {
    queryHash: conditionsHash(search.canonical),
    startUnixNanoMin: query.startUnixNanoMin,
    startUnixNanoMax: query.startUnixNanoMax,
    ...result.next,
  };
  return {
    traces: result.traces,
    nextCursor: next && encodeCursor(next),
    outcomes: result.outcomes,
    complete: !result.outcomes.some(leavesGap) && result.cutBy === null && !result.indexFailed,
    nothingAsked:
      result.traces.length === 0 &&
      plan.some((p) => p.action === 'ask') &&
      !result.outcomes.some((o) => o.state === 'answered' || o.state === 'empty'),
    plan,
    warnings: [...gapWarnings(result.outcomes), ...cutWarnings(result)],
  };
}

function openCursor(text: string, canonical: string): SearchCursor {
  const cursor = decodeCursor(text);
  if (cursor.queryHash !== conditionsHash(canonical)) {
    throw new MeridianError('invalid', 'cursor: it belongs to a search with other conditions', 'never');
  }
  return cursor;
}

function cutWarnings({ indexFailed, cutBy, traces }: SearchRunResult): MergeWarning[] {
  const warnings: MergeWarning[] = [];
  if (indexFailed) {
    warnings.push({
      code: 'index-unavailable',
      message: 'the index could not be read: summaries, and the order of traces that span regions, may lack parts',
    });
  }
  if (cutBy) {
    const why = {
      deadline: 'the deadline came',
      held: 'too many traces were waiting for their place in the order',
      calls: 'too many pages were read',
    }[cutBy];
    const hint = traces.length === 0 ? 'allow a longer deadline or narrow the search' : 'go on with nextCursor';
    warnings.push({ code: 'truncated', message: `${why} before the page was full; ${hint}` });
  }
  return warnings;
}
