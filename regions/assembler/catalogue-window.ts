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

/** Which operations were seen, and which of them are to be published: those seen for the first time or not published for a while. */
export class CatalogueWindow {
  readonly #limits: CatalogueLimits;
  readonly #services = new Map<string, Map<string, number[]>>();
  #pending: CatalogueEntry[] = [];
  #dropped = 0;
  #count = 0;

  constructor(limits: CatalogueLimits) {
    this.#limits = limits;
  }

  /** Sightings that were not remembered because a limit was reached. */
  get dropped(): number {
    return this.#dropped;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  see(service: string, operation: string, kind: number, nowMs: number): void {
    const operations = this.#services.get(service);
    // By kind: when it was published last.
    const published = operations?.get(operation);
    const index = kind >= 0 && kind <= KIND_MAX ? kind : 0;
    const before = published?.[index];
    if (before !== undefined && nowMs - before < this.#limits.refreshMs) return;
    if (published) {
      published[index] = nowMs;
    } else if (
      this.#count >= this.#limits.operationsMax ||
      (operations && operations.size >= this.#limits.operationsPerServiceMax)
    ) {
      this.#dropped++;
      return;
    } else {
      this.#remember(service, operation)[index] = nowMs;
    }
    this.#pending.push({ service, operation, kind: index, lastSeenMs: nowMs });
  }

  #remember(service: string, operation: string): number[] {
    let operations = this.#services.get(service);
    if (!operations) {
      operations = new Map();
      this.#services.set(service, operations);
    }
    const published: number[] = [];
    operations.set(operation, published);
    this.#count++;
    return published;
  }

  /** Takes up to `max` of what is to be published. */
  take(max: number): CatalogueEntry[] {
    return this.#pending.splice(0, max);
  }
}
