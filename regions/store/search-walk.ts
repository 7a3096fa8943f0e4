import { joinMetadata } from '../../global/index/join.js';
import type { TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchPosition, type SearchRequest } from '../../global/model/query.js';
import { minNano } from '../../global/model/time.js';
import type { Clock } from '../../global/runtime/clock.js';
import { compileQuery, matchSegment } from '../segments/match.js';
import type { Block } from '../segments/segment.js';
import type { SearchMatch, SearchPage } from './segment-store.js';
import { mayHoldTerm } from './term-filter.js';
import { kindBit, queryTerms } from './terms.js';

/** Where a pack stands: by its newest segment start, newest first, then by number, highest first. */
export interface PackPlace {
  readonly startUnixNanoMax: bigint;
  readonly pack: number;
}

export interface PackCandidate extends PackPlace {
  readonly filter: Uint8Array;
}

/** What a pack's columns can tell about it: a pack without any of these holds no match. */
export interface PackConditions {
  /** Its earliest segment starts no later. */
  readonly segmentStartUnixNanoMax: bigint;
  /** Its latest span starts no earlier. */
  readonly spanStartUnixNanoMin: bigint;
  /** Its longest span lasts no less. */
  readonly durationNanoMin: bigint;
  /** It holds a span of one of these kinds (bits). */
  readonly kinds: number;
}

export interface PackListing {
  /** Candidates after a place, in order; `last`: the place that was looked at up to, null at the end. `moves` was read with or after them. */
  next(after: PackPlace | null): { candidates: readonly PackCandidate[]; last: PackPlace | null; moves: number };
  /** A count that has grown whenever packs were replaced by others. */
  moves(): number;
  /** Null where the pack is gone: replaced, or expired. */
  load(pack: number): Block | Promise<Block | null>;
}

/** What a search did, for metrics. */
export interface SearchWork {
  packsListed: number;
  packsInflated: number;
  segmentsVerified: number;
}

/** Longest stretch of matching before others on the event loop get their turn. */
const TURN_MS = 3;
const UINT64_MAX = (1n << 64n) - 1n;
const LAST_TRACE_ID = 'f'.repeat(32) as TraceId;
const EVERY_KIND = 0xffff_ffff;

export function packConditions({ query, after }: SearchRequest): PackConditions {
  // A segment starts no later than any of its spans.
  const start = query.startUnixNanoMax;
  return {
    segmentStartUnixNanoMax: after ? minNano(after.startUnixNano, start) : start,
    spanStartUnixNanoMin: query.startUnixNanoMin,
    durationNanoMin: query.durationNanoMin ?? 0n,
    kinds: query.kind === undefined ? EVERY_KIND : kindBit(query.kind) >>> 0,
  };
}

/**
 * Walks packs by their newest segment start, newest first. A match may be given out as soon as the walk has come to packs that
 * start below it: nothing found later can stand before it. Packs that are replaced meanwhile (`moves`) make the walk begin
 * again, past those it has seen; what was written meanwhile and stands before what was given out is left to a later search.
 */
export async function walkPacks(
  request: SearchRequest,
  listing: PackListing,
  signal: AbortSignal,
  clock: Clock,
  work: SearchWork,
): Promise<SearchPage> {
  const query = compileQuery(request.query);
  if (query.empty) return { matches: [], next: null };
  const terms = queryTerms(request.query);
  const page = new PageBuilder(request.limit);
  const seen = new Set<number>();
  let moves = listing.moves();
  let place: PackPlace | null = null;
  let floor = UINT64_MAX;
  let turnMs = clock.monotonicMs();
  for (;;) {
    const step = listing.next(place);
    let moved = step.moves !== moves;
    for (const candidate of moved ? [] : step.candidates) {
      if (seen.has(candidate.pack)) continue;
      work.packsListed++;
      floor = minNano(floor, candidate.startUnixNanoMax);
      if (page.giveOut(floor)) return page.full();
      if (signal.aborted) return page.cut(floor, request.after);
      if (!terms.every((term) => mayHoldTerm(candidate.filter, term))) continue;
      const loaded = listing.load(candidate.pack);
      const block = loaded instanceof Promise ? await loaded : loaded;
      if (loaded instanceof Promise) turnMs = clock.monotonicMs();
      if (block === null) {
        moved = listing.moves() !== moves;
        if (moved) break;
        continue;
      }
      seen.add(candidate.pack);
      work.packsInflated++;
      for (const segment of block.segments) {
        const { metadata } = segment;
        const position = { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId };
        if (position.startUnixNano > floor) continue;
        if (request.after && compareSearchPositions(position, request.after) <= 0) continue;
        work.segmentsVerified++;
        if (matchSegment(segment, query)) page.add(position, metadata);
      }
      if (clock.monotonicMs() - turnMs > TURN_MS) {
        await nextTurn();
        turnMs = clock.monotonicMs();
      }
    }
    if (moved) {
      moves = listing.moves();
      place = null;
    } else if (step.last) {
      place = step.last;
      await nextTurn();
    } else {
      return page.giveOut(-1n) ? page.full() : { matches: page.matches, next: null };
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Collects matches in any order, gives them out in search order, each trace once. */
class PageBuilder {
  readonly matches: SearchMatch[] = [];
  readonly #limit: number;
  readonly #placeOfTrace = new Map<TraceId, number>();
  #pending: SearchMatch[] = [];
  #sorted = true;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(position: SearchPosition, metadata: TraceMetadata): void {
    this.#pending.push({ position, metadata });
    this.#sorted = false;
  }

  /** Gives out what starts after `floor`; true when the page is full and there is more, or may be. */
  giveOut(floor: bigint): boolean {
    if (!this.#sorted) this.#pending.sort((a, b) => compareSearchPositions(b.position, a.position));
    this.#sorted = true;
    // In reverse: the next one stands at the end.
    for (let top = this.#pending.at(-1); top && top.position.startUnixNano > floor; top = this.#pending.at(-1)) {
      const place = this.#placeOfTrace.get(top.position.traceId);
      if (place !== undefined) {
        const { position, metadata } = this.matches[place]!;
        this.matches[place] = { position, metadata: joinMetadata(metadata, top.metadata) };
      } else {
        if (this.matches.length === this.#limit) return true;
        this.#placeOfTrace.set(top.position.traceId, this.matches.length);
        this.matches.push(top);
      }
      this.#pending.pop();
    }
    return floor >= 0n && this.matches.length === this.#limit;
  }

  full(): SearchPage {
    return { matches: this.matches, next: this.matches.at(-1)!.position };
  }

  /** The page of a walk that has given out everything that starts after `floor`, and nothing else. */
  cut(floor: bigint, after: SearchPosition | null): SearchPage {
    // After the last place above the floor: whatever starts at the floor is still to come.
    const reached = { startUnixNano: minNano(floor + 1n, UINT64_MAX), traceId: LAST_TRACE_ID };
    const next = after && compareSearchPositions(after, reached) > 0 ? after : reached;
    return { matches: this.matches, next };
  }
}
