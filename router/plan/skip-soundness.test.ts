import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maxNano } from '../../global/model/time.js';
import { FeedModel, type SimulatedRegion, type SimulatedSpan } from '../testing/feed-model.js';
import { region, traceId } from '../testing/otlp-spans.js';

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
