import { joinMetadata } from '../../global/index/join.js';
import type { TraceIndexReader } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId, TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchPosition, type SearchRequest } from '../../global/model/query.js';
import type {
  MissingPart,
  RegionSearchPage,
  RegionSegment,
  RegionTrace,
  TraceRequest,
} from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import { StateMemory } from '../../global/runtime/health.js';
import type { LiveSegments } from '../assembler/open-traces-reader.js';
import type { SearchPage, SegmentStoreReader, SegmentStoreSearch } from '../store/segment-store.js';
import type { LiveReads, LiveSegment } from './live-peer.js';

export interface RegionReadsOptions {
  readonly region: RegionId;
  readonly store: SegmentStoreReader & SegmentStoreSearch;
  /** What this process holds. */
  readonly live: LiveSegments;
  /** What all processes of the region hold, this one too. Left out: this process is the only one. */
  readonly peered?: LiveReads;
  readonly index: TraceIndexReader;
  readonly clock: Clock;
}

/**
 * What a region knows of its own traces: its store joined with what its assemblers still hold. A part that fails is named in the
 * answer; what the other part has is answered all the same.
 *
 * The live side is read BEFORE the store: a segment leaves it only after the store has it, so whatever is on its way between the
 * two is seen in one of them, or in both; the router drops what it sees twice.
 */
export class RegionReads {
  readonly #options: RegionReadsOptions;
  readonly #storeState: StateMemory;
  readonly #liveState: StateMemory;

  constructor(options: RegionReadsOptions) {
    this.#options = options;
    this.#storeState = new StateMemory('store', options.clock);
    this.#liveState = new StateMemory('assembler', options.clock);
  }

  async getTrace({ source, traceId, blocks, bytesMax }: TraceRequest): Promise<RegionTrace> {
    const { store } = this.#options;
    const missing: MissingPart[] = [];
    const segments: RegionSegment[] = [];
    const add = (found: readonly LiveSegment[], isLive: boolean) => {
      for (const segment of found) segments.push({ ...segment, live: isLive });
    };
    add(await this.#live(source, traceId, missing), true);
    const known = await this.#ownBlocks(source, traceId);
    const hints = { blocks: [...new Set([...blocks, ...known])], complete: false };
    add((await this.#ask(this.#storeState, missing, () => store.get(source, traceId, hints))) ?? [], false);
    return { ...cutAt(segments, bytesMax), missing };
  }

  async search(request: SearchRequest, signal: AbortSignal): Promise<RegionSearchPage> {
    const { store } = this.#options;
    const missing: MissingPart[] = [];
    const pages = [
      ...(await this.#searchLive(request, signal, missing)),
      await this.#ask(this.#storeState, missing, () => store.search(request, signal)),
    ];
    return {
      ...mergeSearchPages(
        pages.filter((page) => page !== null),
        request.limit,
      ),
      missing,
    };
  }

  async #live(source: RegionId, traceId: TraceId, missing: MissingPart[]): Promise<readonly LiveSegment[]> {
    const { live, peered } = this.#options;
    if (!peered) return (await this.#ask(this.#liveState, missing, () => live.get(source, traceId))) ?? [];
    const answer = await peered.get(source, traceId);
    if (answer.missing) missing.push(answer.missing);
    return answer.segments;
  }

  async #searchLive(
    request: SearchRequest,
    signal: AbortSignal,
    missing: MissingPart[],
  ): Promise<readonly (SearchPage | null)[]> {
    const { live, peered } = this.#options;
    if (!peered) return [await this.#ask(this.#liveState, missing, () => live.search(request, signal))];
    const answer = await peered.search(request, signal);
    if (answer.missing) missing.push(answer.missing);
    return answer.pages;
  }

  /** What a part answers; null, and named in `missing`, when it fails. */
  async #ask<T>(part: StateMemory, missing: MissingPart[], ask: () => Promise<T>): Promise<T | null> {
    try {
      const answer = await ask();
      part.succeeded();
      return answer;
    } catch (error) {
      part.failed(messageOf(error));
      missing.push({ part: part.part, reason: messageOf(error), sinceMs: part.sinceMs });
      return null;
    }
  }

  /** Blocks that the region's own index names: a get by id. The index is only a help here; without it the store searches. */
  async #ownBlocks(source: RegionId, traceId: TraceId): Promise<readonly BlockId[]> {
    try {
      const [location] = await this.#options.index.locate([traceId]);
      return location?.records.find((record) => record.region === source)?.blocks ?? [];
    } catch {
      return [];
    }
  }
}

/** As many segments as fit into `bytesMax` (0: all), at least one. */
export function cutAt(
  segments: readonly RegionSegment[],
  bytesMax: number,
): { segments: readonly RegionSegment[]; truncated: boolean } {
  if (bytesMax === 0) return { segments, truncated: false };
  let bytes = 0;
  const kept = segments.findIndex((segment, i) => {
    bytes += segment.payload.length;
    return i > 0 && bytes > bytesMax;
  });
  return kept === -1 ? { segments, truncated: false } : { segments: segments.slice(0, kept), truncated: true };
}

/**
 * One page out of several of the same request, each in search order and each knowing how far it got. Nothing beyond the place
 * that some page did not reach may be given out, or a later page would come out of order. Each trace once, at its first place,
 * with the metadata of its matching segments joined.
 */
export function mergeSearchPages(
  pages: readonly SearchPage[],
  limit: number,
): { matches: { position: SearchPosition; metadata: TraceMetadata }[]; next: SearchPosition | null } {
  let frontier: SearchPosition | null = null;
  for (const { next } of pages) {
    if (next && (!frontier || compareSearchPositions(next, frontier) < 0)) frontier = next;
  }
  const byTrace = new Map<TraceId, { position: SearchPosition; metadata: TraceMetadata }>();
  for (const match of pages.flatMap((page) => page.matches)) {
    if (frontier && compareSearchPositions(match.position, frontier) > 0) continue;
    const seen = byTrace.get(match.position.traceId);
    if (!seen) {
      byTrace.set(match.position.traceId, { ...match });
    } else {
      seen.metadata = joinMetadata(seen.metadata, match.metadata);
      if (compareSearchPositions(match.position, seen.position) < 0) seen.position = match.position;
    }
  }
  const ordered = [...byTrace.values()].sort((a, b) => compareSearchPositions(a.position, b.position));
  if (ordered.length <= limit) return { matches: ordered, next: frontier };
  const matches = ordered.slice(0, limit);
  return { matches, next: matches[limit - 1]!.position };
}
