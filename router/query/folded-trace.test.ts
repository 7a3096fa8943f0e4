import { describe, expect, test } from 'vitest';
import { MetadataFlag } from '../../global/model/metadata.js';
import type { RegionTrace } from '../../global/region-api/region-client.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { segmentOf, spanId, type TestSpan, TRACE } from '../testing/otlp-spans.js';
import { EAST, EUROPE, QueryRig, WEST } from '../testing/query-rig.js';
import { indexAnswerJson, queryIndex } from './index-query.js';
import { queryTrace, type TraceAnswer } from './trace-query.js';

const MS = 1_000_000n;
const DAY_MS = 86_400_000;
const NOW_MS = 1_700_000_000_000;
const NOW = BigInt(NOW_MS) * MS;
const OLD = NOW - BigInt(5 * DAY_MS) * MS;
const REGIONS = [EAST, WEST, EUROPE];

const gateway: TestSpan = { traceId: TRACE, spanId: spanId(1), service: 'gateway', start: OLD, end: OLD + 100n * MS };
const orders: TestSpan = {
  traceId: TRACE,
  spanId: spanId(2),
  parentSpanId: spanId(1),
  service: 'orders',
  start: OLD + 10n * MS,
  end: OLD + 60n * MS,
};
/** A part of a folded day about the trace. */
const part = (region: typeof EAST) => ({
  region,
  startUnixNanoMin: OLD - 1000n * MS,
  endUnixNanoMax: OLD + 1000n * MS,
});

/** Regions that hold spans which no record tells of, and watermarks of this very moment. */
function rig(limits = {}): { clock: ManualClock; rig: QueryRig } {
  const clock = new ManualClock(NOW_MS);
  const made = new QueryRig(clock, undefined, limits);
  for (const region of REGIONS) made.index.watermarkAll(region, 8, NOW);
  return { clock, rig: made };
}

/** Runs a query to its end, moving the clock as far as it takes, and no farther than `ms`; gives the answer and the time that it took. */
async function within(clock: ManualClock, ms: number, query: Promise<TraceAnswer>): Promise<[TraceAnswer, number]> {
  let answer: TraceAnswer | null = null;
  query.then((a) => {
    answer = a;
  });
  let spent = 0;
  for (let i = 0; i < 100; i++) await Promise.resolve();
  for (; spent < ms && !answer; spent += 5) {
    await clock.advance(5);
    for (let i = 0; i < 100; i++) await Promise.resolve();
  }
  if (!answer) throw new Error(`no answer within ${ms} ms`);
  return [answer, spent];
}

const calls = (r: QueryRig) => REGIONS.map((region) => r.at(region).callCount('getTrace'));
const codes = (answer: TraceAnswer) => answer.plan.regions.map((p) => p.code);
const states = (answer: TraceAnswer) => answer.outcomes.map((o) => o.state);

/** How the two-step lookups went, by outcome. */
async function counted(r: QueryRig): Promise<Record<string, number>> {
  const metric = await r.registry.getSingleMetric('meridian_router_folded_lookups_total')!.get();
  return Object.fromEntries(metric.values.map(({ labels, value }) => [String(labels.outcome), value]));
}

describe('a trace of a folded day', () => {
  test('what one region answers spares the others; the skips say on what proof', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).add(segmentOf(WEST, [gateway]));
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([0, 1, 0]);
    expect(codes(answer)).toEqual(['absence-proved', 'may-be-folded', 'absence-proved']);
    expect(states(answer)).toEqual(['skipped', 'answered', 'skipped']);
    expect(answer.outcomes[0]!.reason).toContain(`past the end of every known part (by the answer of ${WEST})`);
    expect([answer.complete, answer.spanCount]).toEqual([true, 1]);
    expect(await counted(r)).toEqual({ found: 1 });
  });

  test('a part of it in a region that has not told of it yet is asked for: its watermark is behind', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).add(segmentOf(WEST, [gateway]));
    r.at(EUROPE).add(segmentOf(EUROPE, [orders]));
    r.index.fold(TRACE, part(WEST));
    r.index.watermarkAll(EUROPE, 8, OLD);
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([0, 1, 1]);
    expect(codes(answer)).toEqual(['absence-proved', 'may-be-folded', 'watermark-behind']);
    expect(answer.spanCount).toBe(2);
    expect(answer.payloads.map((p) => p.region)).toEqual([WEST, EUROPE]);
  });

  test('a wrong hit: a young trace elsewhere is found in the second step, though all watermarks are past the folded day', async () => {
    const { clock, rig: r } = rig();
    const young = { ...gateway, start: NOW - 1000n * MS, end: NOW - 900n * MS };
    r.at(EAST).add(segmentOf(EAST, [young]));
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([1, 1, 1]);
    expect(codes(answer)).toEqual(['no-record-anywhere', 'may-be-folded', 'no-record-anywhere']);
    expect([answer.complete, answer.spanCount]).toEqual([true, 1]);
    expect(await counted(r)).toEqual({ 'not-found': 1 });
  });

  test('a wrong hit at a region that has a young part of the trace: the young part is what counts', async () => {
    const { clock, rig: r } = rig();
    const young = { ...gateway, start: NOW - 1000n * MS, end: NOW - 900n * MS };
    r.at(WEST).add(segmentOf(WEST, [young]));
    r.at(EAST).add(segmentOf(EAST, [{ ...orders, start: young.start, end: young.end }]));
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(codes(answer)).toEqual(['watermark-behind', 'may-be-folded', 'watermark-behind']);
    expect(answer.spanCount).toBe(2);
  });

  test('implausible times of what was found prove nothing', async () => {
    const { clock, rig: r } = rig();
    const segment = segmentOf(WEST, [gateway]);
    const metadata = { ...segment.metadata, flags: MetadataFlag.implausibleTime };
    r.at(WEST).add({ ...segment, metadata });
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([1, 1, 1]);
    expect(codes(answer)).toEqual(['implausible-times', 'may-be-folded', 'implausible-times']);
  });

  test('nobody has it: every region is asked once, and absence is certain', async () => {
    const { clock, rig: r } = rig();
    r.index.fold(TRACE, part(WEST));
    r.index.fold(TRACE, part(EUROPE));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([1, 1, 1]);
    expect([answer.complete, answer.spanCount]).toEqual([true, 0]);
  });

  test('with a record there is one step, and the folded region is asked in it', async () => {
    const { clock, rig: r } = rig();
    r.store(EAST, [gateway]);
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(calls(r)).toEqual([1, 1, 0]);
    expect(codes(answer)).toEqual(['has-record', 'may-be-folded', 'absence-proved']);
    expect(await counted(r)).toEqual({});
  });
});

describe('the first step does not hold up the second', () => {
  test('hung: the others are asked after its share of the deadline, and all comes by the deadline', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'hung' };
    r.at(EAST).add(segmentOf(EAST, [gateway]));
    r.index.fold(TRACE, part(WEST));
    const query = queryTrace(r.context, TRACE, r.budget(1000));
    for (let i = 0; i < 100; i++) await Promise.resolve();
    // 40% of the 900 ms that regions have.
    await clock.advance(359);
    expect(calls(r)).toEqual([0, 1, 0]);
    await clock.advance(1);
    for (let i = 0; i < 100; i++) await Promise.resolve();
    expect(calls(r)).toEqual([1, 1, 1]);
    const [answer, ms] = await within(clock, 600, query);
    expect(ms).toBeLessThanOrEqual(540);
    expect(states(answer)).toEqual(['answered', 'timeout', 'empty']);
    expect([answer.complete, answer.spanCount]).toEqual([false, 1]);
    expect(await counted(r)).toEqual({ late: 1 });
  });

  test('with much time they wait no longer than the limit', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'hung' };
    r.index.fold(TRACE, part(WEST));
    const query = queryTrace(r.context, TRACE, r.budget(60_000));
    for (let i = 0; i < 100; i++) await Promise.resolve();
    await clock.advance(999);
    expect(calls(r)).toEqual([0, 1, 0]);
    await clock.advance(1);
    for (let i = 0; i < 100; i++) await Promise.resolve();
    expect(calls(r)).toEqual([1, 1, 1]);
    await within(clock, 60_000, query);
  });

  test('slow: what it gives counts all the same, and those that were asked meanwhile are not asked again', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'slow', ms: 1500 };
    r.at(WEST).add(segmentOf(WEST, [gateway]));
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 2000, queryTrace(r.context, TRACE, r.budget(5000)));
    expect(calls(r)).toEqual([1, 1, 1]);
    expect(codes(answer)).toEqual(['no-record-anywhere', 'may-be-folded', 'no-record-anywhere']);
    expect(states(answer)).toEqual(['empty', 'answered', 'empty']);
    expect(answer.complete).toBe(true);
  });

  test('one answers, one is late: the others are skipped by the first answer, and asked if the second one widens it', async () => {
    for (const [lateStart, code] of [
      [OLD, 'absence-proved'],
      [NOW - 1000n * MS, 'watermark-behind'],
    ] as const) {
      const { clock, rig: r } = rig();
      r.at(WEST).add(segmentOf(WEST, [gateway]));
      r.at(EUROPE).add(segmentOf(EUROPE, [{ ...orders, start: lateStart, end: lateStart + MS }]));
      r.at(EUROPE).mode = { kind: 'slow', ms: 1500 };
      r.index.fold(TRACE, part(WEST));
      r.index.fold(TRACE, part(EUROPE));
      const [answer] = await within(clock, 2000, queryTrace(r.context, TRACE, r.budget(5000)));
      expect(codes(answer)).toEqual([code, 'may-be-folded', 'may-be-folded']);
      expect(answer.spanCount).toBe(2);
    }
  });

  test('down: the others are asked at once when it is known, and the gap is named', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'failing', error: new MeridianError('unavailable', 'no route', 'never') };
    r.index.fold(TRACE, part(WEST));
    const [answer, ms] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(ms).toBe(0);
    expect(states(answer)).toEqual(['empty', 'unavailable', 'empty']);
    expect(answer.complete).toBe(false);
  });

  test('one of two is down, the other has spans: its bounds, not the answer, decide about the others', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'failing', error: new MeridianError('unavailable', 'no route', 'never') };
    r.at(EUROPE).add(segmentOf(EUROPE, [gateway]));
    // The part that is not to be had may have ended a minute ago.
    r.index.fold(TRACE, { ...part(WEST), endUnixNanoMax: NOW - 60_000n * MS });
    r.index.fold(TRACE, part(EUROPE));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(codes(answer)).toEqual(['watermark-behind', 'may-be-folded', 'may-be-folded']);
  });

  test('a cut answer is a found one; the gap is named', async () => {
    const { clock, rig: r } = rig();
    const trace: RegionTrace = { segments: [segmentOf(WEST, [gateway])], truncated: true, missing: [] };
    r.at(WEST).mode = { kind: 'answering', trace };
    r.index.fold(TRACE, part(WEST));
    const [answer] = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(states(answer)).toEqual(['skipped', 'answered', 'skipped']);
    expect(answer.complete).toBe(false);
  });
});

test('the index answer shows the folded parts and the first of the two steps', async () => {
  const { rig: r } = rig();
  r.index.fold(TRACE, part(WEST));
  const answer = await queryIndex(r.context, TRACE, r.budget());
  expect(indexAnswerJson(TRACE, answer, NOW_MS)).toMatchObject({
    records: [],
    folded: [
      {
        region: WEST,
        startTimeUnixNanoMin: String(OLD - 1000n * MS),
        endTimeUnixNanoMax: String(OLD + 1000n * MS),
      },
    ],
    plan: [
      { region: EAST, action: 'ask', code: 'after-folded', why: expect.stringContaining(`asked after ${WEST}`) },
      { region: WEST, action: 'ask', code: 'may-be-folded' },
      { region: EUROPE, action: 'ask', code: 'after-folded' },
    ],
  });
  expect(calls(r)).toEqual([0, 0, 0]);
});
