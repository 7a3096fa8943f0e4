import type { BlockId } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import { maxNano, minNano, NANOS_PER_SECOND, unixNanoToMs } from '../../global/model/time.js';
import { compileQuery } from '../segments/match.js';
import type { Block } from '../segments/segment.js';
import { endOfMs, secondsOf } from './elasticsearch-document.js';
import { PageBuilder } from './search-page.js';
import { packConditions, type SearchWork } from './search-walk.js';
import type { SearchPage } from './segment-store.js';

/** A block that may hold matches, as Elasticsearch lists it. */
export interface ListedBlock {
  readonly id: BlockId;
  readonly index: string;
  /** No segment of it starts after this millisecond. */
  readonly startMaxMs: number;
  /** Encoded. */
  readonly bytes: number;
}

/** Where a list goes on; made by the lister. */
export type ListPlace = readonly (number | string)[];

export interface BlockList {
  readonly blocks: readonly ListedBlock[];
  /** Null at the end. */
  readonly next: ListPlace | null;
}

/** What of a source may match a search, newest start first; one view of the store from first to last. */
export interface BlockLister {
  /** Blocks whose segments all start in or before the millisecond. */
  below(limitMs: number, from: ListPlace | null): Promise<BlockList>;
  /** Blocks with segments on both sides of the millisecond's end, one of which starts in these seconds. */
  across(limitMs: number, seconds: { first: number; last: number }, from: ListPlace | null): Promise<BlockList>;
  /** The millisecond of the earliest segment of those; null where there are none. */
  acrossOldestMs(limitMs: number): Promise<number | null>;
  /** In the order asked for; null where a block is gone. */
  load(blocks: readonly ListedBlock[]): Promise<readonly (Block | null)[]>;
}

/** Blocks that are loaded together: at first few, as a page is often full after them. */
export const LOAD_GROUP = { blocksFirst: 8, blocksMax: 64, bytesMax: 8 * 1024 * 1024 } as const;

/**
 * Walks blocks by how far they reach, newest first, as `walkPacks` does. Two lists are walked side by side: blocks that lie below where the
 * search begins, by their newest start; and those that lie across it, by seconds in which their segments start, in windows that double,
 * so that a page from the middle of a dense hour looks into the blocks of some seconds and not of all that were open then.
 * Aborted: the page says how far it got.
 */
export async function walkBlocks(
  request: SearchRequest,
  lister: BlockLister,
  signal: AbortSignal,
  work: SearchWork,
): Promise<SearchPage> {
  const query = compileQuery(request.query);
  if (query.empty) return { matches: [], next: null };
  const page = new PageBuilder(request, query);
  const limit = packConditions(request).segmentStartUnixNanoMax;
  if (signal.aborted) return page.cut(limit);
  const walk = new Walk(lister, limit);
  let floor = limit;
  const adding = async (blocks: readonly ListedBlock[]) => {
    work.packsListed += blocks.length;
    for (const block of await lister.load(blocks)) {
      if (!block) continue;
      work.packsInflated++;
      page.add(block, floor);
    }
  };
  try {
    await walk.begin();
    for (;;) {
      floor = minNano(floor, walk.reach());
      if (floor < 0n) return page.rest();
      if (page.giveOut(floor)) return page.full();
      if (signal.aborted) return page.cut(floor);
      await walk.step(adding);
      // What comes from the cache alone would keep others on the event loop waiting.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  } catch (error) {
    if (signal.aborted) return page.cut(floor);
    throw error;
  }
}

type Adding = (blocks: readonly ListedBlock[]) => Promise<void>;

/** Nothing is left. */
const NOTHING = -1n;

class Walk {
  readonly #lister: BlockLister;
  readonly #limit: bigint;
  readonly #limitMs: number;
  readonly #seen = new Set<BlockId>();
  /** Listed below the limit, and not loaded. */
  #listed: ListedBlock[] = [];
  #place: ListPlace | null = null;
  #listEnded = false;
  #groupBlocks: number = LOAD_GROUP.blocksFirst;
  /** What lies across the limit starts in or before this second, where it has not been loaded. */
  #second: number;
  #oldestSecond = 0;
  #acrossEnded = false;
  #windowSeconds = 1;

  constructor(lister: BlockLister, limit: bigint) {
    this.#lister = lister;
    this.#limit = limit;
    this.#limitMs = unixNanoToMs(limit);
    this.#second = secondsOf(limit);
  }

  async begin(): Promise<void> {
    const [oldestMs] = await Promise.all([this.#lister.acrossOldestMs(this.#limitMs), this.#list()]);
    if (oldestMs === null) this.#acrossEnded = true;
    else this.#oldestSecond = Math.floor(oldestMs / 1000);
  }

  /** No segment that has not been loaded starts later than this. */
  reach(): bigint {
    return maxNano(this.#reachBelow(), this.#reachAcross());
  }

  /** Loads what reaches farthest. */
  async step(adding: Adding): Promise<void> {
    if (this.#reachAcross() >= this.#reachBelow()) await this.#window(adding);
    else await this.#group(adding);
  }

  #reachBelow(): bigint {
    const next = this.#listed[0];
    return next ? minNano(this.#limit, endOfMs(next.startMaxMs)) : NOTHING;
  }

  #reachAcross(): bigint {
    if (this.#acrossEnded) return NOTHING;
    return minNano(this.#limit, BigInt(this.#second + 1) * NANOS_PER_SECOND - 1n);
  }

  async #list(): Promise<void> {
    while (this.#listed.length === 0 && !this.#listEnded) {
      const { blocks, next } = await this.#lister.below(this.#limitMs, this.#place);
      this.#listed = this.#unseen(blocks);
      this.#place = next;
      this.#listEnded = next === null;
    }
  }

  async #group(adding: Adding): Promise<void> {
    const count = groupLength(this.#listed, this.#groupBlocks);
    this.#groupBlocks = Math.min(LOAD_GROUP.blocksMax, this.#groupBlocks * 2);
    await adding(this.#listed.splice(0, count));
    await this.#list();
  }

  async #window(adding: Adding): Promise<void> {
    const first = Math.max(this.#oldestSecond, this.#second - this.#windowSeconds + 1);
    const window = { first, last: this.#second };
    for (let from: ListPlace | null = null; ; ) {
      const { blocks, next }: BlockList = await this.#lister.across(this.#limitMs, window, from);
      for (let left = this.#unseen(blocks); left.length > 0; ) {
        await adding(left.splice(0, groupLength(left, LOAD_GROUP.blocksMax)));
      }
      if (!next) break;
      from = next;
    }
    this.#windowSeconds *= 2;
    this.#second = first - 1;
    if (this.#second < this.#oldestSecond) this.#acrossEnded = true;
  }

  /** A block may be in two indices, and lies in the seconds of many windows. */
  #unseen(blocks: readonly ListedBlock[]): ListedBlock[] {
    return blocks.filter(({ id }) => !this.#seen.has(id) && this.#seen.add(id));
  }
}

/** How many of the blocks, at least one, are loaded together. */
function groupLength(blocks: readonly ListedBlock[], blocksMax: number): number {
  let bytes = 0;
  let count = 0;
  for (const block of blocks) {
    bytes += block.bytes;
    if (count > 0 && (count === blocksMax || bytes > LOAD_GROUP.bytesMax)) break;
    count++;
  }
  return count;
}
