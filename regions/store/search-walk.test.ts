import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { SearchPosition, SearchRequest } from '../../global/model/query.js';
import { maxNano } from '../../global/model/time.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { compileQuery } from '../segments/match.js';
import type { Block } from '../segments/segment.js';
import { blockEntry } from './block-entry.js';
import { PageBuilder } from './search-page.js';
import { type PackCandidate, type PackListing, walkPacks } from './search-walk.js';
import { BASE, segmentOf, traceIdOf } from './testing/blocks.js';
import { expectedPage, type ModelSegment, positionOf, query } from './testing/model.js';

const EAST = 'us-east-1' as RegionId;
const unlimited = new AbortController().signal;

function blockOfSegments(number: number, segments: readonly ModelSegment[]): Block {
  return {
    id: `us-east-1/0/0/${number}` as Block['id'],
    source: EAST,
    segments: segments.map(({ traceId, spans }) => segmentOf(EAST, traceId, spans)),
  };
}

/** Packs in memory that can be replaced while a walk is on. */
class Packs implements PackListing {
  readonly packs = new Map<
    number,
    { segments: readonly ModelSegment[]; block: Block; filter: Uint8Array; reachUnixNano: bigint }
  >();
  #moves = 0;
  /** Called before each load. */
  onLoad: (pack: number) => void = () => {};
  loads = 0;

  constructor(readonly step = 2) {}

  put(pack: number, segments: readonly ModelSegment[]): void {
    const block = blockOfSegments(pack, segments);
    const { filter } = blockEntry(block, new Uint8Array());
    const reachUnixNano = segments.map((segment) => positionOf(segment).startUnixNano).reduce(maxNano);
    this.packs.set(pack, { segments, block, filter, reachUnixNano });
  }

  replace(packs: readonly number[], by: number): void {
    const segments = packs.flatMap((pack) => this.packs.get(pack)!.segments);
    for (const pack of packs) this.packs.delete(pack);
    this.put(by, segments);
    this.#moves++;
  }

  async overlapping(): Promise<PackCandidate[]> {
    return [];
  }

  next(after: PackCandidate | null) {
    const all = [...this.packs].map(([pack, { reachUnixNano }]) => ({ pack, reachUnixNano })).sort(before);
    const rest = after ? all.filter((candidate) => before(after, candidate) < 0) : all;
    const candidates = rest.slice(0, this.step);
    return { candidates, last: candidates.length < this.step ? null : candidates.at(-1)! };
  }

  moves(): number {
    return this.#moves;
  }

  filter(pack: number): Uint8Array | null {
    return this.packs.get(pack)?.filter ?? null;
  }

  async load(pack: number): Promise<Block | null> {
    this.loads++;
    this.onLoad(pack);
    return this.packs.get(pack)?.block ?? null;
  }
}

function before(a: PackCandidate, b: PackCandidate): number {
  if (a.reachUnixNano !== b.reachUnixNano) return a.reachUnixNano > b.reachUnixNano ? -1 : 1;
  return b.pack - a.pack;
}

function walk(packs: Packs, request: Partial<SearchRequest> = {}, signal = unlimited) {
  const full = { query: query(), source: EAST, after: null, limit: 100, ...request };
  return walkPacks(full, packs, signal, new ManualClock(), { packsListed: 0, packsInflated: 0 });
}

const one = (number: number, start: number): ModelSegment => ({
  traceId: traceIdOf(number),
  spans: [{ span: number, service: `s${number % 3}`, start: BASE + BigInt(start) }],
});

describe('walkPacks', () => {
  test('packs that are replaced at any moment of a walk neither hide a match nor repeat one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.tuple(fc.nat(20), fc.nat(30)), { minLength: 1, maxLength: 4 }), {
          minLength: 2,
          maxLength: 8,
        }),
        fc.array(fc.tuple(fc.nat(12), fc.array(fc.nat(7), { minLength: 2, maxLength: 3 })), { maxLength: 3 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 4 }),
        async (blocks, replacements, limit, step) => {
          const packs = new Packs(step);
          const segments = blocks.map((block) => block.map(([number, start]) => one(number, start)));
          segments.forEach((made, i) => {
            packs.put(i, made);
          });
          let number = 100;
          packs.onLoad = () => {
            for (const [when, which] of replacements) {
              if (when !== packs.loads) continue;
              const there = [...new Set(which)]
                .map((i) => [...packs.packs.keys()][i])
                .filter((pack) => pack !== undefined);
              if (there.length > 1) packs.replace(there, number++);
            }
          };
          const page = await walk(packs, { limit });
          const expected = expectedPage(segments.flat(), query(), null, limit);
          expect(page.matches.map(({ position }) => position)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('what expired while the walk was on is passed by', async () => {
    const packs = new Packs();
    for (let i = 0; i < 5; i++) packs.put(i, [one(i, 100 - i)]);
    packs.onLoad = () => packs.packs.delete(3);
    const { matches } = await walk(packs);
    expect(matches.map(({ position }) => position.traceId)).toEqual([0, 1, 2, 4].map(traceIdOf));
  });

  test('looks into no more packs than a full page needs', async () => {
    const packs = new Packs();
    for (let i = 0; i < 50; i++) packs.put(i, [one(2 * i, 1000 - 2 * i), one(2 * i + 1, 999 - 2 * i)]);
    const page = await walk(packs, { limit: 4 });
    expect(page.matches).toHaveLength(4);
    expect(packs.loads).toBeLessThanOrEqual(3);
    expect(page.next).toEqual(page.matches[3]!.position);
  });

  test('a budget that ends at any moment loses nothing: going on from `next` gives the rest', async () => {
    for (let spentAt = 0; spentAt < 12; spentAt++) {
      const packs = new Packs();
      const segments = Array.from({ length: 30 }, (_, i) => one(i, (i * 7) % 17));
      for (let i = 0; i < 10; i++) packs.put(i, segments.slice(3 * i, 3 * i + 3));
      const budget = new AbortController();
      packs.onLoad = () => {
        if (packs.loads > spentAt) budget.abort();
      };
      const positions: SearchPosition[] = [];
      for (let after: SearchPosition | null = null, first = true; first || after; first = false) {
        const page = await walk(packs, { after, limit: 5 }, first ? budget.signal : unlimited);
        positions.push(...page.matches.map(({ position }) => position));
        after = page.next;
      }
      expect(positions).toEqual(expectedPage(segments, query(), null, 100));
    }
  });
});

describe('PageBuilder', () => {
  test.each([0, 1, 1_000_000])(
    'gives the same page whether segments wait for their turn or not (%i bytes may wait)',
    (bytesMax) => {
      const segments = Array.from({ length: 40 }, (_, i) => one(i % 25, (i * 11) % 23));
      const wanted = query({ service: 's1' });
      const request = { query: wanted, source: EAST, after: null, limit: 6 };
      const page = new PageBuilder(request, compileQuery(wanted), bytesMax);
      for (let i = 0; i < 40; i += 4) page.add(blockOfSegments(i, segments.slice(i, i + 4)), (1n << 64n) - 1n);
      const { matches } = page.rest();
      expect(matches.map(({ position }) => position)).toEqual(expectedPage(segments, wanted, null, 6));
    },
  );
});
