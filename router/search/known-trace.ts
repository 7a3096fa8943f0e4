import { joinMetadata, metadataCounts, servicesOf } from '../../global/index/join.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type RootSpan, type TraceMetadata } from '../../global/model/metadata.js';
import type { SearchPosition } from '../../global/model/query.js';
import { maxNano, minNano } from '../../global/model/time.js';

/** A trace of a search's answer. Counts are the index's: lower bounds where `countsAtLeast`. */
export interface TraceSummary {
  readonly traceId: TraceId;
  readonly root: { readonly service: string; readonly operation: string } | null;
  /** The rank: what the answer is ordered by. */
  readonly startUnixNano: bigint;
  readonly durationNano: bigint;
  readonly spanCount: number;
  readonly errorCount: number;
  readonly countsAtLeast: boolean;
  /** In order of name. */
  readonly services: readonly { readonly name: string; readonly spanCount: number; readonly errorCount: number }[];
  /** Regions known to hold a part, in order of name. */
  readonly regions: readonly RegionId[];
}

/** How far behind a segment's start its trace's start may lie to be believed in the order (decision 0003). */
export const HOLD_BACK_NANO = 600_000_000_000n;

/** What a search knows of one trace: records of the index, joined with the metadata of the segments that were offered. */
export class KnownTrace {
  readonly #byRegion = new Map<RegionId, TraceMetadata>();
  #offeredNewest = 0n;
  #start: bigint | null = null;
  #end = 0n;

  constructor(readonly traceId: TraceId) {}

  offered(metadata: TraceMetadata, segmentStartUnixNano: bigint): void {
    this.#offeredNewest = maxNano(this.#offeredNewest, segmentStartUnixNano);
    this.add(metadata);
  }

  add(metadata: TraceMetadata): void {
    const known = this.#byRegion.get(metadata.region);
    this.#byRegion.set(metadata.region, known ? joinMetadata(known, metadata) : metadata);
    this.#start = this.#start === null ? metadata.startUnixNano : minNano(this.#start, metadata.startUnixNano);
    this.#end = maxNano(this.#end, metadata.endUnixNano);
  }

  /** Its place in the order: earliest known start, but no more than the hold-back before its newest offered segment. */
  rank(): SearchPosition {
    const start = this.#start ?? 0n;
    return { startUnixNano: this.isClamped ? this.#offeredNewest - HOLD_BACK_NANO : start, traceId: this.traceId };
  }

  /** Is the rank another than the earliest known start? */
  get isClamped(): boolean {
    return this.#offeredNewest - (this.#start ?? 0n) > HOLD_BACK_NANO;
  }

  get endUnixNano(): bigint {
    return this.#end;
  }

  hasServices(names: readonly string[]): boolean {
    return names.every((name) =>
      [...this.#byRegion.values()].some((record) => record.coverage.some((c) => c.service === name)),
    );
  }

  summary(): TraceSummary {
    const records = [...this.#byRegion.values()].sort((a, b) => (a.region < b.region ? -1 : 1));
    const services = new Map<string, { name: string; spanCount: number; errorCount: number }>();
    let root: RootSpan | null = null;
    let spanCount = 0;
    let errorCount = 0;
    for (const record of records) {
      const counts = metadataCounts(record);
      spanCount += counts.spanCount;
      errorCount += counts.errorCount;
      if (record.root && (!root || record.root.startUnixNano < root.startUnixNano)) root = record.root;
      for (const service of servicesOf(record)) {
        const total = services.get(service.name);
        if (!total) services.set(service.name, { ...service });
        else {
          total.spanCount += service.spanCount;
          total.errorCount += service.errorCount;
        }
      }
    }
    const start = this.#start ?? 0n;
    return {
      traceId: this.traceId,
      root: root && { service: root.service, operation: root.operation },
      startUnixNano: this.rank().startUnixNano,
      durationNano: this.#end > start ? this.#end - start : 0n,
      spanCount,
      errorCount,
      countsAtLeast: records.some((r) => (r.flags & MetadataFlag.countsAtLeast) !== 0),
      services: [...services.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
      regions: records.map((r) => r.region),
    };
  }
}
