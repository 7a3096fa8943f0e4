import type { TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import { maxNano, minNano, msToUnixNano, UINT64_MAX } from '../../global/model/time.js';
import { compileQuery } from '../segments/match.js';
import type { ColdBlockSummary } from './cold-object.js';
import { HOUR_NANOS, mayReach } from './cold-object-name.js';
import type { ColdObject, ColdObjects } from './cold-objects.js';
import { PageBuilder } from './search-page.js';
import { packConditions } from './search-walk.js';
import type { SearchPage } from './segment-store.js';
import { mayHoldTerm } from './term-filter.js';
import { queryTerms } from './terms.js';

interface Candidate {
  readonly object: ColdObject;
  readonly block: ColdBlockSummary;
  /** No segment of it that the search is about starts later than this. */
  readonly reachUnixNano: bigint;
}

/**
 * The walk of `search-walk.ts` over cold objects: blocks by how far they reach, newest first. An hour's summaries are read when the walk has come down to
 * where its blocks can reach, so a page of young matches does not read old hours. What the signal cuts off is told by the page's `next`.
 */
export async function searchCold(
  request: SearchRequest,
  objects: ColdObjects,
  blocksOf: (object: ColdObject, traceId: TraceId) => Promise<readonly ColdBlockSummary[]>,
  signal: AbortSignal,
): Promise<SearchPage> {
  const query = compileQuery(request.query);
  if (query.empty) return { matches: [], next: null };
  const terms = queryTerms(request.query);
  const page = new PageBuilder(request, query);
  const hours = new Candidates(request, objects, blocksOf);
  await hours.open();
  let floor = UINT64_MAX;
  for (;;) {
    const reachUnixNano = hours.reach();
    if (reachUnixNano === null) return page.rest();
    floor = minNano(floor, reachUnixNano);
    if (page.giveOut(floor)) return page.full();
    if (signal.aborted) return page.cut(floor);
    const candidate = await hours.take();
    if (!candidate) continue;
    const { object, block } = candidate;
    if (terms.length > 0) {
      const filter = await objects.filter(object, block);
      if (!filter || !terms.every((term) => mayHoldTerm(filter, term))) continue;
    }
    const loaded = await objects.block(object, block);
    if (loaded) page.add(loaded, floor);
  }
}

/** Blocks that may hold matches, by how far they reach. */
class Candidates {
  readonly #request: SearchRequest;
  readonly #objects: ColdObjects;
  readonly #blocksOf: (object: ColdObject, traceId: TraceId) => Promise<readonly ColdBlockSummary[]>;
  readonly #limit: bigint;
  /** Not read yet, the newest hour first. */
  #unread: ColdObject[] = [];
  /** The next one is at the end. */
  #ready: Candidate[] = [];

  constructor(
    request: SearchRequest,
    objects: ColdObjects,
    blocksOf: (object: ColdObject, traceId: TraceId) => Promise<readonly ColdBlockSummary[]>,
  ) {
    this.#request = request;
    this.#objects = objects;
    this.#blocksOf = blocksOf;
    this.#limit = packConditions(request).segmentStartUnixNanoMax;
  }

  async open(): Promise<void> {
    const { source, query } = this.#request;
    const all = await this.#objects.of(source);
    this.#unread = all.filter(({ hourMs }) => mayReach(hourMs, query.startUnixNanoMin));
  }

  /** How far whatever is left reaches at most; null where nothing is left. */
  reach(): bigint | null {
    const ready = this.#ready.at(-1)?.reachUnixNano;
    const [unread] = this.#unread;
    if (!unread) return ready ?? null;
    return maxNano(ready ?? 0n, this.#reachOf(unread));
  }

  /** The block that reaches farthest; null where an hour had to be read first, after which `reach` may be less. */
  async take(): Promise<Candidate | null> {
    const [unread] = this.#unread;
    const ready = this.#ready.at(-1);
    if (unread && (!ready || this.#reachOf(unread) >= ready.reachUnixNano)) {
      const sameHour = this.#unread.filter(({ hourMs }) => hourMs === unread.hourMs);
      const candidates = await Promise.all(sameHour.map((object) => this.#candidates(object)));
      this.#unread = this.#unread.slice(sameHour.length);
      this.#ready.push(...candidates.flat());
      this.#ready.sort((a, b) => (a.reachUnixNano < b.reachUnixNano ? -1 : a.reachUnixNano > b.reachUnixNano ? 1 : 0));
      return null;
    }
    return this.#ready.pop() ?? null;
  }

  /** Nothing in a block starts after its newest time, which lies in the hour. */
  #reachOf({ hourMs }: ColdObject): bigint {
    return minNano(msToUnixNano(hourMs) + HOUR_NANOS, this.#limit);
  }

  async #candidates(object: ColdObject): Promise<Candidate[]> {
    const conditions = packConditions(this.#request);
    return (await this.#blocks(object))
      .filter(
        ({ startUnixNanoMin, spanStartUnixNanoMax, durationNanoMax, kinds }) =>
          startUnixNanoMin <= this.#limit &&
          spanStartUnixNanoMax >= conditions.spanStartUnixNanoMin &&
          durationNanoMax >= conditions.durationNanoMin &&
          (kinds & conditions.kinds) !== 0,
      )
      .map((block) => ({ object, block, reachUnixNano: minNano(block.startUnixNanoMax, this.#limit) }));
  }

  async #blocks(object: ColdObject): Promise<readonly ColdBlockSummary[]> {
    const { traceIds } = this.#request.query;
    if (!traceIds) return (await this.#objects.summary(object))?.blocks ?? [];
    const found = new Set<ColdBlockSummary>();
    for (const traceId of traceIds) for (const block of await this.#blocksOf(object, traceId)) found.add(block);
    return [...found];
  }
}
