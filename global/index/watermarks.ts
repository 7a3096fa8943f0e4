import { tracePartition } from '../log/partition.js';
import type { RegionId } from '../model/ids.js';
import type { Watermark } from '../model/metadata.js';

/**
 * The watermarks that an index knows: per region and partition the highest ever seen. In memory; the index keeps them durably.
 *
 * A region's partition count may grow. Spans of a trace then stand in two partitions, its own under the old count and under the
 * new; `ofTrace` gives the lowest watermark among them, and none where one is missing, so the proof holds across the change.
 */
export class Watermarks {
  readonly #regions = new Map<RegionId, { counts: Set<number>; byPartition: Map<number, Watermark> }>();

  /** Takes the watermark in. True where that changed something. */
  raise(watermark: Watermark): boolean {
    const { region, partition, partitionCount } = watermark;
    let known = this.#regions.get(region);
    if (!known) {
      known = { counts: new Set(), byPartition: new Map() };
      this.#regions.set(region, known);
    }
    const before = known.byPartition.get(partition);
    const newCount = !known.counts.has(partitionCount);
    known.counts.add(partitionCount);
    if (before && before.watermarkUnixNano >= watermark.watermarkUnixNano) return newCount;
    known.byPartition.set(partition, watermark);
    return true;
  }

  /** Says that the region once had this many partitions. */
  knowCount(region: RegionId, partitionCount: number): void {
    const known = this.#regions.get(region);
    if (known) known.counts.add(partitionCount);
    else this.#regions.set(region, { counts: new Set([partitionCount]), byPartition: new Map() });
  }

  /** The watermark that speaks for the trace in each region, in order of region; a region without one is left out. */
  ofTrace(idBytes: Uint8Array): Watermark[] {
    const found: Watermark[] = [];
    for (const { counts, byPartition } of this.#regions.values()) {
      let lowest: Watermark | null = null;
      for (const count of counts) {
        const own = byPartition.get(tracePartition(idBytes, 0, count));
        if (!own) {
          lowest = null;
          break;
        }
        if (!lowest || own.watermarkUnixNano < lowest.watermarkUnixNano) lowest = own;
      }
      if (lowest) found.push(lowest);
    }
    return found.sort((a, b) => (a.region < b.region ? -1 : 1));
  }

  /** All, by region, then partition. */
  all(): Watermark[] {
    const all = [...this.#regions.values()].flatMap((known) => [...known.byPartition.values()]);
    return all.sort((a, b) => (a.region === b.region ? a.partition - b.partition : a.region < b.region ? -1 : 1));
  }

  clear(): void {
    this.#regions.clear();
  }
}
