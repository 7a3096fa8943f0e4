import pLimit from 'p-limit';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { RegionReads, RegionTrace } from '../../global/region-api/region-client.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { RegionPlan, TracePlan } from '../plan/trace-plan.js';
import { type CallContext, type CallResult, callRegion } from './call-region.js';
import { checkTracePayload } from './check-payload.js';
import { REASON_CHARACTERS_MAX, type RegionOutcome } from './outcome.js';
import type { RegionHealth } from './region-health.js';

/** One region as the fan-out sees it. */
export interface RegionPeer {
  readonly region: RegionId;
  readonly client: RegionReads;
  readonly health: RegionHealth;
}

/** Calls in flight for one request; a fleet has at most 100 regions, so a hung region never keeps another waiting. */
export const PARALLEL_CALLS_MAX = 100;

/** What one region gave, checked: every payload is OTLP and holds spans of this trace only. */
export interface RegionPart {
  readonly region: RegionId;
  readonly payloads: readonly Buffer[];
  readonly truncated: boolean;
}

export interface FetchedTrace {
  readonly parts: readonly RegionPart[];
  /** One per configured region, in the order of the plan. */
  readonly outcomes: readonly RegionOutcome[];
  /** Regions that were asked, whether or not they answered. */
  readonly asked: number;
  readonly failed: number;
}

/**
 * Asks the regions that the plan names, all at once, and comes back by the deadline with what they gave and what became of each.
 * Never rejects for a region's sake. Order of parts: that of the plan.
 */
export async function fetchTrace(
  plan: TracePlan,
  peers: ReadonlyMap<RegionId, RegionPeer>,
  context: CallContext,
  bytesMax: number,
): Promise<FetchedTrace> {
  const limit = pLimit(PARALLEL_CALLS_MAX);
  const fetched = await Promise.all(
    plan.regions.map(async (step) => {
      const peer = peers.get(step.region);
      if (step.action === 'skip') return { outcome: skippedOutcome(step.region, step.why, peer), part: null };
      if (!peer) return { outcome: noClientOutcome(step.region), part: null };
      const result = await limit(() => callForTrace(plan.traceId, step, peer, context, bytesMax));
      return describe(step.region, result);
    }),
  );
  const outcomes = fetched.map((f) => f.outcome);
  return {
    outcomes,
    parts: fetched.flatMap((f) => (f.part ? [f.part] : [])),
    asked: plan.regions.filter((r) => r.action === 'ask').length,
    failed: outcomes.filter((o) => o.state === 'unavailable' || o.state === 'timeout' || o.state === 'refused').length,
  };
}

interface CheckedTrace {
  readonly answer: RegionTrace;
  readonly spanCount: number;
}

function callForTrace(
  traceId: TraceId,
  step: RegionPlan,
  { region, client, health }: RegionPeer,
  context: CallContext,
  bytesMax: number,
): Promise<CallResult<CheckedTrace>> {
  return callRegion(context, health, `asking ${region} for trace ${traceId}`, async (call) => {
    const answer = await client.getTrace({ source: region, traceId, blocks: step.blocks, bytesMax }, call);
    const bytes = answer.segments.reduce((sum, s) => sum + s.payload.length, 0);
    if (bytes > bytesMax + ONE_SEGMENT_OVER_BYTES) {
      throw new MeridianError('too-large', `${region} sent ${bytes} bytes, ${bytesMax} were asked for`, 'never');
    }
    let spanCount = 0;
    for (const { payload } of answer.segments) spanCount += checkTracePayload(payload, traceId, region);
    return { answer, spanCount };
  });
}

/** A region cuts between segments, so the last one may pass the limit. */
const ONE_SEGMENT_OVER_BYTES = 16 * 1024 * 1024;

function describe(
  region: RegionId,
  result: CallResult<CheckedTrace>,
): { outcome: RegionOutcome; part: RegionPart | null } {
  const tookMs = roundMs(result.tookMs);
  if (!result.ok) {
    const { state, reason } = result.failure;
    const since = isoTime(result.sinceMs);
    return { outcome: { region, state, reason, since, source: 'none', spanCount: 0, tookMs }, part: null };
  }
  const { answer, spanCount } = result.value;
  const gap = describeGap(answer);
  if (answer.segments.length === 0) {
    const state = gap ? 'unavailable' : 'empty';
    return { outcome: { region, state, ...gap, source: 'none', spanCount: 0, tookMs }, part: null };
  }
  const source = answer.segments.some((s) => s.live) ? 'live' : 'store';
  return {
    outcome: { region, state: 'answered', ...gap, source, spanCount, tookMs },
    part: { region, payloads: answer.segments.map((s) => s.payload), truncated: answer.truncated },
  };
}

function describeGap(answer: Pick<RegionTrace, 'missing' | 'truncated'>): { reason?: string; since?: string } | null {
  const reasons = answer.missing.map((m) => `${m.part}: ${m.reason}`);
  if (answer.truncated) reasons.push('the answer was cut at its size limit');
  if (reasons.length === 0) return null;
  const reason = reasons.join('; ').slice(0, REASON_CHARACTERS_MAX);
  const sinces = answer.missing.map((m) => m.sinceMs).filter((ms) => ms > 0);
  return sinces.length > 0 ? { reason, since: isoTime(Math.min(...sinces)) } : { reason };
}

/** A region that is down is named as such also where it is not needed. */
export function skippedOutcome(region: RegionId, why: string, peer: RegionPeer | undefined): RegionOutcome {
  const failing = peer?.health.failing();
  const base = { region, state: 'skipped', source: 'none', spanCount: 0, tookMs: 0 } as const;
  if (!failing) return { ...base, reason: why };
  return { ...base, reason: `${why} (it is failing: ${failing.failure.reason})`, since: isoTime(failing.sinceMs) };
}

function noClientOutcome(region: RegionId): RegionOutcome {
  const reason = 'this router has no client for the region';
  return { region, state: 'unavailable', reason, source: 'none', spanCount: 0, tookMs: 0 };
}

/** Milliseconds since the epoch as RFC 3339; times beyond the calendar (another region's nonsense) as the epoch. */
export function isoTime(ms: number): string {
  return new Date(Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? ms : 0).toISOString();
}

export function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100;
}
