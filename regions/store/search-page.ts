import { joinMetadata } from '../../global/index/join.js';
import type { TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchPosition, type SearchRequest } from '../../global/model/query.js';
import { minNano, UINT64_MAX } from '../../global/model/time.js';
import { type CompiledQuery, matchSegment } from '../segments/match.js';
import type { Block, Segment } from '../segments/segment.js';
import type { SearchMatch, SearchPage } from './segment-store.js';

/** A segment that stands in the way of the walk. */
interface Waiting {
  readonly position: SearchPosition;
  readonly metadata: TraceMetadata;
  /** What is still to be verified; null where it was. */
  readonly segment: Segment | null;
}

/** Waiting segments of one block, last in search order first: the next one is at the end. */
interface Run {
  readonly waiting: Waiting[];
  readonly bytes: number;
}

/** Payloads that wait to be verified; segments beyond it are verified when their block comes, and only matches are kept. */
const WAITING_BYTES_MAX = 32 * 1024 * 1024;
const LAST_TRACE_ID = 'f'.repeat(32) as TraceId;

/**
 * Collects the segments of blocks and gives matches out in search order, each trace once. A segment is verified when its turn to be
 * given out has come, so that a page of a common service costs a page of verifications and not one of all blocks that it looked into.
 */
export class PageBuilder {
  readonly #request: SearchRequest;
  readonly #query: CompiledQuery;
  readonly #matches: SearchMatch[] = [];
  readonly #placeOfTrace = new Map<TraceId, number>();
  /** A heap: the run whose next segment comes first is at the root. */
  readonly #runs: Run[] = [];
  readonly #waitingBytesMax: number;
  #waitingBytes = 0;

  constructor(request: SearchRequest, query: CompiledQuery, waitingBytesMax = WAITING_BYTES_MAX) {
    this.#request = request;
    this.#query = query;
    this.#waitingBytesMax = waitingBytesMax;
  }

  /** Takes what starts at or below the floor, of a block of which nothing that was asked for starts above it. */
  add(block: Block, floor: bigint): void {
    const { after, query } = this.#request;
    const bytes = block.segments.reduce((sum, { payload }) => sum + payload.length, 0);
    const eager = this.#waitingBytes + bytes > this.#waitingBytesMax;
    const waiting: Waiting[] = [];
    for (const segment of block.segments) {
      const { metadata } = segment;
      // No span of a segment starts before it.
      if (metadata.startUnixNano > floor || metadata.startUnixNano > query.startUnixNanoMax) continue;
      if (this.#query.traceIds && !this.#query.traceIds.has(metadata.traceId)) continue;
      const position = { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId };
      if (after && compareSearchPositions(position, after) <= 0) continue;
      if (!eager) waiting.push({ position, metadata, segment });
      else if (matchSegment(segment, this.#query)) waiting.push({ position, metadata, segment: null });
    }
    if (waiting.length === 0) return;
    waiting.sort((a, b) => compareSearchPositions(b.position, a.position));
    this.#waitingBytes += eager ? 0 : bytes;
    this.#runs.push({ waiting, bytes: eager ? 0 : bytes });
    this.#rise(this.#runs.length - 1);
  }

  /** Gives out what starts above the floor; true when the page is full. */
  giveOut(floor: bigint): boolean {
    for (let first = this.#first(); first && first.position.startUnixNano > floor; first = this.#first()) {
      if (!this.#take(first)) return true;
    }
    return this.#matches.length === this.#request.limit;
  }

  /** The page of a walk that has come to the end. */
  rest(): SearchPage {
    for (let first = this.#first(); first; first = this.#first()) {
      if (!this.#take(first)) return this.full();
    }
    return { matches: this.#matches, next: null };
  }

  full(): SearchPage {
    return { matches: this.#matches, next: this.#matches.at(-1)!.position };
  }

  /** The page of a walk that has given out everything that starts above `floor`, and nothing else. */
  cut(floor: bigint): SearchPage {
    // The last place above the floor: whatever starts at the floor is still to come.
    const reached = { startUnixNano: minNano(floor + 1n, UINT64_MAX), traceId: LAST_TRACE_ID };
    const { after } = this.#request;
    const next = after && compareSearchPositions(after, reached) > 0 ? after : reached;
    return { matches: this.#matches, next };
  }

  /** False where it is a match that finds the page full. */
  #take(first: Waiting): boolean {
    const { position, metadata, segment } = first;
    const place = this.#placeOfTrace.get(position.traceId);
    const full = this.#matches.length === this.#request.limit;
    if (segment === null || matchSegment(segment, this.#query)) {
      if (place !== undefined) {
        const known = this.#matches[place]!;
        this.#matches[place] = { position: known.position, metadata: joinMetadata(known.metadata, metadata) };
      } else if (full) {
        return false;
      } else {
        this.#placeOfTrace.set(position.traceId, this.#matches.length);
        this.#matches.push({ position, metadata });
      }
    }
    this.#drop();
    return true;
  }

  #first(): Waiting | undefined {
    return this.#runs[0]?.waiting.at(-1);
  }

  /** Removes the first one. */
  #drop(): void {
    const run = this.#runs[0]!;
    run.waiting.pop();
    if (run.waiting.length === 0) {
      this.#waitingBytes -= run.bytes;
      const last = this.#runs.pop()!;
      if (this.#runs.length === 0) return;
      this.#runs[0] = last;
    }
    this.#sink(0);
  }

  #isBefore(a: number, b: number): boolean {
    return compareSearchPositions(this.#runs[a]!.waiting.at(-1)!.position, this.#runs[b]!.waiting.at(-1)!.position) < 0;
  }

  #swap(a: number, b: number): void {
    const run = this.#runs[a]!;
    this.#runs[a] = this.#runs[b]!;
    this.#runs[b] = run;
  }

  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(from: number): void {
    for (let at = from; ; ) {
      let first = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#runs.length && this.#isBefore(child, first)) first = child;
      }
      if (first === at) return;
      this.#swap(at, first);
      at = first;
    }
  }
}
