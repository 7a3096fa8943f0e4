import type { TraceLocation } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { compareSearchPositions, type SearchPosition } from '../../global/model/query.js';
import { NANOS_PER_SECOND } from '../../global/model/time.js';
import type { RegionSearchPage } from '../../global/region-api/region-client.js';
import { CURSOR_EMITTED_MAX, emittedHash, type RegionResume } from './cursor.js';
import { HOLD_BACK_NANO, KnownTrace, type TraceSummary } from './known-trace.js';

/** A trace younger than this may still be ranked anew when a record arrives. */
export const YOUNG_NANO = 120n * NANOS_PER_SECOND;

export interface SearchMergeOptions {
  readonly limit: number;
  /** Where the cursor stands: what ranks at or before it was dealt with on earlier pages. Null on the first page. */
  readonly last: SearchPosition | null;
  readonly emitted: readonly string[];
  readonly regions: readonly { readonly region: RegionId; readonly resume: RegionResume }[];
  /** Every one of these occurs in the trace, in whatever region. */
  readonly services: readonly string[];
  readonly nowUnixNano: bigint;
}

interface Offer {
  readonly position: SearchPosition;
  readonly trace: TraceState;
}

interface TraceState {
  readonly known: KnownTrace;
  /** Emitted, filtered out, or dealt with on an earlier page. */
  settled: boolean;
  located: boolean;
}

interface Source {
  /** Every offer still to come lies strictly after this; null: nothing is known yet. */
  frontier: SearchPosition | null;
  finished: boolean;
  failed: boolean;
  readonly resumedAt: RegionResume;
  /** Unsettled offers, and those behind them, in order. */
  offers: Offer[];
  /** Everything up to here is settled. */
  settledTo: SearchPosition | null;
}

/**
 * The merge of a search over regions (decision 0003): takes pages in any interleaving, emits traces in one total order (rank: newest earliest
 * start, then id), and tells which regions have to be read further for that. A trace is held back until no region can come up with one
 * that ranks before it. No I/O.
 */
export class SearchMerge {
  readonly #sources = new Map<RegionId, Source>();
  readonly #traces = new Map<TraceId, TraceState>();
  readonly #emittedBefore: Set<string>;
  readonly #emitted: string[];
  readonly #results: TraceSummary[] = [];
  #last: SearchPosition | null;

  constructor(private readonly options: SearchMergeOptions) {
    this.#last = options.last;
    this.#emitted = [...options.emitted];
    this.#emittedBefore = new Set(options.emitted);
    for (const { region, resume } of options.regions) {
      const start = resume.kind === 'after' ? resume.position : null;
      this.#sources.set(region, {
        frontier: start,
        finished: resume.kind === 'done',
        failed: false,
        resumedAt: resume,
        offers: [],
        settledTo: start,
      });
    }
  }

  /** Takes a page of a region. The caller has checked its order and that it advances. */
  accept(region: RegionId, page: Pick<RegionSearchPage, 'matches' | 'next'>): void {
    const source = this.#sources.get(region)!;
    for (const { position, metadata } of page.matches) {
      let trace = this.#traces.get(position.traceId);
      if (!trace) {
        trace = { known: new KnownTrace(position.traceId), settled: false, located: false };
        this.#traces.set(position.traceId, trace);
      }
      if (!trace.settled) trace.known.offered(metadata, position.startUnixNano);
      source.offers.push({ position, trace });
    }
    source.frontier = page.next ?? source.frontier;
    source.finished = page.next === null;
  }

  /** The region gives no more in this page of the answer. It goes on where it was in the next. */
  fail(region: RegionId): void {
    this.#sources.get(region)!.failed = true;
  }

  /** Offered traces that the index has not been asked about. */
  unlocated(): TraceId[] {
    return [...this.#traces.values()].filter((t) => !t.located && !t.settled).map((t) => t.known.traceId);
  }

  /** What the index knows; null where it could not be asked. */
  located(traceId: TraceId, location: TraceLocation | null): void {
    const trace = this.#traces.get(traceId);
    if (!trace) return;
    trace.located = true;
    for (const record of location?.records ?? []) trace.known.add(record);
  }

  /** Emits what can be emitted now. */
  settle(): void {
    for (const trace of this.#held()) {
      if (!trace.located || this.#results.length >= this.options.limit) return;
      const rank = trace.known.rank();
      if (this.#wasDealtWith(trace.known.traceId, rank)) {
        trace.settled = true;
        continue;
      }
      if (!this.#isSafe(rank)) return;
      trace.settled = true;
      this.#last = rank;
      if (trace.known.hasServices(this.options.services)) this.#emit(trace.known);
    }
  }

  /** Regions to be read further now, and from where; none when the page is full or nothing more can come. */
  wanted(): { readonly region: RegionId; readonly after: SearchPosition | null }[] {
    const missing = this.options.limit - this.#results.length;
    if (missing <= 0) return [];
    const target = this.#held()[missing - 1]?.known.rank() ?? null;
    const wanted: { region: RegionId; after: SearchPosition | null }[] = [];
    for (const [region, source] of this.#sources) {
      if (source.finished || source.failed) continue;
      if (target && source.frontier && compareSearchPositions(source.frontier, target) >= 0) continue;
      wanted.push({ region, after: this.#skipDealtWith(source.frontier) });
    }
    return wanted;
  }

  get results(): readonly TraceSummary[] {
    return this.#results;
  }

  get heldCount(): number {
    let held = 0;
    for (const trace of this.#traces.values()) if (!trace.settled) held++;
    return held;
  }

  /** What the next page needs; null when this one was the last. Failed regions alone do not make a next page. */
  next(): {
    readonly last: SearchPosition;
    readonly regions: SearchMergeOptions['regions'];
    readonly emitted: readonly string[];
  } | null {
    const more = [...this.#sources.values()].some((s) => !s.failed && !s.finished);
    if (!more && this.heldCount === 0) return null;
    const last = this.#last ?? BEFORE_EVERYTHING;
    const regions = [...this.#sources].map(([region, source]) => ({ region, resume: this.#resumeOf(source) }));
    return { last, regions, emitted: this.#emitted.slice(-CURSOR_EMITTED_MAX) };
  }

  #held(): TraceState[] {
    return [...this.#traces.values()]
      .filter((t) => !t.settled)
      .map((trace) => ({ trace, rank: trace.known.rank() }))
      .sort((a, b) => compareSearchPositions(a.rank, b.rank))
      .map((entry) => entry.trace);
  }

  #wasDealtWith(traceId: TraceId, rank: SearchPosition): boolean {
    const { last } = this.options;
    if (last && compareSearchPositions(rank, last) <= 0) return true;
    return this.#emittedBefore.size > 0 && this.#emittedBefore.has(emittedHash(traceId));
  }

  /** Can no region still offer a trace that ranks before this? A trace never ranks before its segments. */
  #isSafe(rank: SearchPosition): boolean {
    for (const source of this.#sources.values()) {
      if (source.finished || source.failed) continue;
      if (!source.frontier || compareSearchPositions(source.frontier, rank) < 0) return false;
    }
    return true;
  }

  #emit(known: KnownTrace): void {
    this.#results.push(known.summary());
    // A rank that was clamped depends on which segments were offered, so it is remembered too.
    if (this.options.nowUnixNano - known.endUnixNano < YOUNG_NANO || known.isClamped) {
      this.#emitted.push(emittedHash(known.traceId));
    }
  }

  /** A segment that starts more than the hold-back before the cursor's rank in the order belongs to a trace that was dealt with. */
  #skipDealtWith(after: SearchPosition | null): SearchPosition | null {
    const { last } = this.options;
    if (!last || last.startUnixNano > BEFORE_EVERYTHING.startUnixNano - HOLD_BACK_NANO) return after;
    const floor: SearchPosition = { startUnixNano: last.startUnixNano + HOLD_BACK_NANO, traceId: FIRST_ID };
    return after && compareSearchPositions(after, floor) >= 0 ? after : floor;
  }

  #resumeOf(source: Source): RegionResume {
    let at = 0;
    while (at < source.offers.length && source.offers[at]!.trace.settled) at++;
    if (at === source.offers.length) {
      if (source.finished) return { kind: 'done' };
      return source.frontier ? { kind: 'after', position: source.frontier } : source.resumedAt;
    }
    const settledTo = at > 0 ? source.offers[at - 1]!.position : source.settledTo;
    return settledTo ? { kind: 'after', position: settledTo } : source.resumedAt;
  }
}

const FIRST_ID = '0'.repeat(32) as TraceId;

/** A place before every trace. */
const BEFORE_EVERYTHING: SearchPosition = { startUnixNano: 0xffff_ffff_ffff_ffffn, traceId: FIRST_ID };
