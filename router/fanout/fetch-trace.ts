import pLimit from 'p-limit';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import type { RegionReads, RegionTrace } from '../../global/region-api/region-client.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { type AnsweredPart, answerRecord } from '../plan/answer-record.js';
import type { RegionPlan, TracePlan } from '../plan/trace-plan.js';
import { type CallContext, type CallResult, callRegion } from './call-region.js';
import { checkTracePayload } from './check-payload.js';
import { remainingMs } from './deadline.js';
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

/** What one region gave, checked: every payload is OTLP and holds spans of this trace only, at least one. */
export interface RegionPart extends AnsweredPart {
  readonly truncated: boolean;
}

export interface FetchedTrace {
  /** As it was carried out: why each region was asked or skipped in the end. */
  readonly plan: TracePlan;
  readonly parts: readonly RegionPart[];
  /** One per configured region, in the order of the plan. */
  readonly outcomes: readonly RegionOutcome[];
  readonly steps: FetchSteps;
}

/** How a plan of two steps went. `one`: it had no second; `late`: the second began before all of the first had answered. */
export type FetchSteps = 'one' | 'found' | 'not-found' | 'late';

export interface FetchLimits {
  /** One region's part of the trace. */
  readonly bytesMax: number;
  /** The second step begins after this share of the time that is left, though regions of the first have not answered; */
  readonly firstStepShare: number;
  /** and after no more than this. */
  readonly firstStepMsMax: number;
}

/**
 * Asks the regions that the plan names, all at once, and comes back by the deadline with what they gave and what became of each.
 * Never rejects for a region's sake. Order of parts: that of the plan.
 *
 * Regions that are `after-folded` wait until the others have answered, or have had their time; `replan` then says, from what was found, which of them are
 * asked. Where it was asked early it is asked again when all of the first step are there, for they may have widened what is known.
 */
export async function fetchTrace(
  first: TracePlan,
  replan: (found: readonly TraceMetadata[]) => TracePlan,
  peers: ReadonlyMap<RegionId, RegionPeer>,
  context: CallContext,
  limits: FetchLimits,
): Promise<FetchedTrace> {
  const asked = new AskedRegions(first.traceId, peers, context, limits.bytesMax);
  let plan = first;
  let steps: FetchSteps = 'one';
  asked.ask(plan);
  if (plan.regions.some(waits)) {
    const inTime = await settlesWithin(asked.all(), firstStepMs(context, limits), context);
    steps = !inTime ? 'late' : asked.found().length > 0 ? 'found' : 'not-found';
    if (!inTime) {
      const answers = asked.all();
      asked.ask(replan(asked.found()));
      await answers;
    }
    plan = replan(asked.found());
    asked.ask(plan);
  }
  await asked.all();
  const carriedOut = { ...plan, regions: plan.regions.map((step) => asked.stepOf(step.region) ?? step) };
  const outcomes = carriedOut.regions.map(
    (step) => asked.outcomeOf(step.region) ?? skippedOutcome(step.region, step.why, peers.get(step.region)),
  );
  return { plan: carriedOut, outcomes, parts: asked.parts(carriedOut), steps };
}

function waits({ code }: RegionPlan): boolean {
  return code === 'after-folded';
}

function firstStepMs({ clock, deadline }: CallContext, { firstStepShare, firstStepMsMax }: FetchLimits): number {
  return Math.min(firstStepMsMax, remainingMs(clock, deadline) * firstStepShare);
}

/** Does it, before the time is over? */
async function settlesWithin(work: Promise<unknown>, ms: number, { clock, signal }: CallContext): Promise<boolean> {
  const done = new AbortController();
  const over = AbortSignal.any(signal ? [done.signal, signal] : [done.signal]);
  try {
    return await Promise.race([work.then(() => true), clock.sleep(ms, over).then(() => false)]);
  } finally {
    done.abort();
  }
}

/** The regions that have been asked for one trace, each once; and what they have answered so far. */
class AskedRegions {
  readonly #limit = pLimit(PARALLEL_CALLS_MAX);
  readonly #steps = new Map<RegionId, RegionPlan>();
  readonly #answers = new Map<RegionId, RegionAnswer>();
  readonly #running: Promise<void>[] = [];

  constructor(
    private readonly traceId: TraceId,
    private readonly peers: ReadonlyMap<RegionId, RegionPeer>,
    private readonly context: CallContext,
    private readonly bytesMax: number,
  ) {}

  /** Asks the regions that are to be asked now and have not been. */
  ask(plan: TracePlan): void {
    for (const step of plan.regions) {
      if (step.action === 'skip' || waits(step) || this.#steps.has(step.region)) continue;
      this.#steps.set(step.region, step);
      this.#running.push(this.#askOne(step));
    }
  }

  async #askOne(step: RegionPlan): Promise<void> {
    const { traceId, context, bytesMax } = this;
    const peer = this.peers.get(step.region);
    this.#answers.set(
      step.region,
      peer
        ? describe(step.region, await this.#limit(() => callForTrace(traceId, step, peer, context, bytesMax)))
        : { outcome: noClientOutcome(step.region), part: null },
    );
  }

  /** Settles when all that have been asked by now have answered or failed. */
  async all(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** The answers with spans, as records. */
  found(): TraceMetadata[] {
    return [...this.#answers.values()].flatMap(({ part }) => (part ? [answerRecord(this.traceId, part)] : []));
  }

  stepOf(region: RegionId): RegionPlan | undefined {
    return this.#steps.get(region);
  }

  outcomeOf(region: RegionId): RegionOutcome | undefined {
    return this.#answers.get(region)?.outcome;
  }

  parts(plan: TracePlan): RegionPart[] {
    return plan.regions.flatMap(({ region }) => this.#answers.get(region)?.part ?? []);
  }
}

interface RegionAnswer {
  readonly outcome: RegionOutcome;
  readonly part: RegionPart | null;
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

function describe(region: RegionId, result: CallResult<CheckedTrace>): RegionAnswer {
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
    part: {
      region,
      payloads: answer.segments.map((s) => s.payload),
      flags: answer.segments.reduce((flags, { metadata }) => flags | metadata.flags, 0),
      truncated: answer.truncated,
    },
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
