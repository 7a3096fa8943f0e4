import type { TraceLocation } from '../../global/index/trace-index.js';
import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import type { TraceMetadata, Watermark } from '../../global/model/metadata.js';
import { planTrace, type TracePlan } from '../plan/trace-plan.js';

/** One span of a simulated trace: where it is appended and when (true time), and the times that its sender's clock gave it. Seconds. */
export interface SimulatedSpan {
  readonly region: RegionId;
  readonly appendedAt: number;
  readonly start: number;
  readonly end: number;
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
    const watermarks: Watermark[] = [];
    for (const model of this.options.regions) {
      const applied = this.#appliedUpTo(model, at);
      const known = spans.filter((s) => s.region === model.region && s.appendedAt + model.assemblyDelay <= applied);
      if (known.length > 0) records.push(recordOf(traceId, model.region, known));
      const mark = this.#watermarkAt(model, applied);
      if (mark !== null) {
        const watermarkUnixNano = nano(mark + model.clockOffset);
        watermarks.push({
          region: model.region,
          partition,
          partitionCount: this.options.spansPartitions,
          watermarkUnixNano,
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

  /** The newest watermark in the feed by `feedTime`: a multiple of its interval, published once all before it is assembled. */
  #watermarkAt({ watermarkEvery, assemblyDelay }: SimulatedRegion, feedTime: number): number | null {
    const mark = Math.floor((feedTime - assemblyDelay) / watermarkEvery) * watermarkEvery;
    return mark > 0 ? mark : null;
  }
}

function recordOf(traceId: TraceId, region: RegionId, spans: readonly SimulatedSpan[]): TraceMetadata {
  return {
    traceId,
    region,
    startUnixNano: nano(Math.min(...spans.map((s) => s.start))),
    endUnixNano: nano(Math.max(...spans.map((s) => s.end))),
    root: null,
    coverage: [{ key: 1, service: 'shop', spanCount: spans.length, errorCount: 0 }],
    flags: 0,
    blocks: [],
  };
}

/** Seconds of the simulation as Unix nanoseconds. */
export function nano(seconds: number): bigint {
  return 1_795_176_000_000_000_000n + BigInt(Math.round(seconds * 1e9));
}
