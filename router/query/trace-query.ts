import type { TraceLocation } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { type DedupeLimits, dedupeSpans, spanCountOf } from '../../global/otlp/join.js';
import { type FetchedTrace, fetchTrace, isoTime } from '../fanout/fetch-trace.js';
import { failureOf, leavesGap, type RegionOutcome } from '../fanout/outcome.js';
import type { MergeWarning } from '../merge/merge-span.js';
import {
  type MergedTrace,
  mergeTrace,
  type RegionPayload,
  readViews,
  unreadableRegions,
} from '../merge/merge-trace.js';
import { planTrace, type TracePlan } from '../plan/trace-plan.js';
import { callContext, locateTrace, planInput, type QueryContext, type RequestBudget } from './query-context.js';

/** Milliseconds of each step, for `?explain=1`. */
export interface TraceTimings {
  readonly indexMs: number;
  readonly regionsMs: number;
  readonly joinMs: number;
}

/** A trace as bytes: what the regions gave, de-duplicated, and what became of each of them. */
export interface TraceAnswer {
  readonly traceId: TraceId;
  /** As it was carried out. */
  readonly plan: TracePlan;
  readonly location: TraceLocation | null;
  readonly outcomes: readonly RegionOutcome[];
  /** False where a region that may hold a part did not give all of it. */
  readonly complete: boolean;
  /** Nothing is known because no region that was asked could answer. */
  readonly nothingAsked: boolean;
  /** OTLP, in the order of the fleet; concatenated they are one `TracesData`. */
  readonly payloads: readonly RegionPayload[];
  readonly spanCount: number;
  readonly warnings: readonly MergeWarning[];
  readonly timings: TraceTimings;
}

/** Finds a trace: index, plan, fan-out, join on bytes. Comes back by the deadline, whatever the regions do. */
export async function queryTrace(context: QueryContext, traceId: TraceId, budget: RequestBudget): Promise<TraceAnswer> {
  const { clock, limits } = context;
  const startedMs = clock.monotonicMs();
  const location = await locateTrace(context, budget, traceId);
  const locatedMs = clock.monotonicMs();
  const plan = (found?: readonly TraceMetadata[]) => planTrace(planInput(context, traceId, location, found));
  const fetched = await fetchTrace(plan(), plan, context.peers, callContext(context, budget), {
    bytesMax: limits.regionBytesMax,
    firstStepShare: limits.firstStepShare,
    firstStepMsMax: limits.firstStepMsMax,
  });
  const fetchedMs = clock.monotonicMs();
  context.metrics.outcomes('trace', fetched.outcomes);
  context.metrics.steps(fetched.steps);
  const joined = joinParts(fetched, limits.join);
  context.metrics.duplicates(joined.duplicateCount);
  const outcomes = joined.duplicateCount > 0 ? recounted(fetched.outcomes, joined.payloads) : fetched.outcomes;
  const judged = judge(outcomes);
  const warnings = [...(location ? [] : [INDEX_UNAVAILABLE]), ...gapWarnings(outcomes), ...implausible(location)];
  if (joined.cutCount > 0) {
    const message = `the trace is too large: ${joined.spanCount} spans are given, ${joined.cutCount} left out`;
    warnings.push({ code: 'truncated', message });
  }
  return {
    traceId,
    plan: fetched.plan,
    location,
    outcomes,
    ...judged,
    complete: judged.complete && joined.cutCount === 0,
    payloads: joined.payloads,
    spanCount: joined.spanCount,
    warnings,
    timings: {
      indexMs: locatedMs - startedMs,
      regionsMs: fetchedMs - locatedMs,
      joinMs: clock.monotonicMs() - fetchedMs,
    },
  };
}

/** The same as objects, for JSON. Bytes of a region that turn out to be unreadable make it one that failed. */
export function mergeAnswer(
  context: QueryContext,
  fetched: TraceAnswer,
): { readonly answer: TraceAnswer; readonly merged: MergedTrace } {
  const { jsonSpansMax } = context.limits;
  const { read, failed, cut } = readViews(fetched.payloads, jsonSpansMax);
  const answer = withoutFailed(context, fetched, failed);
  const merged = mergeTrace(read);
  if (!cut) return { merged, answer };
  const message = `the trace has ${fetched.spanCount} spans, ${jsonSpansMax} are shown; ask for application/x-protobuf to get them all`;
  return {
    merged,
    answer: { ...answer, complete: false, warnings: [...answer.warnings, { code: 'truncated', message }] },
  };
}

/** The answer without the bytes of regions that cannot be read to the last attribute: what OTLP JSON is written from. */
export function readableAnswer(context: QueryContext, answer: TraceAnswer): TraceAnswer {
  return withoutFailed(context, answer, unreadableRegions(answer.payloads));
}

function withoutFailed(
  context: QueryContext,
  answer: TraceAnswer,
  failed: ReadonlyMap<RegionId, unknown>,
): TraceAnswer {
  if (failed.size === 0) return answer;
  const outcomes = answer.outcomes.map((outcome): RegionOutcome => {
    const error = failed.get(outcome.region);
    if (error === undefined) return outcome;
    const failure = failureOf(error);
    const sinceMs = context.peers.get(outcome.region)?.health.readFailed(failure, 0).sinceMs ?? context.clock.nowMs();
    const { state, reason } = failure;
    return { ...outcome, state, reason, since: isoTime(sinceMs), source: 'none', spanCount: 0 };
  });
  const lost = answer.outcomes.filter((o) => failed.has(o.region)).reduce((sum, o) => sum + o.spanCount, 0);
  return {
    ...answer,
    ...judge(outcomes),
    outcomes,
    payloads: answer.payloads.filter((p) => !failed.has(p.region)),
    spanCount: Math.max(0, answer.spanCount - lost),
    warnings: [...answer.warnings, ...gapWarnings(outcomes.filter((o) => failed.has(o.region)))],
  };
}

function judge(outcomes: readonly RegionOutcome[]): Pick<TraceAnswer, 'complete' | 'nothingAsked'> {
  return {
    complete: !outcomes.some(leavesGap),
    nothingAsked: !outcomes.some((o) => o.state === 'answered' || o.state === 'empty' || o.state === 'metadata-only'),
  };
}

function joinParts(fetched: FetchedTrace, limits: DedupeLimits) {
  const regions = fetched.parts.flatMap((part) => part.payloads.map(() => part.region));
  const joined = dedupeSpans(
    fetched.parts.flatMap((part) => part.payloads),
    limits,
  );
  const payloads = joined.parts.map(
    (payload, i): RegionPayload => ({
      region: regions[joined.partIndices[i]!]!,
      payload,
    }),
  );
  return { payloads, spanCount: joined.spanCount, duplicateCount: joined.duplicateCount, cutCount: joined.cutCount };
}

/** A region counts for the spans that only it gave, or gave first: not for those that came twice. */
function recounted(outcomes: readonly RegionOutcome[], payloads: readonly RegionPayload[]): RegionOutcome[] {
  const counts = new Map<RegionId, number>();
  for (const { region, payload } of payloads) counts.set(region, (counts.get(region) ?? 0) + spanCountOf(payload));
  return outcomes.map((o) => (o.state === 'answered' ? { ...o, spanCount: counts.get(o.region) ?? 0 } : o));
}

const INDEX_UNAVAILABLE: MergeWarning = {
  code: 'index-unavailable',
  message: 'the index could not be read, so every region was asked',
};

export function gapWarnings(outcomes: readonly RegionOutcome[]): MergeWarning[] {
  return outcomes.filter(leavesGap).map(({ region, state, reason, since }) => ({
    code: state === 'answered' ? 'truncated' : 'region-missing',
    message: `${region}: ${state === 'answered' ? 'a part is missing' : state}${reason ? `, ${reason}` : ''}${since ? `, since ${since}` : ''}`,
    region,
  }));
}

function implausible(location: TraceLocation | null): MergeWarning[] {
  return (location?.records ?? [])
    .filter((record) => (record.flags & MetadataFlag.implausibleTime) !== 0)
    .map(({ region }) => ({
      code: 'implausible-times',
      message: `${region}: spans start implausibly far from when they were received; the sender's clock may be wrong`,
      region,
    }));
}
