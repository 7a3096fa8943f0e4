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

export interface FeedModelOptions {
  readonly regions: readonly SimulatedRegion[];
  readonly spansPartitions: number;
  readonly graceSeconds: number;
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
    const watermarks: VouchedWatermark[] = [];
    for (const model of this.options.regions) {
      const applied = this.#appliedUpTo(model, at);
      const known = spans.filter((s) => {
        const published = s.appendedAt + model.assemblyDelay;
        return s.region === model.region && published <= applied && !isLost(model, published);
      });
      if (known.length > 0) records.push(recordOf(traceId, model.region, known));
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
    return { traceId, records, watermarks };
  }

  /** What a router whose clock is off by `clockOffset` would do at true time `at`. */
  plan(traceId: TraceId, spans: readonly SimulatedSpan[], at: number, clockOffset: number): TracePlan {
    return planTrace({
      traceId,
      location: this.locate(traceId, spans, at),
      regions: this.options.regions.map((r) => ({ region: r.region, spansPartitions: this.options.spansPartitions })),
      graceNano: BigInt(this.options.graceSeconds) * 1_000_000_000n,
      nowUnixNano: nano(at + clockOffset),
    });
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
