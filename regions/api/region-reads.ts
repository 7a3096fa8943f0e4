import { joinMetadata } from '../../global/index/join.js';
import type { TraceIndexReader, TraceLocation } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchPosition, type SearchRequest } from '../../global/model/query.js';
import { minNano } from '../../global/model/time.js';
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
import type { ReadHints, SearchPage, SegmentStoreReader, SegmentStoreSearch } from '../store/segment-store.js';
import { PartialAnswer } from '../store/tiered-partial-answer.js';
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
  /** Of tiers of the store that have failed before. */
  readonly #tierStates = new Map<string, StateMemory>();

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
    const known = hintsFrom(await this.#locate(traceId), source);
    const hints = { ...known, blocks: [...new Set([...blocks, ...known.blocks])] };
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

  /** What a part answers; null, and named in `missing`, when it fails. Where one of its tiers fails, that one is named, and the others' answer is given. */
  async #ask<T>(part: StateMemory, missing: MissingPart[], ask: () => Promise<T>): Promise<T | null> {
    try {
      const answer = await ask();
      part.succeeded();
      if (part === this.#storeState) for (const tier of this.#tierStates.values()) tier.succeeded();
      return answer;
    } catch (error) {
      if (error instanceof PartialAnswer) {
        const reason = messageOf(error.cause);
        const tier = this.#stateOf(error.part);
        if (tier !== part) part.succeeded();
        tier.failed(reason);
        missing.push({ part: error.part, reason, sinceMs: tier.sinceMs });
        return error.answer;
      }
      part.failed(messageOf(error));
      missing.push({ part: part.part, reason: messageOf(error), sinceMs: part.sinceMs });
      return null;
    }
  }

  /** Since when a tier of the store has been failing is remembered from its first failure on. */
  #stateOf(tier: string): StateMemory {
    if (tier === this.#storeState.part) return this.#storeState;
    const known = this.#tierStates.get(tier) ?? new StateMemory(tier, this.#options.clock);
    this.#tierStates.set(tier, known);
    return known;
  }

  /**
   * What the region's own index knows; null where it cannot be read: it is only a help here, and without it the store searches. Folded parts are asked for
   * too, since the hints say before when there is nothing.
   */
  async #locate(traceId: TraceId): Promise<TraceLocation | null> {
    try {
      const [location] = await this.#options.index.locate([traceId]);
      return location ?? null;
    } catch {
      return null;
    }
  }
}

/**
 * What the own index tells the store: blocks to get by id, and before when nothing of the trace can lie. The latter must be proof (`ReadHints`), so it is given only
 * where the record knows the root, as nothing of a trace begins before it, and where its times can be believed. A folded part of the
 * region may be an older one, with a root of its own, which the record knows nothing of: then nothing begins before either.
 */
export function hintsFrom(location: TraceLocation | null, source: RegionId): ReadHints {
  const record = location?.records.find(({ region }) => region === source);
  if (!record) return { blocks: [], complete: false };
  const hints = { blocks: record.blocks, complete: false };
  if (record.root === null || (record.flags & MetadataFlag.implausibleTime) !== 0) return hints;
  const folded = location?.folded?.find(({ region }) => region === source);
  const { startUnixNano } = record;
  return { ...hints, startUnixNanoMin: folded ? minNano(startUnixNano, folded.startUnixNanoMin) : startUnixNano };
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
