import { FoldedParts } from '../../global/index/folded.js';
import type { TraceLocation, VouchedWatermark } from '../../global/index/trace-index.js';
import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { planTrace, type TracePlan } from '../plan/trace-plan.js';

/** One span of a simulated trace: where it is appended and when (true time), and the times that its sender's clock gave it. Seconds. */
export interface SimulatedSpan {
  readonly region: RegionId;
  readonly appendedAt: number;
  readonly start: number;
  readonly end: number;
  /** Whether it is the trace's root, which by true time starts before all others. */
  readonly root?: boolean;
}

export interface SimulatedRegion {
  readonly region: RegionId;
  /** How far the assembler's clock is off, seconds. */
  readonly clockOffset: number;
  /** Time from an append to the record in the feed, and between watermarks; seconds. */
  readonly assemblyDelay: number;
  readonly watermarkEvery: number;
  /** Link to the reading region: its delay, and times at which it is cut; seconds. */
  readonly linkDelay: number;
  readonly cuts: readonly { readonly from: number; readonly to: number }[];
  /** What was published in these times never comes to the reading region, and it knows (decision 0006). */
  readonly losses?: readonly { readonly from: number; readonly to: number }[];
}

/** How the reading copy folds old days (decision 0012). Times are true ones, in seconds; a day is as long as the model likes. */
export interface SimulatedFolding {
  readonly daySeconds: number;
  /** Folds happen at these times, in order, of what ended this long before. */
  readonly foldedAt: readonly number[];
  readonly afterSeconds: number;
  /** Days of which a filter wrongly has the trace. */
  readonly wrongHits: readonly { readonly region: RegionId; readonly day: number }[];
}

/** What a region that is asked gives: all that it has assembled, the first spans of it, or nothing because it fails. */
export type SimulatedAnswer = 'all' | 'first' | 'none';

export interface FeedModelOptions {
  readonly regions: readonly SimulatedRegion[];
  readonly spansPartitions: number;
  readonly graceSeconds: number;
  readonly folding?: SimulatedFolding;
}

/**
 * The feed as decision 0001 has it, for one trace: each region assembles a partition in order, so the record of a span is in the feed
 * before every watermark that is past its append; the link keeps that order, and delivers late or not at all while it is cut. Time is
 * true time in seconds; each clock reads it with its own offset.
 */
export class FeedModel {
  constructor(readonly options: FeedModelOptions) {}

  /** What the reading region's index knows of the trace at true time `at`. */
  locate(traceId: TraceId, spans: readonly SimulatedSpan[], at: number): TraceLocation {
    const partition = tracePartition(traceIdBytes(traceId), 0, this.options.spansPartitions);
    const records: TraceMetadata[] = [];
    const folded = new FoldedParts();
    const watermarks: VouchedWatermark[] = [];
    for (const model of this.options.regions) {
      const applied = this.#appliedUpTo(model, at);
      const record = this.#recordAt(traceId, model, spans, at, folded);
      if (record) records.push(record);
      const mark = this.#watermarkAt(model, applied);
      if (mark !== null) {
        const watermarkUnixNano = nano(mark + model.clockOffset);
        watermarks.push({
          region: model.region,
          partition,
          partitionCount: this.options.spansPartitions,
          watermarkUnixNano,
          vouchedFromUnixNano: this.#vouchedFrom(model, applied),
        });
      }
    }
    const { daySeconds = 1, wrongHits = [] } = this.options.folding ?? {};
    for (const { region, day } of wrongHits) {
      // As wide as a folded day can be, so that a hit may say anything.
      folded.add(region, nano(day * daySeconds), nano((day + 2) * daySeconds));
    }
    return { traceId, records, ...folded.member(), watermarks };
  }

  /** What a router whose clock is off by `clockOffset` would do at true time `at`, in its first step; with `found`, in its second. */
  plan(
    traceId: TraceId,
    spans: readonly SimulatedSpan[],
    at: number,
    clockOffset: number,
    found?: readonly TraceMetadata[],
  ): TracePlan {
    return planTrace({
      traceId,
      location: this.locate(traceId, spans, at),
      regions: this.options.regions.map((r) => ({ region: r.region, spansPartitions: this.options.spansPartitions })),
      graceNano: BigInt(this.options.graceSeconds) * 1_000_000_000n,
      nowUnixNano: nano(at + clockOffset),
      ...(found ? { found } : {}),
    });
  }

  /** What a region answers at true time `at`, as a record; null: no span. */
  answer(
    traceId: TraceId,
    spans: readonly SimulatedSpan[],
    at: number,
    of: RegionId,
    how: SimulatedAnswer,
  ): TraceMetadata | null {
    const model = this.options.regions.find(({ region }) => region === of)!;
    const held = spans.filter((s) => s.region === of && s.appendedAt + model.assemblyDelay <= at);
    const given = how === 'all' ? held : how === 'first' ? held.slice(0, 1) : [];
    return given.length > 0 ? recordOf(traceId, of, given) : null;
  }

  /** The region's record at the reading copy, of what no fold took; what was taken goes into `folded`. */
  #recordAt(
    traceId: TraceId,
    model: SimulatedRegion,
    spans: readonly SimulatedSpan[],
    at: number,
    folded: FoldedParts,
  ): TraceMetadata | null {
    const knownBy = (time: number) => {
      const applied = this.#appliedUpTo(model, time);
      return spans.filter((s) => {
        const published = s.appendedAt + model.assemblyDelay;
        return s.region === model.region && published <= applied && !isLost(model, published);
      });
    };
    let gone: readonly SimulatedSpan[] = [];
    const exactOf = (time: number) => knownBy(time).filter((s) => !gone.includes(s));
    const { daySeconds, foldedAt, afterSeconds } = this.options.folding ?? NO_FOLDING;
    for (const time of foldedAt.filter((t) => t <= at)) {
      const exact = exactOf(time);
      if (exact.length === 0) continue;
      const start = Math.min(...exact.map((s) => s.start));
      const end = Math.max(...exact.map((s) => s.end));
      const day = Math.floor(start / daySeconds);
      const before = time - afterSeconds;
      const mayFold = (day + 1) * daySeconds <= before && end < before && end < (day + 2) * daySeconds;
      if (!mayFold) continue;
      folded.add(model.region, nano(day * daySeconds), nano(end));
      gone = [...gone, ...exact];
    }
    const left = exactOf(at);
    return left.length > 0 ? recordOf(traceId, model.region, left) : null;
  }

  /** Everything that stood in the source's feed by this true time has been applied by `at`. */
  #appliedUpTo({ linkDelay, cuts }: SimulatedRegion, at: number): number {
    let upTo = at - linkDelay;
    for (const { from, to } of cuts) if (upTo >= from && upTo < to) upTo = from;
    return upTo;
  }

  /** The first record after the last loss was published when the loss was over, or later; by the clock of the source's log. */
  #vouchedFrom({ losses = [], clockOffset }: SimulatedRegion, feedTime: number): bigint {
    const over = losses.filter(({ to }) => to <= feedTime).map(({ to }) => to);
    return over.length === 0 ? 0n : nano(Math.max(...over) + clockOffset);
  }

  /** The newest watermark in the feed by `feedTime`: a multiple of its interval, published once all before it is assembled. */
  #watermarkAt(model: SimulatedRegion, feedTime: number): number | null {
    const { watermarkEvery, assemblyDelay } = model;
    const mark = Math.floor((feedTime - assemblyDelay) / watermarkEvery) * watermarkEvery;
    const published = mark + model.assemblyDelay;
    return mark > 0 && !isLost(model, published) ? mark : null;
  }
}

const NO_FOLDING: SimulatedFolding = { daySeconds: 1, foldedAt: [], afterSeconds: 0, wrongHits: [] };

function isLost({ losses = [] }: SimulatedRegion, published: number): boolean {
  return losses.some(({ from, to }) => published >= from && published < to);
}

function recordOf(traceId: TraceId, region: RegionId, spans: readonly SimulatedSpan[]): TraceMetadata {
  return {
    traceId,
    region,
    startUnixNano: nano(Math.min(...spans.map((s) => s.start))),
    endUnixNano: nano(Math.max(...spans.map((s) => s.end))),
    root: rootOf(spans),
    coverage: [{ key: 1, service: 'shop', spanCount: spans.length, errorCount: 0 }],
    flags: 0,
    blocks: [],
  };
}

function rootOf(spans: readonly SimulatedSpan[]): TraceMetadata['root'] {
  const root = spans.find((s) => s.root);
  return root ? { startUnixNano: nano(root.start), service: 'shop', operation: 'root' } : null;
}

/** Seconds of the simulation as Unix nanoseconds. */
export function nano(seconds: number): bigint {
  return 1_795_176_000_000_000_000n + BigInt(Math.round(seconds * 1e9));
}
