import type { SearchRequest } from '../../global/model/query.js';
import { minNano, UINT64_MAX } from '../../global/model/time.js';
import type { Clock } from '../../global/runtime/clock.js';
import { compileQuery } from '../segments/match.js';
import type { Block } from '../segments/segment.js';
import { PageBuilder } from './search-page.js';
import type { SearchPage } from './segment-store.js';
import { mayHoldTerm } from './term-filter.js';
import { kindBit, queryTerms } from './terms.js';

/** A pack that may hold matches. */
export interface PackCandidate {
  readonly pack: number;
  /** No segment of it that the search is about starts later than this. */
  readonly reachUnixNano: bigint;
}

/** What a pack's columns can tell about it: a pack without any of these holds no match. */
export interface PackConditions {
  /** Segments that start later are not asked for. */
  readonly segmentStartUnixNanoMax: bigint;
  /** Its latest span starts no earlier. */
  readonly spanStartUnixNanoMin: bigint;
  /** Its longest span lasts no less. */
  readonly durationNanoMin: bigint;
  /** It holds a span of one of these kinds (bits). */
  readonly kinds: number;
}

/** Packs in the order of how far they reach, newest first, then by number, highest first. */
export interface PackListing {
  /** Packs that reach beyond where the search begins, in order. */
  overlapping(): Promise<readonly PackCandidate[]>;
  /** The others after one of them (null: from the first), a step at a time; `last`: the pack that was looked at last, null at the end. */
  next(after: PackCandidate | null): { candidates: readonly PackCandidate[]; last: PackCandidate | null };
  /** A count that has grown whenever packs were replaced by others. */
  moves(): number;
  /** The pack's terms; null where it is gone: replaced, or expired. */
  filter(pack: number): Uint8Array | null;
  load(pack: number): Block | Promise<Block | null>;
}

/** What a search did, for metrics. */
export interface SearchWork {
  packsListed: number;
  packsInflated: number;
}

/** Longest stretch of work before others on the event loop get their turn. */
const TURN_MS = 3;
const EVERY_KIND = 0xffff_ffff;

export function packConditions({ query, after }: SearchRequest): PackConditions {
  // A segment starts no later than any of its spans.
  const start = minNano(query.startUnixNanoMax, UINT64_MAX);
  return {
    segmentStartUnixNanoMax: after ? minNano(after.startUnixNano, start) : start,
    spanStartUnixNanoMin: query.startUnixNanoMin,
    durationNanoMin: query.durationNanoMin ?? 0n,
    kinds: query.kind === undefined ? EVERY_KIND : kindBit(query.kind) >>> 0,
  };
}

/**
 * Walks packs by how far they reach, newest first. A match may be given out as soon as the walk has come to packs that reach no farther
 * than below it: nothing found later can stand before it. Packs that are replaced meanwhile (`moves`) make the walk begin
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
  const page = new PageBuilder(request, query);
  const seen = new Set<number>();
  const turns = new Turns(clock);
  let floor = UINT64_MAX;
  let moves = listing.moves();
  let candidates = inOrder(listing, turns);
  for (;;) {
    const next = await candidates.next();
    // Packs that were replaced may stand where the listing has passed already: nothing is given out before that is looked at.
    if (listing.moves() !== moves) {
      if (signal.aborted) return page.cut(floor);
      moves = listing.moves();
      candidates = inOrder(listing, turns);
      continue;
    }
    if (next.done) return page.rest();
    const candidate = next.value;
    if (seen.has(candidate.pack)) continue;
    work.packsListed++;
    floor = minNano(floor, candidate.reachUnixNano);
    if (page.giveOut(floor)) return page.full();
    if (signal.aborted) return page.cut(floor);
    if (turns.isDue()) await turns.yield();
    const filter = listing.filter(candidate.pack);
    // Gone: it expired, or was replaced, which the next turn of the loop sees.
    if (!filter || !terms.every((term) => mayHoldTerm(filter, term))) continue;
    const loaded = listing.load(candidate.pack);
    const block = loaded instanceof Promise ? await loaded : loaded;
    if (loaded instanceof Promise) turns.restart();
    if (!block) continue;
    seen.add(candidate.pack);
    work.packsInflated++;
    page.add(block, floor);
  }
}

async function* inOrder(listing: PackListing, turns: Turns): AsyncGenerator<PackCandidate, void, undefined> {
  const overlapping = await listing.overlapping();
  let at = 0;
  for (let place: PackCandidate | null = null; ; ) {
    const { candidates, last } = listing.next(place);
    for (const candidate of candidates) {
      for (; at < overlapping.length && overlapping[at]!.reachUnixNano >= candidate.reachUnixNano; at++) {
        yield overlapping[at]!;
      }
      yield candidate;
    }
    if (!last) break;
    place = last;
    await turns.yield();
  }
  for (; at < overlapping.length; at++) yield overlapping[at]!;
}

/** Lets others on the event loop have their turn. */
class Turns {
  readonly #clock: Clock;
  #sinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  isDue(): boolean {
    return this.#clock.monotonicMs() - this.#sinceMs > TURN_MS;
  }

  restart(): void {
    this.#sinceMs = this.#clock.monotonicMs();
  }

  async yield(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.restart();
  }
}
