import { metadataCounts } from '../../global/index/join.js';
import type { TraceIndexReader } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import type { SearchPosition, SpanQuery } from '../../global/model/query.js';
import type { MissingPart, RegionSearchPage } from '../../global/region-api/region-client.js';
import { type CallContext, type CallResult, callRegion } from '../fanout/call-region.js';
import { remainingMs, withTimeLimit } from '../fanout/deadline.js';
import { isoTime, type RegionPeer, roundMs, skippedOutcome } from '../fanout/fetch-trace.js';
import { REASON_CHARACTERS_MAX, type RegionOutcome } from '../fanout/outcome.js';
import { checkSearchPage } from './check-page.js';
import type { TraceSummary } from './known-trace.js';
import { SearchMerge, type SearchMergeOptions } from './search-merge.js';
import type { SearchRegionPlan } from './search-plan.js';

export interface SearchRun extends Pick<SearchMergeOptions, 'limit' | 'last' | 'emitted' | 'regions' | 'services'> {
  readonly query: SpanQuery;
  readonly plan: readonly SearchRegionPlan[];
}

export interface SearchDependencies {
  readonly index: TraceIndexReader;
  readonly peers: ReadonlyMap<RegionId, RegionPeer>;
  readonly context: CallContext;
  /** The most time that one question to the index may take. */
  readonly indexMsMax: number;
  /** Matches asked of a region at a time, where the page is smaller than that. */
  readonly pageMatchesMin: number;
}

export interface SearchRunResult {
  readonly traces: readonly TraceSummary[];
  readonly next: ReturnType<SearchMerge['next']>;
  /** One per region of the plan, in its order. */
  readonly outcomes: readonly RegionOutcome[];
  readonly indexFailed: boolean;
  /** Why the page holds fewer traces than there are, where it does. */
  readonly cutBy: 'deadline' | 'held' | 'calls' | null;
}

/** Pages read from one region for one answer. */
export const PAGES_PER_REGION_MAX = 200;
/** Traces held back at a time, waiting for their place. */
export const HELD_TRACES_MAX = 20_000;

interface RegionProgress {
  pages: number;
  spans: number;
  matches: number;
  tookMs: number;
  failure: Extract<CallResult<never>, { ok: false }> | null;
  readonly missing: Map<string, MissingPart>;
}

/** Runs one page of a search: reads regions as far as the order needs, each at its own pace, and comes back by the deadline. */
export async function runSearch(run: SearchRun, deps: SearchDependencies): Promise<SearchRunResult> {
  const { clock, deadline } = deps.context;
  const asked = new Set(run.plan.filter((p) => p.action === 'ask').map((p) => p.region));
  const merge = new SearchMerge({
    ...run,
    regions: run.regions.filter((r) => asked.has(r.region)),
    nowUnixNano: clock.nowUnixNano(),
  });
  const progress = new Map<RegionId, RegionProgress>();
  for (const region of asked) {
    progress.set(region, { pages: 0, spans: 0, matches: 0, tookMs: 0, failure: null, missing: new Map() });
  }
  const enough = new AbortController();
  const signal = deps.context.signal ? AbortSignal.any([deps.context.signal, enough.signal]) : enough.signal;
  const context: CallContext = { ...deps.context, signal };
  const inFlight = new Map<RegionId, Promise<void>>();
  let indexFailed = false;
  let cutBy: SearchRunResult['cutBy'] = null;

  const read = async (region: RegionId, after: SearchPosition | null, limit: number): Promise<void> => {
    const state = progress.get(region)!;
    const peer = deps.peers.get(region);
    state.pages++;
    const result = await readPage(run.query, region, peer, after, limit, context);
    inFlight.delete(region);
    state.tookMs += result.tookMs;
    if (!result.ok) {
      state.failure = result;
      merge.fail(region);
      return;
    }
    for (const part of result.value.missing) state.missing.set(part.part, part);
    state.matches += result.value.matches.length;
    for (const { metadata } of result.value.matches) state.spans += metadataCounts(metadata).spanCount;
    merge.accept(region, result.value);
  };

  for (;;) {
    const ids = merge.unlocated();
    if (ids.length > 0) indexFailed = !(await locateAll(ids, merge, deps)) || indexFailed;
    merge.settle();
    // A page that came while the index was asked brought traces that hold up those behind them: they are asked about first.
    if (merge.results.length < run.limit && merge.unlocated().length > 0) continue;
    const wanted = merge.wanted();
    if (wanted.length === 0) break;
    if (merge.heldCount > HELD_TRACES_MAX) cutBy = 'held';
    else if (remainingMs(clock, deadline) <= 0) cutBy = 'deadline';
    else if (wanted.some((w) => progress.get(w.region)!.pages >= PAGES_PER_REGION_MAX)) cutBy = 'calls';
    if (cutBy) break;
    const limit = Math.min(LIMITS.searchLimitMax, Math.max(deps.pageMatchesMin, run.limit));
    for (const { region, after } of wanted) {
      if (!inFlight.has(region)) inFlight.set(region, read(region, after, limit));
    }
    await Promise.race(inFlight.values());
  }
  enough.abort();
  return {
    traces: merge.results,
    next: merge.next(),
    outcomes: run.plan.map((p) => outcomeOf(p, progress.get(p.region), deps.peers.get(p.region))),
    indexFailed,
    cutBy,
  };
}

async function readPage(
  query: SpanQuery,
  region: RegionId,
  peer: RegionPeer | undefined,
  after: SearchPosition | null,
  limit: number,
  context: CallContext,
): Promise<CallResult<RegionSearchPage>> {
  if (!peer) {
    const reason = 'this router has no client for the region';
    const failure = { state: 'unavailable', code: 'configuration', reason, retriable: false, counts: false } as const;
    return { ok: false, failure, sinceMs: context.clock.nowMs(), tookMs: 0, attempts: 0 };
  }
  return callRegion(context, peer.health, `searching ${region}`, async (call) => {
    const page = await peer.client.search({ query, source: region, after, limit }, call);
    checkSearchPage(page, region, after, limit);
    return page;
  });
}

const LOCATE_IDS_MAX = 1000;

/** Asks the index about the ids; false where it could not tell. */
async function locateAll(ids: readonly TraceId[], merge: SearchMerge, deps: SearchDependencies): Promise<boolean> {
  const { clock, deadline, signal } = deps.context;
  for (let at = 0; at < ids.length; at += LOCATE_IDS_MAX) {
    const some = ids.slice(at, at + LOCATE_IDS_MAX);
    try {
      const ms = Math.min(deps.indexMsMax, remainingMs(clock, deadline));
      const locations = await withTimeLimit(clock, ms, signal, 'asking the index', () =>
        // Only records are joined into summaries; nothing is concluded from their absence.
        deps.index.locate(some, { exactOnly: true }),
      );
      some.forEach((id, i) => {
        merge.located(id, locations[i] ?? null);
      });
    } catch {
      for (const id of ids.slice(at)) merge.located(id, null);
      return false;
    }
  }
  return true;
}

function outcomeOf(
  plan: SearchRegionPlan,
  state: RegionProgress | undefined,
  peer: RegionPeer | undefined,
): RegionOutcome {
  const { region } = plan;
  if (!state) return skippedOutcome(region, plan.why, peer);
  const tookMs = roundMs(state.tookMs);
  if (state.failure) {
    const { failure, sinceMs } = state.failure;
    const since = isoTime(sinceMs);
    return {
      region,
      state: failure.state,
      reason: failure.reason,
      since,
      source: 'none',
      spanCount: state.spans,
      tookMs,
    };
  }
  const missing = [...state.missing.values()];
  const gap =
    missing.length === 0
      ? {}
      : {
          reason: missing
            .map((m) => `${m.part}: ${m.reason}`)
            .join('; ')
            .slice(0, REASON_CHARACTERS_MAX),
          since: isoTime(Math.min(...missing.map((m) => m.sinceMs))),
        };
  if (state.matches > 0) return { region, state: 'answered', ...gap, source: 'store', spanCount: state.spans, tookMs };
  return { region, state: missing.length > 0 ? 'unavailable' : 'empty', ...gap, source: 'none', spanCount: 0, tookMs };
}
