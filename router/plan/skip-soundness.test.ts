import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { maxNano } from '../../global/model/time.js';
import {
  FeedModel,
  type SimulatedAnswer,
  type SimulatedFolding,
  type SimulatedRegion,
  type SimulatedSpan,
} from '../testing/feed-model.js';
import { region, traceId } from '../testing/otlp-spans.js';
import type { TracePlan } from './trace-plan.js';

const GRACE = 30;
const HORIZON = 400;
const SKEW_MAX = 10;

const seconds = (max: number) => fc.double({ min: 0, max, noNaN: true });
const offset = fc.double({ min: -SKEW_MAX / 2, max: SKEW_MAX / 2, noNaN: true });

function regionModel(name: string): fc.Arbitrary<SimulatedRegion> {
  return fc.record({
    region: fc.constant(region(name)),
    clockOffset: offset,
    assemblyDelay: seconds(20),
    watermarkEvery: fc.double({ min: 0.05, max: 5, noNaN: true }),
    linkDelay: seconds(10),
    cuts: fc.array(
      fc
        .record({ from: seconds(HORIZON), length: seconds(200) })
        .map(({ from, length }) => ({ from, to: from + length })),
      { maxLength: 3 },
    ),
    losses: fc.array(
      fc.record({ from: seconds(80), length: seconds(60) }).map(({ from, length }) => ({ from, to: from + length })),
      { maxLength: 2 },
    ),
  });
}

const NAMES = ['a', 'b', 'c'];

/** Spans of one trace: start, length, the sender's clock offset, and how late they are appended (true time). */
const spans = fc.array(
  fc.record({
    region: fc.constantFrom(...NAMES.map(region)),
    trueStart: fc.oneof(fc.double({ min: 20, max: 60, noNaN: true }), fc.double({ min: 20, max: 220, noNaN: true })),
    length: seconds(5),
    senderOffset: offset,
    late: fc.oneof(seconds(2), seconds(20), seconds(HORIZON / 2)),
  }),
  { minLength: 1, maxLength: 8 },
);

const world = fc.record({
  id: fc.integer({ min: 1, max: 1_000_000 }).map(traceId),
  regions: fc.tuple(...NAMES.map(regionModel)),
  spans: spans.map((list) => {
    const first = list.reduce((a, b) => (b.trueStart < a.trueStart ? b : a));
    return list.map(
      (s): SimulatedSpan => ({
        root: s === first,
        region: s.region,
        appendedAt: s.trueStart + s.length + s.late,
        start: s.trueStart + s.senderOffset,
        end: s.trueStart + s.length + s.senderOffset,
      }),
    );
  }),
  askedAt: fc.double({ min: 60, max: HORIZON, noNaN: true }),
  routerOffset: offset,
});

const folding: fc.Arbitrary<SimulatedFolding> = fc.record({
  daySeconds: fc.double({ min: 5, max: 60, noNaN: true }),
  foldedAt: fc
    .array(fc.integer({ min: 60, max: HORIZON }), { minLength: 1, maxLength: 4 })
    .map((times) => times.sort((a, b) => a - b)),
  afterSeconds: seconds(20),
  wrongHits: fc.array(fc.record({ region: fc.constantFrom(...NAMES.map(region)), day: fc.nat(8) }), { maxLength: 2 }),
});

/** Few spans, so that often all of a trace is folded; asked late, so that there is something to skip. */
const oldWorld = fc
  .tuple(world, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 150, max: HORIZON }))
  .map(([made, spanCount, askedAt]) => ({ ...made, spans: made.spans.slice(0, spanCount), askedAt }));

/** What each region would answer in the first step. */
const answers = fc.dictionary(fc.constantFrom(...NAMES), fc.constantFrom<SimulatedAnswer>('all', 'first', 'none'));

/** Both steps, where there are two: the plan that is carried out in the end, and what the first step found. */
function inSteps(
  feed: FeedModel,
  id: TraceId,
  appended: readonly SimulatedSpan[],
  at: number,
  offset: number,
  how: Readonly<Record<string, SimulatedAnswer>>,
): { readonly plan: TracePlan; readonly found: readonly TraceMetadata[]; readonly two: boolean } {
  const first = feed.plan(id, appended, at, offset);
  if (!first.regions.some((r) => r.code === 'after-folded')) return { plan: first, found: [], two: false };
  const found = first.regions
    .filter((r) => r.code === 'may-be-folded')
    .map((r) => feed.answer(id, appended, at, r.region, how[r.region] ?? 'all'))
    .filter((record) => record !== null);
  return { plan: feed.plan(id, appended, at, offset, found), found, two: true };
}

const asked = (plan: TracePlan): RegionId[] => plan.regions.filter((r) => r.action === 'ask').map((r) => r.region);

describe('skipping is sound where days are folded', () => {
  test('no region is skipped that holds a span which the grace covers, or which the feed has told of', () => {
    const seen = { oneStep: 0, secondStep: 0, wrongHit: 0 };
    fc.assert(
      fc.property(oldWorld, folding, answers, ({ id, regions, spans: all, askedAt, routerOffset }, folds, how) => {
        const feed = new FeedModel({ regions, spansPartitions: 8, graceSeconds: GRACE, folding: folds });
        const appended = all.filter((s) => s.appendedAt <= askedAt);
        const location = feed.locate(id, appended, askedAt);
        const { plan, found, two } = inSteps(feed, id, appended, askedAt, routerOffset, how);
        for (const step of plan.regions) {
          if (step.action === 'ask') continue;
          if (two) seen.secondStep++;
          else if (location.folded) seen.oneStep++;
          if (folds.wrongHits.length > 0) seen.wrongHit++;
          // Only spans that are known to be there make a trace; filters may widen when it was.
          const real = [...location.records, ...found].map((r) => r.endUnixNano);
          expect(real).not.toEqual([]);
          const end = [...real, ...(location.folded ?? []).map((f) => f.endUnixNanoMax)].reduce(maxNano);
          const knownEnd = Number(end - 1_795_176_000_000_000_000n) / 1e9;
          const assembler = regions.find((r) => r.region === step.region)!;
          const covered = appended.filter(
            (s) => s.region === step.region && s.appendedAt + assembler.clockOffset <= knownEnd + GRACE,
          );
          expect(covered).toEqual([]);
        }
      }),
      { numRuns: 4000, seed: 10 },
    );
    // The property would hold of a plan that never skips.
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(100);
  });

  test('a region whose spans the feed has told of is asked, folded or not, whatever the others answer', () => {
    fc.assert(
      fc.property(oldWorld, folding, answers, ({ id, regions, spans: all, routerOffset }, folds, how) => {
        const healed = regions.map((r) => ({ ...r, cuts: [], losses: [] }));
        const feed = new FeedModel({ regions: healed, spansPartitions: 8, graceSeconds: GRACE, folding: folds });
        const at = Math.max(...all.map((s) => s.appendedAt)) + 31;
        const { plan } = inSteps(feed, id, all, at, routerOffset, how);
        expect(asked(plan)).toEqual(expect.arrayContaining([...new Set(all.map((s) => s.region))]));
      }),
      { numRuns: 1000, seed: 11 },
    );
  });

  test('old traces ask no more regions than hold a part, and those of wrong hits', () => {
    let twice = 0;
    fc.assert(
      fc.property(oldWorld, folding, ({ id, regions, spans: all, routerOffset }, folds) => {
        const healed = regions.map((r) => ({ ...r, cuts: [], losses: [] }));
        const feed = new FeedModel({ regions: healed, spansPartitions: 8, graceSeconds: GRACE, folding: folds });
        // Past the end of every wrong hit too: they only widen, they never make a region be skipped.
        const wrongEnd = (8 + 2) * folds.daySeconds;
        const lastEnd = Math.max(wrongEnd, ...all.map((s) => Math.max(s.appendedAt, s.end)));
        const at = lastEnd + GRACE + SKEW_MAX * 2 + 40;
        const { plan, two } = inSteps(feed, id, all, at, routerOffset, {});
        if (two) twice++;
        const expected = new Set([...all, ...folds.wrongHits].map((s) => s.region));
        expect(asked(plan).sort()).toEqual([...expected].sort());
      }),
      { numRuns: 1000, seed: 12 },
    );
    expect(twice).toBeGreaterThan(100);
  });
});

describe('skipping is sound', () => {
  test('no region is skipped that holds a span which the grace covers, or which the feed has told of', () => {
    let skips = 0;
    fc.assert(
      fc.property(world, ({ id, regions, spans: all, askedAt, routerOffset }) => {
        const feed = new FeedModel({ regions, spansPartitions: 8, graceSeconds: GRACE });
        const appended = all.filter((s) => s.appendedAt <= askedAt);
        const location = feed.locate(id, appended, askedAt);
        for (const step of feed.plan(id, appended, askedAt, routerOffset).regions) {
          if (step.action === 'ask') continue;
          skips++;
          const ends = location.records.map((r) => r.endUnixNano);
          const knownEnd = Number(ends.reduce(maxNano) - 1_795_176_000_000_000_000n) / 1e9;
          const assembler = regions.find((r) => r.region === step.region)!;
          // The grace is for lateness and skew together: by the assembler's clock, the span was appended within it.
          const covered = appended.filter(
            (s) => s.region === step.region && s.appendedAt + assembler.clockOffset <= knownEnd + GRACE,
          );
          expect(covered).toEqual([]);
        }
      }),
      { numRuns: 8000, seed: 7 },
    );
    // The property would hold of a plan that never skips.
    expect(skips).toBeGreaterThan(300);
  });

  test('once a late span is in the feed its region is asked, however late it was', () => {
    fc.assert(
      fc.property(world, ({ id, regions, spans: all, routerOffset }) => {
        const healed = regions.map((r) => ({ ...r, cuts: [], losses: [] }));
        const feed = new FeedModel({ regions: healed, spansPartitions: 8, graceSeconds: GRACE });
        // By then every append has gone through the slowest assembly and link.
        const at = Math.max(...all.map((s) => s.appendedAt)) + 31;
        const asked = feed.plan(id, all, at, routerOffset).regions.filter((r) => r.action === 'ask');
        const holding = new Set(all.map((s) => s.region));
        expect(asked.map((r) => r.region)).toEqual(expect.arrayContaining([...holding]));
      }),
      { numRuns: 1000, seed: 8 },
    );
  });

  test('old traces ask no more regions than hold a part', () => {
    fc.assert(
      fc.property(world, ({ id, regions, spans: all, routerOffset }) => {
        const healed = regions.map((r) => ({ ...r, cuts: [], losses: [] }));
        const feed = new FeedModel({ regions: healed, spansPartitions: 8, graceSeconds: GRACE });
        const old = Math.max(...all.map((s) => Math.max(s.appendedAt, s.end))) + GRACE + SKEW_MAX * 2 + 40;
        const plan = feed.plan(id, all, old, routerOffset);
        const asked = plan.regions.filter((r) => r.action === 'ask').map((r) => r.region);
        expect(asked.sort()).toEqual([...new Set(all.map((s) => s.region))].sort());
      }),
      { numRuns: 1000, seed: 9 },
    );
  });
});
