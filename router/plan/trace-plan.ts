import { type KnownExtent, knownExtent } from '../../global/index/folded.js';
import type { FoldedPart, TraceLocation, VouchedWatermark } from '../../global/index/trace-index.js';
import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import { type BlockId, MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { minNano, unixNanoToMs } from '../../global/model/time.js';
import { formatDuration } from './format-duration.js';

/** Why a region is asked or skipped; stable, for tests, metrics and `?explain=1`. */
export type PlanCode =
  /** Skipped: no record, the region's watermark is past every known part and the grace, and its feed is vouched for. The only code that skips. */
  | 'absence-proved'
  /** Asked: the index has a record of the region for the trace. */
  | 'has-record'
  /** Asked: a filter of folded days says that the region may have had a record (docs/decisions/0012). */
  | 'may-be-folded'
  /** Asked in a second step, unless what the regions that `may-be-folded` answer proves absence: no region has a record. */
  | 'after-folded'
  /** Asked: no region has a record, nor answered with a span, so nothing bounds the trace in time. */
  | 'no-record-anywhere'
  /** Asked: the index could not be read. */
  | 'index-unavailable'
  /** Asked: the region never published a watermark of the trace's partition. */
  | 'no-watermark'
  /** Asked: the watermark belongs to another partitioning than the fleet file's. */
  | 'partitioning-differs'
  /** Asked: the watermark does not reach past the trace's end and the grace. */
  | 'watermark-behind'
  /** Asked: the trace began, or may have begun, before this copy of the index received the region's feed without a gap. */
  | 'not-vouched-for'
  /** Asked: a known part has implausible times, so its end proves nothing. */
  | 'implausible-times';

export interface RegionPlan {
  readonly region: RegionId;
  readonly action: 'ask' | 'skip';
  readonly code: PlanCode;
  /** For a person: the proof of a skip, or the reason for asking. */
  readonly why: string;
  /** Blocks of the region that the index names (only ever the home region's); a hint for the call. */
  readonly blocks: readonly BlockId[];
}

/** One entry per configured region, in the order of the fleet. Where some are `after-folded`, it is the first step of two. */
export interface TracePlan {
  readonly traceId: TraceId;
  readonly regions: readonly RegionPlan[];
}

export interface TracePlanInput {
  readonly traceId: TraceId;
  /** What the index knows; null where it could not be asked. */
  readonly location: TraceLocation | null;
  readonly regions: readonly { readonly region: RegionId; readonly spansPartitions: number }[];
  /** How long after a trace's end a region may still append spans of it (lateness and clock skew together). */
  readonly graceNano: bigint;
  /** The router's wall clock: no watermark proves anything beyond it. */
  readonly nowUnixNano: bigint;
  /**
   * The second step: what the regions of the first have answered so far, as records (`answerRecord`); empty: no span. Left out: they have not
   * been asked yet.
   */
  readonly found?: readonly TraceMetadata[];
}

/**
 * Decides which regions are asked for a trace. A region is skipped only where the index proves absence: it has no record of the
 * trace and no folded part, some other region has a record, and its watermark of the trace's own partition (under the fleet's current
 * partition count) lies past the end of every known part plus the grace, and vouches for all of the trace's time. Any doubt means ask.
 *
 * A folded part is a reason to ask its region, and widens what is known of when the trace was; it is no proof that there is such a trace (docs/decisions/0012). So
 * where regions have folded parts and none has a record, the others wait for a second step: with a span among the answers the
 * rules hold as with a record, without one all are asked. Planning that step before all have answered is right too.
 *
 * What a watermark vouches for may begin in the middle of the region's feed (docs/decisions/0006); a part of the trace that was
 * appended before that may have no record here, now or ever. That there is no such part is only known where the root is among the known spans, as nothing
 * of a trace begins before its root, and where all known parts begin later than that by the grace, which is for clocks that disagree.
 *
 * The proof holds for every span that its region appended no later than the grace after the end of the known parts, and for every
 * later one that the feed has already told of. A watermark ahead of the router's clock counts only up to that
 * clock: an assembler whose clock runs ahead must not prove the future. Pure.
 */
export function planTrace(input: TracePlanInput): TracePlan {
  const { traceId, location, found } = input;
  const records = location?.records ?? [];
  const folded = location?.folded ?? [];
  const extent = location && knownExtent(location, found);
  const implausible = [...records, ...(found ?? [])].find((r) => (r.flags & MetadataFlag.implausibleTime) !== 0);
  const first = records.length > 0 || found ? [] : input.regions.filter((r) => folded.some(sameRegion(r)));
  const partition = new Partitioner(traceId);
  return {
    traceId,
    regions: input.regions.map(({ region, spansPartitions }): RegionPlan => {
      const ask = (code: PlanCode, why: string, blocks: readonly BlockId[] = []): RegionPlan => ({
        region,
        action: 'ask',
        code,
        why,
        blocks,
      });
      if (!location) return ask('index-unavailable', 'the index could not be read');
      const record = records.find(sameRegion({ region }));
      if (record) return ask('has-record', describeRecord(record), record.blocks);
      const part = folded.find(sameRegion({ region }));
      if (part) return ask('may-be-folded', describeFolded(part));
      if (first.length > 0) {
        const names = first.map((r) => r.region).join(', ');
        return ask(
          'after-folded',
          `no region has a record; asked after ${names}, unless a part that is found there proves that there is none here`,
        );
      }
      if (!extent) {
        const nor = found ? ', and those that may have had one have given no span' : '';
        return ask('no-record-anywhere', `no region has a record of the trace${nor}, so its time is not known`);
      }
      if (implausible) {
        return ask('implausible-times', `no record, but the times of ${implausible.region}'s part are implausible`);
      }
      const watermark = location.watermarks.find(sameRegion({ region }));
      if (!watermark) return ask('no-watermark', 'no record, and no watermark of the region is known');
      if (
        watermark.partitionCount !== spansPartitions ||
        watermark.partition !== partition.of(watermark.partitionCount)
      ) {
        return ask(
          'partitioning-differs',
          `no record, but the watermark is of partition ${watermark.partition} of ${watermark.partitionCount}, the fleet file says ${spansPartitions}`,
        );
      }
      return byWatermark(region, extent, watermark, input);
    }),
  };
}

function sameRegion({ region }: { readonly region: RegionId }): (other: { readonly region: RegionId }) => boolean {
  return (other) => other.region === region;
}

function byWatermark(
  region: RegionId,
  extent: KnownExtent,
  watermark: VouchedWatermark,
  { graceNano, nowUnixNano, found = [] }: TracePlanInput,
): RegionPlan {
  const proved = minNano(watermark.watermarkUnixNano, nowUnixNano);
  const margin = proved - (extent.endUnixNano + graceNano);
  const grace = formatDuration(graceNano);
  const at = formatTime(proved);
  const by = found.length === 0 ? '' : ` (by the answer of ${found.map((f) => f.region).join(', ')})`;
  if (margin > 0n) {
    const doubt = beforeVouched(extent, watermark, graceNano);
    if (doubt !== null) {
      const why = `no record, but ${doubt}`;
      return { region, action: 'ask', code: 'not-vouched-for', why, blocks: [] };
    }
    const why = `watermark ${at} is ${formatDuration(margin)} past the end of every known part${by} plus the grace of ${grace}, and no record`;
    return { region, action: 'skip', code: 'absence-proved', why, blocks: [] };
  }
  const why = `no record, but watermark ${at} is ${formatDuration(-margin)} short of the end of the known parts${by} plus the grace of ${grace}`;
  return { region, action: 'ask', code: 'watermark-behind', why, blocks: [] };
}

/** Why the region may hold a part that was appended before what the watermark vouches for; null: it cannot. */
function beforeVouched(
  { startUnixNano, rootKnown }: KnownExtent,
  { vouchedFromUnixNano: from }: VouchedWatermark,
  graceNano: bigint,
): string | null {
  if (from === undefined) return 'nothing is known of how this copy of the index received its feed';
  if (from === 0n) return null;
  const vouched = `this copy of the index vouches for its feed only from ${formatTime(from)} on`;
  if (!rootKnown) return `${vouched}, and the trace's root is not known`;
  const margin = startUnixNano - (from + graceNano);
  if (margin >= 0n) return null;
  return `${vouched}, and the known parts begin ${formatDuration(-margin)} before that plus the grace of ${formatDuration(graceNano)}`;
}

function describeFolded({ startUnixNanoMin, endUnixNanoMax }: FoldedPart): string {
  return `no record, but a folded day may have had one, of spans from ${formatTime(startUnixNanoMin)} to ${formatTime(endUnixNanoMax)}`;
}

function describeRecord(record: TraceMetadata): string {
  const spans = record.coverage.reduce((sum, c) => sum + c.spanCount, 0);
  return `the index has a record: ${spans} ${spans === 1 ? 'span' : 'spans'} from ${formatTime(record.startUnixNano)} to ${formatTime(record.endUnixNano)}`;
}

/** `2026-11-21T12:03:04Z`; times that no calendar has are shown in nanoseconds. */
export function formatTime(unixNano: bigint): string {
  const ms = unixNanoToMs(unixNano);
  if (Math.abs(ms) > 8.64e15) return `${unixNano} ns`;
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Finds the trace's partition for a count; most fleets have one count, so the last answer is kept. */
class Partitioner {
  readonly #bytes: Buffer;
  #count = -1;
  #partition = -1;

  constructor(traceId: TraceId) {
    this.#bytes = traceIdBytes(traceId);
  }

  of(count: number): number {
    if (count !== this.#count) {
      this.#count = count;
      this.#partition = count > 0 ? tracePartition(this.#bytes, 0, count) : -1;
    }
    return this.#partition;
  }
}
