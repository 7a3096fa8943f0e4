import type { Fleet } from '../../global/fleet/fleet.js';
import type { CatalogueReader, TraceIndexReader, TraceLocation } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import type { DedupeLimits } from '../../global/otlp/join.js';
import type { Clock } from '../../global/runtime/clock.js';
import { CALL_POLICY_DEFAULTS, type CallContext, type CallPolicy } from '../fanout/call-region.js';
import { type Deadline, deadlineIn, remainingMs, withTimeLimit } from '../fanout/deadline.js';
import type { RegionPeer } from '../fanout/fetch-trace.js';
import type { TracePlanInput } from '../plan/trace-plan.js';
import type { RouterMetrics } from './router-metrics.js';

/** The named limits and times of a router's queries. */
export interface QueryLimits {
  /** How long after a trace's end a region may still append spans of it. */
  readonly graceNano: bigint;
  /** A region's feed may be this far behind and still prove that it never saw a service. */
  readonly catalogueLagNanoMax: bigint;
  readonly indexMsMax: number;
  /** Share of a deadline that the index may take. */
  readonly indexShare: number;
  /** Kept for merging and encoding: this share of the deadline, but no more than `reserveMsMax`. */
  readonly reserveShare: number;
  readonly reserveMsMax: number;
  /** Regions that may have a folded part are waited for with this share of what is left of a deadline before the others are asked, */
  readonly firstStepShare: number;
  /** but no longer than this. */
  readonly firstStepMsMax: number;
  /** One region's part of a trace. */
  readonly regionBytesMax: number;
  /** A whole trace, from all regions. */
  readonly join: DedupeLimits;
  /** Spans of one trace shown as native JSON. */
  readonly jsonSpansMax: number;
  /** Traces that the service graph is counted on. */
  readonly dependencyTracesMax: number;
  /** Matches asked of a region at a time in a search. */
  readonly pageMatchesMin: number;
  readonly calls: CallPolicy;
}

export const QUERY_LIMITS: QueryLimits = {
  graceNano: 600_000_000_000n,
  catalogueLagNanoMax: 1_000_000_000n,
  indexMsMax: 1000,
  indexShare: 0.25,
  reserveShare: 0.1,
  reserveMsMax: 100,
  firstStepShare: 0.4,
  firstStepMsMax: 1000,
  regionBytesMax: 64 * 1024 * 1024,
  join: { spanCountMax: LIMITS.traceSpansMax, bytesMax: LIMITS.traceBytesMax },
  jsonSpansMax: 100_000,
  dependencyTracesMax: 200,
  pageMatchesMin: 50,
  calls: CALL_POLICY_DEFAULTS,
};

/** What every query works with. Nothing in it is state that a router could not lose. */
export interface QueryContext {
  readonly home: RegionId;
  readonly fleet: Fleet;
  readonly index: TraceIndexReader & CatalogueReader;
  readonly peers: ReadonlyMap<RegionId, RegionPeer>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly limits: QueryLimits;
  readonly metrics: RouterMetrics;
}

/** The times of one request: by when regions have to answer so that the caller hears in time. */
export interface RequestBudget {
  readonly deadlineMs: number;
  readonly regions: Deadline;
  readonly signal: AbortSignal;
}

export function requestBudget(context: QueryContext, deadlineMs: number, signal: AbortSignal): RequestBudget {
  const { reserveShare, reserveMsMax } = context.limits;
  const reserveMs = Math.min(reserveMsMax, deadlineMs * reserveShare);
  return { deadlineMs, regions: deadlineIn(context.clock, deadlineMs - reserveMs), signal };
}

export function callContext(context: QueryContext, budget: RequestBudget): CallContext {
  return {
    clock: context.clock,
    random: context.random,
    policy: context.limits.calls,
    deadline: budget.regions,
    signal: budget.signal,
  };
}

/** Asks the index within its share of the deadline; null where it could not tell in time. */
export async function askIndex<T>(
  context: QueryContext,
  budget: RequestBudget,
  ask: () => Promise<T>,
): Promise<T | null> {
  const { indexMsMax, indexShare } = context.limits;
  const ms = Math.min(indexMsMax, budget.deadlineMs * indexShare, remainingMs(context.clock, budget.regions));
  try {
    return await withTimeLimit(context.clock, ms, budget.signal, 'asking the index', ask);
  } catch {
    context.metrics.indexFailed();
    return null;
  }
}

export async function locateTrace(
  context: QueryContext,
  budget: RequestBudget,
  traceId: TraceId,
): Promise<TraceLocation | null> {
  const locations = await askIndex(context, budget, () => context.index.locate([traceId]));
  return locations?.[0] ?? null;
}

/** The fleet's regions as plans want them. */
export function planRegions(fleet: Fleet): { readonly region: RegionId; readonly spansPartitions: number }[] {
  return fleet.regions.map((r) => ({ region: r.region, spansPartitions: r.partitions.spans }));
}

/** What a plan for the trace is made from, now; `found`: for its second step. */
export function planInput(
  { fleet, limits, clock }: QueryContext,
  traceId: TraceId,
  location: TraceLocation | null,
  found?: readonly TraceMetadata[],
): TracePlanInput {
  return {
    traceId,
    location,
    regions: planRegions(fleet),
    graceNano: limits.graceNano,
    nowUnixNano: clock.nowUnixNano(),
    ...(found ? { found } : {}),
  };
}
