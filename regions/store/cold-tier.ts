import type { Registry } from 'prom-client';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import { msToUnixNano, unixNanoToMs } from '../../global/model/time.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { Segment } from '../segments/segment.js';
import type { AgedBlocks } from './cold-aged-blocks.js';
import { ColdMetrics } from './cold-metrics.js';
import { blocksOnPage, type ColdBlockSummary, pagesOf } from './cold-object.js';
import { HOUR_MS, mayReach } from './cold-object-name.js';
import type { ObjectStorage } from './cold-object-storage.js';
import { type ColdObject, ColdObjects } from './cold-objects.js';
import { type ColdCrashPoint, ColdPacker, type PackReport } from './cold-packer.js';
import { searchCold } from './cold-search.js';
import type { ReadHints, SearchPage } from './segment-store.js';

export interface ColdTierOptions {
  /** Owned: closed with the tier. */
  readonly storage: ObjectStorage;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** An object is closed at this many bytes of blocks. Default 64 MiB; a packer needs twice that. */
  readonly objectBytesMax?: number;
  /**
   * Whether other processes pack into the same storage (the default), and so for how long a list of objects is taken as known; 0 says that this process is alone
   * (the embedded fleet). A packer waits as long, and 5 s, before it removes blocks from the hot store. Default 60 s.
   */
  readonly listKnownMs?: number;
  /** Summaries of objects (about 8 bytes a trace) kept in memory. Default 64 MiB. */
  readonly summaryBytesMax?: number;
  /** Inflated blocks kept in memory. Default 32 MiB. */
  readonly cacheBytesMax?: number;
  /** Reads on their way at once. Default 16. */
  readonly readsMax?: number;
  /** For crash tests. */
  readonly crash?: (point: ColdCrashPoint) => void;
}

export const COLD_DEFAULTS = {
  objectBytesMax: 64 * 1024 * 1024,
  listKnownMs: 60_000,
  summaryBytesMax: 64 * 1024 * 1024,
  cacheBytesMax: 32 * 1024 * 1024,
  readsMax: 16,
} as const;
/** By how much a list may be older than it seems: requests on their way, clocks that run apart. */
const SETTLE_MARGIN_MS = 5_000;
/** By how much clocks of senders may be behind those of the region, as in the plan of a query (decision 0006). */
export const COLD_CLOCK_GRACE_MS = 10 * 60_000;

/** Blocks past their hot age in object storage: packed by the hour (`cold-object.ts`), read by trace id, searched, forgotten as whole objects. */
export class ColdTier {
  readonly #storage: ObjectStorage;
  readonly #objects: ColdObjects;
  readonly #packer: ColdPacker;
  readonly #metrics: ColdMetrics;
  readonly #logger: Logger;

  constructor(options: ColdTierOptions) {
    const { storage, clock, logger, registry, crash = () => {} } = options;
    const { objectBytesMax, listKnownMs, ...rest } = { ...COLD_DEFAULTS, ...options };
    this.#storage = storage;
    this.#logger = logger;
    this.#metrics = new ColdMetrics(registry);
    this.#objects = new ColdObjects({ ...rest, storage, clock, metrics: this.#metrics, listKnownMs });
    const settleMs = listKnownMs === 0 ? 0 : listKnownMs + SETTLE_MARGIN_MS;
    const shared = { storage, clock, logger, crash, metrics: this.#metrics, objects: this.#objects };
    this.#packer = new ColdPacker({ ...shared, objectBytesMax, settleMs });
  }

  /** Moves what is older from the hot store to here; whole hours only. One run at a time and process; several processes do not disturb each other. */
  pack(aged: AgedBlocks, beforeUnixNano: bigint, signal: AbortSignal): Promise<PackReport> {
    const beforeMs = unixNanoToMs(beforeUnixNano);
    return this.#packer.pack(aged, beforeMs - (beforeMs % HOUR_MS), signal);
  }

  /** As `SegmentStoreReader.get`; of the hints only the earliest start is of use here. */
  async get(
    source: RegionId,
    traceId: TraceId,
    hints?: Pick<ReadHints, 'startUnixNanoMin'>,
  ): Promise<readonly Segment[]> {
    const start = hints?.startUnixNanoMin;
    const from = start === undefined ? 0n : start - msToUnixNano(COLD_CLOCK_GRACE_MS);
    const objects = (await this.#objects.of(source)).filter(({ hourMs }) => mayReach(hourMs, from));
    const found = await Promise.all(objects.map((object) => this.#segments(object, traceId)));
    return found.flat();
  }

  /** As `SegmentStoreSearch.search`. */
  search(request: SearchRequest, signal: AbortSignal): Promise<SearchPage> {
    return searchCold(request, this.#objects, (object, traceId) => this.#blocksOf(object, traceId), signal);
  }

  /** Whether anything here can start at or after the time. */
  async mayStartAt(source: RegionId, unixNano: bigint): Promise<boolean> {
    const [newest] = await this.#objects.of(source);
    return newest !== undefined && mayReach(newest.hourMs, unixNano);
  }

  /** Removes objects whose hour ended before the time; resolves with the number of their blocks. */
  async expire(beforeUnixNano: bigint): Promise<number> {
    let blocks = 0;
    for (const object of await this.#objects.all()) {
      if (mayReach(object.hourMs, beforeUnixNano)) continue;
      await this.#storage.remove(object.name);
      this.#objects.changed(object.source);
      blocks += object.blocks;
    }
    this.#metrics.expired(blocks);
    if (blocks > 0) this.#logger.info({ blocks }, 'cold tier: expired');
    return blocks;
  }

  close(): Promise<void> {
    return this.#storage.close();
  }

  async #segments(object: ColdObject, traceId: TraceId): Promise<Segment[]> {
    const summaries = await this.#blocksOf(object, traceId);
    const blocks = await Promise.all(summaries.map((summary) => this.#objects.block(object, summary)));
    return blocks.flatMap((block) => block?.segments.filter(({ metadata }) => metadata.traceId === traceId) ?? []);
  }

  async #blocksOf(object: ColdObject, traceId: TraceId): Promise<ColdBlockSummary[]> {
    const summary = await this.#objects.summary(object);
    if (!summary) return [];
    const what = `cold object ${object.name}`;
    const places = new Set<number>();
    for (const page of pagesOf(summary, traceId)) {
      const bytes = await this.#objects.page(object, page);
      if (bytes) for (const place of blocksOnPage(bytes, traceId, summary.blocks.length, what)) places.add(place);
    }
    return [...places].map((place) => summary.blocks[place]!);
  }
}
