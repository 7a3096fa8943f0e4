import { tracePartition } from '../log/partition.js';
import type { RegionId } from '../model/ids.js';
import { maxNano } from '../model/time.js';
import type { VouchedWatermark } from './trace-index.js';

/**
 * The watermarks that an index knows: per region and partition the highest ever seen, with what it vouches for. In memory; the index
 * keeps them durably. Each is a claim about an interval, and true by itself: so the higher one may take the lower one's place whole.
 *
 * A region's partition count may grow. Spans of a trace then stand in two partitions, its own under the old count and under the
 * new; `ofTrace` gives the lowest watermark among them, and none where one is missing, so the proof holds across the change.
 */
export class Watermarks {
  readonly #regions = new Map<RegionId, { counts: Set<number>; byPartition: Map<number, VouchedWatermark> }>();

  /** Takes the watermark in. True where that changed something. */
  raise(watermark: VouchedWatermark): boolean {
    const { region, partition, partitionCount } = watermark;
    let known = this.#regions.get(region);
    if (!known) {
      known = { counts: new Set(), byPartition: new Map() };
      this.#regions.set(region, known);
    }
    const before = known.byPartition.get(partition);
    const newCount = !known.counts.has(partitionCount);
    known.counts.add(partitionCount);
    if (before && !saysMore(watermark, before)) return newCount;
    known.byPartition.set(partition, watermark);
    return true;
  }

  /** The one that is kept for the partition. */
  get(region: RegionId, partition: number): VouchedWatermark | undefined {
    return this.#regions.get(region)?.byPartition.get(partition);
  }

  /** Says that the region once had this many partitions. */
  knowCount(region: RegionId, partitionCount: number): void {
    const known = this.#regions.get(region);
    if (known) known.counts.add(partitionCount);
    else this.#regions.set(region, { counts: new Set([partitionCount]), byPartition: new Map() });
  }

  /** The watermark that speaks for the trace in each region, in order of region; a region without one is left out. */
  ofTrace(idBytes: Uint8Array): VouchedWatermark[] {
    const found: VouchedWatermark[] = [];
    for (const { counts, byPartition } of this.#regions.values()) {
      let lowest: VouchedWatermark | null = null;
      let vouched: bigint | undefined = 0n;
      for (const count of counts) {
        const own = byPartition.get(tracePartition(idBytes, 0, count));
        if (!own) {
          lowest = null;
          break;
        }
        if (!lowest || own.watermarkUnixNano < lowest.watermarkUnixNano) lowest = own;
        vouched = latest(vouched, own.vouchedFromUnixNano);
      }
      if (lowest) found.push(lowest.vouchedFromUnixNano === vouched ? lowest : withVouched(lowest, vouched));
    }
    return found.sort((a, b) => (a.region < b.region ? -1 : 1));
  }

  /** All, by region, then partition. */
  all(): VouchedWatermark[] {
    const all = [...this.#regions.values()].flatMap((known) => [...known.byPartition.values()]);
    return all.sort((a, b) => (a.region === b.region ? a.partition - b.partition : a.region < b.region ? -1 : 1));
  }

  clear(): void {
    this.#regions.clear();
  }
}

function saysMore(one: VouchedWatermark, other: VouchedWatermark): boolean {
  if (one.watermarkUnixNano !== other.watermarkUnixNano) return one.watermarkUnixNano > other.watermarkUnixNano;
  const { vouchedFromUnixNano: from } = one;
  return from !== undefined && (other.vouchedFromUnixNano === undefined || from < other.vouchedFromUnixNano);
}

/** The later of two starts; undefined, which vouches for nothing, is the latest. */
function latest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  return a === undefined || b === undefined ? undefined : maxNano(a, b);
}

function withVouched(watermark: VouchedWatermark, vouchedFromUnixNano: bigint | undefined): VouchedWatermark {
  const { vouchedFromUnixNano: _, ...bare } = watermark;
  return vouchedFromUnixNano === undefined ? bare : { ...bare, vouchedFromUnixNano };
}
