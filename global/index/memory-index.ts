import type { RegionId, TraceId } from '../model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../model/metadata.js';
import { maxNano, unixNanoToMs } from '../model/time.js';
import { bucketOf, DigestChanges, hashText } from './digest.js';
import {
  canFold,
  FOLD_DAY_MS,
  FoldedParts,
  foldDayOf,
  foldDayStart,
  foldDaysBefore,
  isWorthFolding,
} from './folded.js';
import { CATALOGUE_MARGIN_MS, checkBucketPage, checkLocateCount, FOLD_RECORDS_MIN } from './index-limits.js';
import { joinMetadata } from './join.js';
import type {
  FeedPosition,
  IndexDigest,
  LocateOptions,
  ReceivedRecord,
  TraceIndex,
  TraceLocation,
  VouchedWatermark,
} from './trace-index.js';
import { Watermarks } from './watermarks.js';

type RegionEntry = CatalogueEntry & { readonly region: RegionId };

/** A folded day. Others keep filters; here it is the set itself, which is never wrong. */
interface FoldedDay {
  readonly regionsByTrace: Map<TraceId, Set<RegionId>>;
  records: number;
  folds: number;
  endUnixNanoMax: bigint;
}

/** The index in memory: for tests and simulations, and to read the port's meaning from. Digests are computed when they are asked for. */
export class MemoryTraceIndex implements TraceIndex {
  readonly #traces = new Map<TraceId, Map<RegionId, TraceMetadata>>();
  readonly #watermarks = new Watermarks();
  readonly #catalogue = new Map<string, RegionEntry>();
  readonly #catalogueTotals = new Map<RegionId, number>();
  readonly #positions = new Map<string, FeedPosition>();
  readonly #folded = new Map<number, FoldedDay>();

  constructor(private readonly home: RegionId) {}

  async apply(records: readonly ReceivedRecord[], position?: FeedPosition): Promise<void> {
    for (const { region, traces, catalogue, watermark } of records) {
      for (const trace of traces) this.#join(trace.region === this.home ? trace : { ...trace, blocks: [] });
      for (const entry of catalogue) {
        const key = JSON.stringify([region, entry.service, entry.operation, entry.kind]);
        const before = this.#catalogue.get(key);
        if (!before) this.#catalogueTotals.set(region, (this.#catalogueTotals.get(region) ?? 0) + 1);
        if (!before || before.lastSeenMs < entry.lastSeenMs) this.#catalogue.set(key, { ...entry, region });
      }
      if (watermark) this.#watermarks.raise(watermark);
    }
    if (position) this.#positions.set(`${position.topic}/${position.partition}`, position);
  }

  async feedPosition(topic: string, partition: number): Promise<FeedPosition | null> {
    return this.#positions.get(`${topic}/${partition}`) ?? null;
  }

  #join(trace: TraceMetadata): void {
    const byRegion = this.#traces.get(trace.traceId) ?? new Map<RegionId, TraceMetadata>();
    const before = byRegion.get(trace.region);
    byRegion.set(trace.region, before ? joinMetadata(before, trace) : trace);
    this.#traces.set(trace.traceId, byRegion);
  }

  async locate(traceIds: readonly TraceId[], { exactOnly }: LocateOptions = {}): Promise<readonly TraceLocation[]> {
    checkLocateCount(traceIds.length);
    return traceIds.map((traceId) => ({
      traceId,
      records: [...(this.#traces.get(traceId)?.values() ?? [])].sort((a, b) => (a.region < b.region ? -1 : 1)),
      ...(exactOnly ? {} : this.#foldedParts(traceId)),
      watermarks: this.#watermarks.ofTrace(Buffer.from(traceId, 'hex')),
    }));
  }

  #foldedParts(traceId: TraceId): Pick<TraceLocation, 'folded'> {
    const parts = new FoldedParts();
    for (const [day, { regionsByTrace, endUnixNanoMax }] of this.#folded) {
      for (const region of regionsByTrace.get(traceId) ?? []) parts.add(region, foldDayStart(day), endUnixNanoMax);
    }
    return parts.member();
  }

  async fold(beforeUnixNano: bigint, recordsMin = FOLD_RECORDS_MIN): Promise<number> {
    const days = new Map<number, TraceMetadata[]>();
    for (const byRegion of this.#traces.values()) {
      for (const record of byRegion.values()) {
        const day = foldDayOf(record.startUnixNano);
        if (day >= foldDaysBefore(beforeUnixNano)) continue;
        const records = days.get(day) ?? [];
        records.push(record);
        days.set(day, records);
      }
    }
    let removed = 0;
    for (const [day, exact] of days) {
      const folded = this.#folded.get(day) ?? { regionsByTrace: new Map(), records: 0, folds: 0, endUnixNanoMax: 0n };
      const going = exact.filter((record) => canFold(record, beforeUnixNano));
      if (!isWorthFolding(exact.length, folded.records, folded.folds, recordsMin) || going.length === 0) continue;
      this.#folded.set(day, folded);
      folded.folds++;
      for (const record of going) this.#foldOne(record, folded);
      removed += going.length;
    }
    return removed;
  }

  #foldOne({ traceId, region, endUnixNano }: TraceMetadata, folded: FoldedDay): void {
    const regions = folded.regionsByTrace.get(traceId) ?? new Set();
    if (!regions.has(region)) folded.records++;
    folded.regionsByTrace.set(traceId, regions.add(region));
    folded.endUnixNanoMax = maxNano(folded.endUnixNanoMax, endUnixNano);
    const byRegion = this.#traces.get(traceId)!;
    byRegion.delete(region);
    if (byRegion.size === 0) this.#traces.delete(traceId);
  }

  async foldedBeforeMs(): Promise<number> {
    return this.#folded.size === 0 ? 0 : (Math.max(...this.#folded.keys()) + 1) * FOLD_DAY_MS;
  }

  async watermarks(): Promise<readonly VouchedWatermark[]> {
    return this.#watermarks.all();
  }

  async catalogue(regions?: readonly RegionId[]): Promise<readonly RegionEntry[]> {
    return [...this.#catalogue.values()].filter(({ region }) => !regions || regions.includes(region));
  }

  async catalogueTotals(): Promise<ReadonlyMap<RegionId, number>> {
    return new Map(this.#catalogueTotals);
  }

  async digests(region: RegionId): Promise<readonly IndexDigest[]> {
    const sums = new DigestChanges();
    for (const trace of this.#of(region)) if (!this.#folded.has(foldDayOf(trace.startUnixNano))) sums.add(trace);
    return [...sums]
      .map(({ bucketStartMs, count, sum }) => ({ region, bucketStartMs, recordCount: count, hash: hashText(sum) }))
      .sort((a, b) => a.bucketStartMs - b.bucketStartMs);
  }

  *#of(region: RegionId): Generator<TraceMetadata> {
    for (const byRegion of this.#traces.values()) {
      const trace = byRegion.get(region);
      if (trace) yield trace;
    }
  }

  async bucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]> {
    checkBucketPage(limit);
    return [...this.#of(region)]
      .filter((t) => bucketOf(t.startUnixNano) === bucketStartMs && (after === null || t.traceId > after))
      .sort((a, b) => (a.traceId < b.traceId ? -1 : 1))
      .slice(0, limit);
  }

  async expire(beforeUnixNano: bigint): Promise<number> {
    let removed = 0;
    for (const [traceId, byRegion] of this.#traces) {
      if ([...byRegion.values()].some((trace) => trace.endUnixNano >= beforeUnixNano)) continue;
      removed += byRegion.size;
      this.#traces.delete(traceId);
    }
    for (const [day, { records, endUnixNanoMax }] of this.#folded) {
      if (endUnixNanoMax >= beforeUnixNano) continue;
      removed += records;
      this.#folded.delete(day);
    }
    for (const [key, entry] of this.#catalogue) {
      if (entry.lastSeenMs < unixNanoToMs(beforeUnixNano) - CATALOGUE_MARGIN_MS) this.#catalogue.delete(key);
    }
    return removed;
  }

  async clear(): Promise<void> {
    this.#traces.clear();
    this.#watermarks.clear();
    this.#catalogue.clear();
    this.#catalogueTotals.clear();
    this.#positions.clear();
    this.#folded.clear();
  }

  async close(): Promise<void> {}
}
