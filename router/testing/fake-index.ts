import { joinMetadata } from '../../global/index/join.js';
import type {
  CatalogueReader,
  FoldedPart,
  LocateOptions,
  TraceIndexReader,
  TraceLocation,
  VouchedWatermark,
} from '../../global/index/trace-index.js';
import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../../global/model/metadata.js';

type RegionEntry = CatalogueEntry & { readonly region: RegionId };

/** An index in the test's own memory. */
export class FakeIndex implements TraceIndexReader, CatalogueReader {
  /** Thrown by every question from now on, where set. */
  error: unknown = null;
  /** Never answers from now on. */
  hung = false;
  readonly entries: RegionEntry[] = [];
  /** What is stamped on the watermarks that are set from now on. */
  vouchedFromUnixNano = 0n;
  /** Where it is set: how many entries a region's catalogue ever had, beyond those that it has. */
  readonly totals = new Map<RegionId, number>();
  readonly #records = new Map<TraceId, Map<RegionId, TraceMetadata>>();
  readonly #folded = new Map<TraceId, FoldedPart[]>();
  readonly #watermarks = new Map<string, VouchedWatermark>();
  /** Options of each `locate`. */
  readonly located: LocateOptions[] = [];

  add(record: TraceMetadata): void {
    const byRegion = this.#records.get(record.traceId) ?? new Map<RegionId, TraceMetadata>();
    const known = byRegion.get(record.region);
    byRegion.set(record.region, known ? joinMetadata(known, record) : record);
    this.#records.set(record.traceId, byRegion);
  }

  /** A hit in a filter, true or wrong. */
  fold(traceId: TraceId, part: FoldedPart): void {
    this.#folded.set(traceId, [...(this.#folded.get(traceId) ?? []), part]);
  }

  watermark(region: RegionId, partition: number, partitionCount: number, watermarkUnixNano: bigint): void {
    this.#watermarks.set(`${region}/${partition}`, {
      region,
      partition,
      partitionCount,
      watermarkUnixNano,
      vouchedFromUnixNano: this.vouchedFromUnixNano,
    });
  }

  /** The same watermark for all partitions. */
  watermarkAll(region: RegionId, partitionCount: number, watermarkUnixNano: bigint): void {
    for (let p = 0; p < partitionCount; p++) this.watermark(region, p, partitionCount, watermarkUnixNano);
  }

  async locate(traceIds: readonly TraceId[], options: LocateOptions = {}): Promise<readonly TraceLocation[]> {
    this.located.push(options);
    await this.#behave();
    const foldedOf = (traceId: TraceId) => (options.exactOnly ? undefined : this.#folded.get(traceId));
    return traceIds.map((traceId) => ({
      traceId,
      records: [...(this.#records.get(traceId)?.values() ?? [])].sort((a, b) => (a.region < b.region ? -1 : 1)),
      ...(foldedOf(traceId) ? { folded: foldedOf(traceId)! } : {}),
      watermarks: [...this.#watermarks.values()].filter(
        (w) => w.partition === tracePartition(traceIdBytes(traceId), 0, w.partitionCount),
      ),
    }));
  }

  async watermarks(): Promise<readonly VouchedWatermark[]> {
    await this.#behave();
    return [...this.#watermarks.values()];
  }

  async catalogue(regions?: readonly RegionId[]): Promise<readonly RegionEntry[]> {
    await this.#behave();
    return this.entries.filter((e) => !regions || regions.includes(e.region));
  }

  async catalogueTotals(): Promise<ReadonlyMap<RegionId, number>> {
    await this.#behave();
    const totals = new Map<RegionId, number>();
    for (const { region } of this.entries) totals.set(region, (totals.get(region) ?? 0) + 1);
    for (const [region, total] of this.totals) totals.set(region, Math.max(total, totals.get(region) ?? 0));
    return totals;
  }

  async #behave(): Promise<void> {
    if (this.error !== null) throw this.error;
    if (this.hung) await new Promise(() => {});
  }
}
