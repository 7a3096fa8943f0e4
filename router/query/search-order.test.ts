import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { compareSearchPositions } from '../../global/model/query.js';
import { ManualClock } from '../../global/runtime/clock.js';
import type { TraceSummary } from '../search/known-trace.js';
import { segmentOf, spanId, traceId } from '../testing/otlp-spans.js';
import { EAST, EUROPE, QueryRig, WEST } from '../testing/query-rig.js';
import { querySearch } from './search-query.js';

const SECOND = 1_000_000_000n;
const NOW_MS = 1_700_000_000_000;
const NOW = BigInt(NOW_MS) * 1_000_000n;

interface Part {
  readonly region: RegionId;
  /** Seconds before now. */
  readonly startedAgo: number;
  readonly seconds: number;
  readonly hit: boolean;
  /** The page before which the segment is there, and its record in the index (0: before the first). */
  readonly segmentAtPage: number;
  readonly recordAtPage: number;
}

interface World {
  readonly traces: readonly { readonly id: TraceId; readonly parts: readonly Part[] }[];
  readonly limits: readonly number[];
  readonly pageMatches: number;
}

const regionOf = fc.constantFrom(EAST, WEST, EUROPE);

/** There and known before the first page. Some last longer than the hold-back of ten minutes. */
const settledPart: fc.Arbitrary<Part> = fc.record({
  region: regionOf,
  startedAgo: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 3600 })),
  seconds: fc.integer({ min: 0, max: 30 }),
  hit: fc.boolean(),
  segmentAtPage: fc.constant(0),
  recordAtPage: fc.constant(0),
});

/** Young; comes while pages are being read, its record later than itself. */
const latePart: fc.Arbitrary<Part> = fc
  .record({
    region: regionOf,
    startedAgo: fc.integer({ min: 0, max: 100 }),
    seconds: fc.integer({ min: 0, max: 5 }),
    hit: fc.boolean(),
    segmentAtPage: fc.nat(6),
    lag: fc.nat(3),
  })
  .map(({ lag, ...part }) => ({ ...part, recordAtPage: part.segmentAtPage + lag }));

const world: fc.Arbitrary<World> = fc
  .record({
    settled: fc.array(fc.array(settledPart, { minLength: 1, maxLength: 5 }), { maxLength: 25 }),
    late: fc.array(fc.array(latePart, { minLength: 1, maxLength: 4 }), { maxLength: 12 }),
    limits: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
    pageMatches: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ settled, late, ...rest }) => ({
    ...rest,
    traces: [...settled, ...late].map((parts, i) => ({ id: traceId(i * 7919 + 1), parts })),
  }));

/** Reads all pages, letting things arrive in between. */
async function readAll({ traces, limits, pageMatches }: World): Promise<{ pages: TraceSummary[][]; rig: QueryRig }> {
  const rig = new QueryRig(new ManualClock(NOW_MS), undefined, { pageMatchesMin: pageMatches });
  const pages: TraceSummary[][] = [];
  let cursor: string | null = null;
  for (let page = 0; page < 500; page++) {
    for (const { id, parts } of traces) {
      parts.forEach((part, i) => {
        const start = NOW - BigInt(part.startedAgo) * SECOND;
        const end = start + BigInt(part.seconds) * SECOND;
        const service = part.hit ? 'hit' : 'miss';
        const segment = segmentOf(part.region, [{ traceId: id, spanId: spanId(i + 1), service, start, end }]);
        if (part.segmentAtPage === page) rig.at(part.region).add(segment);
        if (part.recordAtPage === page) rig.index.add(segment.metadata);
      });
    }
    const answer: Awaited<ReturnType<typeof querySearch>> = await querySearch(
      rig.context,
      {
        query: { service: 'hit', attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: NOW * 2n },
        services: ['hit'],
        only: null,
        limit: limits[page % limits.length]!,
        cursor,
        canonical: 'x',
      },
      rig.budget(),
    );
    expect(answer.warnings).toEqual([]);
    expect(answer.traces.length).toBeLessThanOrEqual(limits[page % limits.length]!);
    pages.push([...answer.traces]);
    cursor = answer.nextCursor;
    if (cursor === null) return { pages, rig };
    // A page with a next one is full: nothing here ends a page early.
    expect(answer.traces.length).toBe(limits[page % limits.length]!);
  }
  throw new Error('the pages did not come to an end');
}

test('pages over three regions: one total order, no repeat, no gap, while writes go on', async () => {
  await fc.assert(
    fc.asyncProperty(world, async (w) => {
      const { pages } = await readAll(w);
      const all = pages.flat();
      const places = all.map((t) => ({ startUnixNano: t.startUnixNano, traceId: t.traceId }));
      for (let i = 1; i < places.length; i++)
        expect(compareSearchPositions(places[i - 1]!, places[i]!)).toBeLessThan(0);
      expect(new Set(all.map((t) => t.traceId)).size).toBe(all.length);
      const given = new Map(all.map((t) => [t.traceId, t]));
      for (const { id, parts } of w.traces) {
        if (parts.some((p) => p.recordAtPage > 0)) continue;
        const summary = given.get(id);
        expect(summary !== undefined).toBe(parts.some((p) => p.hit));
        if (summary) expect(summary.regions).toEqual([...new Set(parts.map((p) => p.region))].sort());
      }
    }),
    { numRuns: 250, seed: 11 },
  );
});

test('where nothing is longer than the hold-back, the order is that of the true starts', async () => {
  const short = world.map((w) => ({
    ...w,
    traces: w.traces.map(({ id, parts }) => ({
      id,
      parts: parts.map((p) => ({ ...p, startedAgo: p.startedAgo % 590, segmentAtPage: 0, recordAtPage: 0 })),
    })),
  }));
  await fc.assert(
    fc.asyncProperty(short, async (w) => {
      const { pages } = await readAll(w);
      const wanted = w.traces
        .filter(({ parts }) => parts.some((p) => p.hit))
        .map(({ id, parts }) => ({
          startUnixNano: NOW - BigInt(Math.max(...parts.map((p) => p.startedAgo))) * SECOND,
          traceId: id,
        }))
        .sort(compareSearchPositions);
      expect(pages.flat().map(({ startUnixNano, traceId: id }) => ({ startUnixNano, traceId: id }))).toEqual(wanted);
    }),
    { numRuns: 80, seed: 12 },
  );
});
