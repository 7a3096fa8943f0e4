import type { CatalogueEntry } from '../../global/model/metadata.js';

/** The largest SpanKind of OTLP; what lies beyond counts as unspecified. */
const KIND_MAX = 5;

export interface CatalogueLimits {
  /** Operations remembered per service; further ones are counted in `dropped` and not published. */
  readonly operationsPerServiceMax: number;
  /** Operations remembered in all. */
  readonly operationsMax: number;
  /** An entry that is still seen is published again after this long. */
  readonly refreshMs: number;
}

/** One entry of the catalogue, and where and when it was published last: per partition of `trace-metadata`. */
interface Known {
  readonly service: string;
  readonly operation: string;
  readonly kind: number;
  readonly publishedMs: Map<number, number>;
}

/**
 * Which operations one assembler has seen. What was published counts per partition of `trace-metadata`: only there does the order of
 * the log put an entry before the watermarks that rest on it.
 */
export class CatalogueWindow {
  readonly #limits: CatalogueLimits;
  readonly #services = new Map<string, Map<string, (Known | undefined)[]>>();
  #dropped = 0;
  #count = 0;

  constructor(limits: CatalogueLimits) {
    this.#limits = limits;
  }

  /** Sightings that were not remembered because a limit was reached. */
  get dropped(): number {
    return this.#dropped;
  }

  /** For one ownership of a partition of `spans`, whose feed goes to `metadataPartition`. */
  partition(metadataPartition: number): PartitionCatalogue {
    return new PartitionCatalogue(metadataPartition, this.#limits.refreshMs, (service, operation, kind) =>
      this.#known(service, operation, kind),
    );
  }

  /** Null beyond the limits. */
  #known(service: string, operation: string, kind: number): Known | null {
    const index = kind >= 0 && kind <= KIND_MAX ? kind : 0;
    let operations = this.#services.get(service);
    let kinds = operations?.get(operation);
    const known = kinds?.[index];
    if (known) return known;
    if (!kinds) {
      const { operationsMax, operationsPerServiceMax } = this.#limits;
      if (this.#count >= operationsMax || (operations && operations.size >= operationsPerServiceMax)) {
        this.#dropped++;
        return null;
      }
      if (!operations) {
        operations = new Map();
        this.#services.set(service, operations);
      }
      kinds = [];
      operations.set(operation, kinds);
      this.#count++;
    }
    const added: Known = { service, operation, kind: index, publishedMs: new Map() };
    kinds[index] = added;
    return added;
  }
}

/**
 * What one owned partition of `spans` has to publish: the operations seen in it that its feed has not told of for a while. An entry that another
 * partition is about to publish is published here too: were it left to the other, this partition's watermark could pass a span
 * whose operation is not in the feed, and a search would skip the region.
 */
export class PartitionCatalogue {
  readonly #metadataPartition: number;
  readonly #refreshMs: number;
  readonly #find: (service: string, operation: string, kind: number) => Known | null;
  /** With the time at which they were seen. */
  readonly #pending = new Map<Known, number>();
  #inPass = new Map<Known, number>();

  constructor(
    metadataPartition: number,
    refreshMs: number,
    find: (service: string, operation: string, kind: number) => Known | null,
  ) {
    this.#metadataPartition = metadataPartition;
    this.#refreshMs = refreshMs;
    this.#find = find;
  }

  /** Entries that no pass has taken yet: while there are any, no watermark may be published. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  see(service: string, operation: string, kind: number, nowMs: number): void {
    const known = this.#find(service, operation, kind);
    if (!known) return;
    const publishedMs = known.publishedMs.get(this.#metadataPartition);
    if (publishedMs !== undefined && nowMs - publishedMs < this.#refreshMs) return;
    if (!this.#pending.has(known) && !this.#inPass.has(known)) this.#pending.set(known, nowMs);
  }

  /** Takes up to `max` entries for a pass; `published` has to follow before another. */
  take(max: number): CatalogueEntry[] {
    const entries: CatalogueEntry[] = [];
    for (const [known, seenMs] of this.#pending) {
      if (entries.length >= max) break;
      const { service, operation, kind } = known;
      entries.push({ service, operation, kind, lastSeenMs: seenMs });
      this.#pending.delete(known);
      this.#inPass.set(known, seenMs);
    }
    return entries;
  }

  /** What was taken is durable in the feed. (Where it never comes to this, the next owner of the partition sees the spans again.) */
  published(): void {
    for (const [known, seenMs] of this.#inPass) known.publishedMs.set(this.#metadataPartition, seenMs);
    this.#inPass = new Map();
  }
}
