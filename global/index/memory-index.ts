import type { RegionId, TraceId } from '../model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../model/metadata.js';
import { unixNanoToMs } from '../model/time.js';
import { bucketOf, DigestChanges, hashText } from './digest.js';
import { CATALOGUE_MARGIN_MS, checkBucketPage, checkLocateCount } from './index-limits.js';
import { joinMetadata } from './join.js';
import type {
  FeedPosition,
  IndexDigest,
  ReceivedRecord,
  TraceIndex,
  TraceLocation,
  VouchedWatermark,
} from './trace-index.js';
import { Watermarks } from './watermarks.js';

type RegionEntry = CatalogueEntry & { readonly region: RegionId };

/** The index in memory: for tests and simulations, and to read the port's meaning from. Digests are computed when they are asked for. */
export class MemoryTraceIndex implements TraceIndex {
  readonly #traces = new Map<TraceId, Map<RegionId, TraceMetadata>>();
  readonly #watermarks = new Watermarks();
  readonly #catalogue = new Map<string, RegionEntry>();
  readonly #catalogueTotals = new Map<RegionId, number>();
  readonly #positions = new Map<string, FeedPosition>();

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

  async locate(traceIds: readonly TraceId[]): Promise<readonly TraceLocation[]> {
    checkLocateCount(traceIds.length);
    return traceIds.map((traceId) => ({
      traceId,
      records: [...(this.#traces.get(traceId)?.values() ?? [])].sort((a, b) => (a.region < b.region ? -1 : 1)),
      watermarks: this.#watermarks.ofTrace(Buffer.from(traceId, 'hex')),
    }));
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
    for (const trace of this.#of(region)) sums.add(trace);
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
  }

  async close(): Promise<void> {}
}
