import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SearchPosition, SearchRequest } from '../../global/model/query.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Block } from '../segments/segment.js';
import { secondsOf } from './elasticsearch-document.js';
import { type BlockLister, type ListedBlock, walkBlocks } from './elasticsearch-search.js';
import type { SearchPage } from './segment-store.js';
import { BASE, segmentOf, traceIdOf } from './testing/blocks.js';
import { ANY_TIME, expectedPage, type ModelSegment, query } from './testing/model.js';

const EAST = 'us-east-1' as RegionId;
const unlimited = new AbortController().signal;

interface Held extends ListedBlock {
  readonly block: Block;
  readonly startMinMs: number;
  readonly seconds: readonly number[];
}

/** Lists as Elasticsearch does, some at a time, without conditions. */
class MemoryLister implements BlockLister {
  readonly held: readonly Held[];
  loaded = 0;
  constructor(
    blocks: readonly (readonly ModelSegment[])[],
    readonly pageBlocks = 3,
  ) {
    this.held = blocks.map((segments, i) => {
      const made = segments.map(({ traceId, spans }) => segmentOf(EAST, traceId, spans));
      const starts = made.map(({ metadata }) => metadata.startUnixNano);
      const id = `us-east-1/0/${i}/0` as BlockId;
      return {
        id,
        index: 'i',
        bytes: 1000,
        block: { id, source: EAST, segments: made },
        startMaxMs: Math.max(...starts.map(unixNanoToMs)),
        startMinMs: Math.min(...starts.map(unixNanoToMs)),
        seconds: starts.map(secondsOf),
      };
    });
  }
  below: BlockLister['below'] = async (limitMs, from) =>
    this.#page(
      this.held.filter((held) => held.startMaxMs <= limitMs),
      from,
    );
  across: BlockLister['across'] = async (limitMs, { first, last }, from) =>
    this.#page(
      this.#across(limitMs).filter(({ seconds }) => seconds.some((second) => second >= first && second <= last)),
      from,
    );
  acrossOldestMs: BlockLister['acrossOldestMs'] = async (limitMs) => {
    const across = this.#across(limitMs);
    return across.length === 0 ? null : Math.min(...across.map(({ startMinMs }) => startMinMs));
  };
  load: BlockLister['load'] = async (blocks) => {
    this.loaded += blocks.length;
    return blocks.map(({ id }) => this.held.find((held) => held.id === id)?.block ?? null);
  };
  #across(limitMs: number): Held[] {
    return this.held.filter((held) => held.startMaxMs > limitMs && held.startMinMs <= limitMs);
  }
  #page(held: readonly Held[], from: Parameters<BlockLister['below']>[1]) {
    const sorted = [...held].sort((a, b) => b.startMaxMs - a.startMaxMs);
    const at = from ? Number(from[0]) : 0;
    const next = at + this.pageBlocks < sorted.length ? [at + this.pageBlocks] : null;
    return { blocks: sorted.slice(at, at + this.pageBlocks), next };
  }
}

const walk = (lister: BlockLister, rest: Partial<SearchRequest> = {}, signal = unlimited): Promise<SearchPage> =>
  walkBlocks({ query: query(), source: EAST, after: null, limit: 10, ...rest }, lister, signal, {
    packsListed: 0,
    packsInflated: 0,
  });

const segment = fc
  .record({ trace: fc.nat(15), at: fc.nat(8), unit: fc.constantFrom(1n, 1_000_000n, 1_000_000_000n, 40_000_000_000n) })
  .map(
    ({ trace, at, unit }): ModelSegment => ({
      traceId: traceIdOf(trace),
      spans: [{ span: at, service: 'orders', start: BASE + BigInt(at) * unit }],
    }),
  );

describe('walk over listed blocks', () => {
  test('pages are those of the model, whatever the cut into blocks, the extent of blocks and the size of lists', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(segment, { minLength: 1, maxLength: 6 }), { maxLength: 12 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.option(fc.bigInt({ min: 0n, max: 400_000_000_000n })),
        async (blocks, limit, pageBlocks, untilNano) => {
          const wanted = query(untilNano === null ? {} : { ...ANY_TIME, startUnixNanoMax: BASE + untilNano });
          const lister = new MemoryLister(blocks, pageBlocks);
          let after: SearchPosition | null = null;
          for (let pages = 0; ; pages++) {
            const page = await walk(lister, { query: wanted, limit, after });
            expect(page.matches.map(({ position }) => position)).toEqual(
              expectedPage(blocks.flat(), wanted, after, limit),
            );
            if (!page.next) break;
            after = page.next;
            expect(pages).toBeLessThan(200);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  const everySecond = (count: number) =>
    Array.from({ length: count }, (_, i): ModelSegment[] => [
      { traceId: traceIdOf(i), spans: [{ span: 1, start: BASE + BigInt(i) * 1_000_000_000n }] },
    ]);

  test('a page looks into few blocks: newest first, and no older one than can matter', async () => {
    const lister = new MemoryLister(everySecond(500), 512);
    expect((await walk(lister)).matches).toHaveLength(10);
    expect(lister.loaded).toBe(8 + 16);
  });

  test('a page from the middle looks into the blocks of some seconds, not into all that were open then', async () => {
    // Each spans 300 s: a long-lived segment and one of its own second.
    const blocks = Array.from({ length: 600 }, (_, i): ModelSegment[] => [
      { traceId: traceIdOf(2 * i), spans: [{ span: 1, start: BASE + BigInt(i) * 1_000_000_000n }] },
      { traceId: traceIdOf(2 * i + 1), spans: [{ span: 1, start: BASE + BigInt(i + 300) * 1_000_000_000n }] },
    ]);
    const lister = new MemoryLister(blocks, 512);
    const after = { startUnixNano: BASE + 500_500_000_000n, traceId: traceIdOf(0) };
    const page = await walk(lister, { after });
    expect(page.matches.map(({ position }) => position)).toEqual(expectedPage(blocks.flat(), query(), after, 10));
    expect(lister.loaded).toBeLessThan(60);
  });

  test('blocks that are gone when they are loaded are passed over', async () => {
    const lister = new MemoryLister(everySecond(5));
    const gone = lister.held[3]!.id;
    const all = lister.load;
    lister.load = async (blocks) => {
      const loaded = await all(blocks);
      return loaded.map((block, i) => (blocks[i]!.id === gone ? null : block));
    };
    const traces = (await walk(lister)).matches.map(({ position }) => position.traceId);
    expect(traces).toEqual([4, 2, 1, 0].map(traceIdOf));
  });

  test('aborted while it loads, it says how far it got, and goes on from there', async () => {
    const blocks = everySecond(40);
    const lister = new MemoryLister(blocks, 8);
    const budget = new AbortController();
    const all = lister.load;
    lister.load = async (wanted) => {
      if (lister.loaded < 20) return all(wanted);
      budget.abort();
      throw new MeridianError('timeout', 'given up', 'later');
    };
    const first = await walk(lister, { limit: 40 }, budget.signal);
    expect(first.matches.length).toBeGreaterThan(0);
    expect(first.matches.length).toBeLessThan(40);
    lister.load = all;
    const rest = await walk(lister, { limit: 40, after: first.next });
    const traces = [...first.matches, ...rest.matches].map(({ position }) => position.traceId);
    expect(traces).toEqual(Array.from({ length: 40 }, (_, i) => traceIdOf(39 - i)));
  });

  test('a failure without an abort is thrown', async () => {
    const lister = new MemoryLister(everySecond(2));
    lister.load = async () => {
      throw new MeridianError('unavailable', 'away', 'later');
    };
    await expect(walk(lister)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
