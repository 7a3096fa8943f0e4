import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import { maxNano } from '../../global/model/time.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import { StateMemory } from '../../global/runtime/health.js';
import type { HealthCheck } from '../../global/runtime/service.js';
import { mergeSearchPages } from '../api/region-reads.js';
import type { EncodedBlock, Segment } from '../segments/segment.js';
import type { AgedBlocks } from './cold-aged-blocks.js';
import type { PackReport } from './cold-packer.js';
import type { ColdTier } from './cold-tier.js';
import type { ReadHints, SearchPage, SegmentStore } from './segment-store.js';
import { PartialAnswer } from './tiered-partial-answer.js';

export interface TieredSegmentStoreOptions {
  /** Owned: closed with this. */
  readonly hot: SegmentStore;
  /** The old end of the hot store. */
  readonly aged: AgedBlocks;
  /** Owned: closed with this. */
  readonly cold: ColdTier;
  readonly clock: Clock;
}

export interface TieredSegmentStore extends SegmentStore {
  /** Moves blocks whose newest time is before this into the cold tier, by whole hours. One run at a time. */
  demote(beforeUnixNano: bigint, signal: AbortSignal): Promise<PackReport>;
  /** Of the cold tier, by what reading and packing found. */
  health(): HealthCheck;
}

/**
 * A hot store with a cold tier behind it, as one store: what is written goes to the hot one, `demote` moves it on, reading and searching look into both. The hot
 * store is always asked first: a block is in the cold tier before it leaves the hot one. Where one of them cannot be asked, `get` and `search`
 * reject with `PartialAnswer`.
 */
export function createTieredSegmentStore(options: TieredSegmentStoreOptions): TieredSegmentStore {
  return new Tiered(options);
}

class Tiered implements TieredSegmentStore {
  readonly #options: TieredSegmentStoreOptions;
  readonly #coldState: StateMemory;
  #closed = false;

  constructor(options: TieredSegmentStoreOptions) {
    this.#options = options;
    this.#coldState = new StateMemory('cold tier', options.clock);
  }

  write(blocks: readonly EncodedBlock[]): Promise<void> {
    return this.#options.hot.write(blocks);
  }

  async get(source: RegionId, traceId: TraceId, hints?: ReadHints): Promise<readonly Segment[]> {
    const { hot, cold } = this.#options;
    const [young] = await Promise.allSettled([hot.get(source, traceId, hints)]);
    const [old] = await Promise.allSettled([this.#cold(() => cold.get(source, traceId, hints))]);
    if (young.status === 'rejected') {
      // What the cold tier has is worth telling; that it has nothing is not.
      if (old.status === 'rejected' || old.value.length === 0) throw young.reason;
      throw new PartialAnswer('store', old.value, young.reason);
    }
    if (old.status === 'rejected') throw new PartialAnswer('cold tier', young.value, old.reason);
    return joinSegments(young.value, old.value);
  }

  async search(request: SearchRequest, signal: AbortSignal): Promise<SearchPage> {
    const { hot, cold } = this.#options;
    const young = await hot.search(request, signal);
    const { source, limit, query } = request;
    // A page ends here, whatever is older; what has not been reached is left to the next one.
    const reached = young.next ?? (young.matches.length < limit ? null : young.matches.at(-1)!.position);
    try {
      const mayMatter = (from: bigint) =>
        this.#cold(() => cold.mayStartAt(source, maxNano(from, query.startUnixNanoMin)));
      if (!(await mayMatter(0n))) return young;
      if (reached && !(await mayMatter(reached.startUnixNano))) return { ...young, next: reached };
      const old = await this.#cold(() => cold.search(request, signal));
      return mergeSearchPages([young, old], limit);
    } catch (error) {
      throw new PartialAnswer('cold tier', young, error);
    }
  }

  async expire(beforeUnixNano: bigint): Promise<number> {
    const { hot, cold } = this.#options;
    const blocks = await hot.expire(beforeUnixNano);
    return blocks + (await this.#cold(() => cold.expire(beforeUnixNano)));
  }

  demote(beforeUnixNano: bigint, signal: AbortSignal): Promise<PackReport> {
    const { aged, cold } = this.#options;
    return this.#cold(() => cold.pack(aged, beforeUnixNano, signal));
  }

  health(): HealthCheck {
    return { part: this.#coldState.part, check: async () => this.#coldState.health() };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#options.hot.close();
    await this.#options.cold.close();
  }

  async #cold<T>(ask: () => Promise<T>): Promise<T> {
    try {
      const answer = await ask();
      this.#coldState.succeeded();
      return answer;
    } catch (error) {
      this.#coldState.failed(messageOf(error));
      throw error;
    }
  }
}

/** Segments of both, those that are in both once: a block that is on its way, or was written again. */
function joinSegments(young: readonly Segment[], old: readonly Segment[]): readonly Segment[] {
  if (old.length === 0) return young;
  const joined = [...young];
  for (const segment of old) if (!joined.some((known) => isSame(known, segment))) joined.push(segment);
  return joined;
}

function isSame(a: Segment, b: Segment): boolean {
  return (
    a.receivedFirstMs === b.receivedFirstMs && a.receivedLastMs === b.receivedLastMs && a.payload.equals(b.payload)
  );
}
