import { describe, expect, test } from 'vitest';
import type { RegionTrace } from '../../global/region-api/region-client.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { pollOnce } from '../fanout/health-poll.js';
import { metadataOf, segmentOf, spanId, type TestSpan, TRACE, traceId } from '../testing/otlp-spans.js';
import { EAST, EUROPE, QueryRig, WEST } from '../testing/query-rig.js';
import { mergeAnswer, queryTrace, readableAnswer, type TraceAnswer } from './trace-query.js';

const T0 = 1_700_000_000_000_000_000n;
const MS = 1_000_000n;

const gateway: TestSpan = { traceId: TRACE, spanId: spanId(1), service: 'gateway', start: T0, end: T0 + 100n * MS };
const orders: TestSpan = {
  traceId: TRACE,
  spanId: spanId(2),
  parentSpanId: spanId(1),
  service: 'orders',
  start: T0 + 10n * MS,
  end: T0 + 60n * MS,
};

/** Runs a query to its end, moving the clock as far as it takes, and no farther than `ms`. */
async function within(clock: ManualClock, ms: number, query: Promise<TraceAnswer>): Promise<TraceAnswer> {
  let answer: TraceAnswer | null = null;
  query.then((a) => {
    answer = a;
  });
  for (let spent = 0; spent <= ms && !answer; spent += 5) {
    for (let i = 0; i < 50; i++) await Promise.resolve();
    if (!answer) await clock.advance(5);
  }
  for (let i = 0; i < 50; i++) await Promise.resolve();
  if (!answer) throw new Error(`no answer within ${ms} ms`);
  return answer;
}

function states(answer: TraceAnswer): Record<string, string> {
  return Object.fromEntries(answer.outcomes.map((o) => [o.region, o.state]));
}

function rig(): { clock: ManualClock; rig: QueryRig } {
  const clock = new ManualClock(Number(T0 / MS) + 1000);
  const made = new QueryRig(clock);
  made.store(EAST, [gateway]);
  made.store(WEST, [orders], true);
  return { clock, rig: made };
}

describe('a trace of two regions', () => {
  test('comes whole, with each region named, and the third one empty', async () => {
    const { clock, rig: r } = rig();
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.complete).toBe(true);
    expect(answer.outcomes).toEqual([
      { region: EAST, state: 'answered', source: 'store', spanCount: 1, tookMs: 0 },
      { region: WEST, state: 'answered', source: 'live', spanCount: 1, tookMs: 0 },
      { region: EUROPE, state: 'empty', source: 'none', spanCount: 0, tookMs: 0 },
    ]);
    expect(answer.payloads.map((p) => p.region)).toEqual([EAST, WEST]);
    expect(answer.warnings).toEqual([]);
  });

  test('an old one asks only the two; the third is skipped with the proof', async () => {
    const { clock, rig: r } = rig();
    await clock.advance(3_600_000);
    for (const region of [EAST, WEST, EUROPE]) r.index.watermarkAll(region, 8, clock.nowUnixNano());
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(states(answer)).toEqual({ [EAST]: 'answered', [WEST]: 'answered', [EUROPE]: 'skipped' });
    expect(r.at(EUROPE).callCount('getTrace')).toBe(0);
    expect(answer.outcomes[2]!.reason).toContain('past the end of every known part plus the grace of 10 min');
    expect(answer.complete).toBe(true);
  });

  test('spans that two copies hold are given once, and stay with the region that gave them first', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).add(segmentOf(WEST, [orders]));
    r.at(EUROPE).add(segmentOf(EUROPE, [gateway]));
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.spanCount).toBe(2);
    expect(answer.payloads.map((p) => p.region)).toEqual([EAST, WEST]);
    const { merged } = mergeAnswer(r.context, answer);
    expect(merged.spans.map((s) => [s.view.service, s.region])).toEqual([
      ['gateway', EAST],
      ['orders', WEST],
    ]);
  });
});

describe('a region that misbehaves', () => {
  test('hung: the rest comes at the deadline; the region is a timeout with its time', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'hung' };
    const since = new Date(clock.nowMs() + 1800).toISOString();
    const answer = await within(clock, 2000, queryTrace(r.context, TRACE, r.budget(2000)));
    expect(answer.complete).toBe(false);
    expect(states(answer)).toEqual({ [EAST]: 'answered', [WEST]: 'timeout', [EUROPE]: 'empty' });
    expect(answer.outcomes[1]!.reason).toContain('no answer within');
    expect(answer.outcomes[1]!.since! >= since).toBe(true);
    expect(answer.warnings.map((w) => [w.code, w.region])).toEqual([['region-missing', WEST]]);
    expect(clock.nowMs() - (Number(T0 / MS) + 1000)).toBeLessThanOrEqual(2000);
  });

  test('every region hung: nothing could be asked, at the deadline', async () => {
    const { clock, rig: r } = rig();
    for (const region of [EAST, WEST, EUROPE]) r.at(region).mode = { kind: 'hung' };
    const answer = await within(clock, 500, queryTrace(r.context, TRACE, r.budget(500)));
    expect(answer.nothingAsked).toBe(true);
    expect(answer.spanCount).toBe(0);
  });

  test('slow, but within the deadline: whole', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'slow', ms: 1500 };
    const answer = await within(clock, 1600, queryTrace(r.context, TRACE, r.budget(2000)));
    expect(answer.complete).toBe(true);
    expect(answer.outcomes[1]!.tookMs).toBe(1500);
  });

  test('down for a moment: tried again within the deadline', async () => {
    const { clock, rig: r } = rig();
    const error = new MeridianError('unavailable', 'connection refused', 'later');
    r.at(WEST).mode = { kind: 'flaky', left: 2, error };
    const answer = await within(clock, 5000, queryTrace(r.context, TRACE, r.budget(5000)));
    expect(answer.complete).toBe(true);
    expect(r.at(WEST).callCount('getTrace')).toBe(3);
  });

  test('down: two retries, then unavailable; the next query does not wait for it, and since stays', async () => {
    const { clock, rig: r } = rig();
    const error = new MeridianError('unavailable', 'connection refused', 'later');
    r.at(WEST).mode = { kind: 'failing', error };
    const since = new Date(clock.nowMs()).toISOString();
    const first = await within(clock, 5000, queryTrace(r.context, TRACE, r.budget(5000)));
    expect(first.outcomes[1]).toMatchObject({ state: 'unavailable', reason: 'connection refused', since });
    expect(r.at(WEST).callCount('getTrace')).toBe(3);
    const second = await within(clock, 0, queryTrace(r.context, TRACE, r.budget(5000)));
    expect(second.outcomes[1]).toMatchObject({ state: 'unavailable', since });
    expect(second.outcomes[1]!.reason).toBe('not called, it has been failing (connection refused)');
    expect(r.at(WEST).callCount('getTrace')).toBe(3);
  });

  const bad = (payload: Buffer): RegionTrace => ({
    segments: [{ payload, live: false, receivedFirstMs: 0, receivedLastMs: 0, metadata: metadataOf(WEST, [orders]) }],
    truncated: false,
    missing: [],
  });

  test.each([
    ['bytes that are no OTLP', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 1, 2]), 'no OTLP'],
    ['text', Buffer.from('<html>502 Bad Gateway</html>'), 'OTLP|no span'],
    ['nothing', Buffer.alloc(0), 'no span'],
    ['spans of another trace', segmentOf(WEST, [{ ...orders, traceId: traceId(77) }]).payload, 'sent spans of'],
  ])('garbage (%s): that region fails, the answer does not', async (_what, payload, reason) => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'answering', trace: bad(payload) };
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.outcomes[1]).toMatchObject({ state: 'unavailable', source: 'none', spanCount: 0 });
    expect(answer.outcomes[1]!.reason).toMatch(new RegExp(reason));
    expect(answer.outcomes[1]!.since).toBeDefined();
    expect(answer.complete).toBe(false);
    expect(answer.spanCount).toBe(1);
  });

  test('garbage inside an attribute: found when objects are built, and costs only that region', async () => {
    const { clock, rig: r } = rig();
    const payload = segmentOf(WEST, [{ ...orders, attributes: { note: 'xxxxxxxx' } }]).payload;
    // The string's tag inside AnyValue becomes a field of wire type 7, which does not exist.
    payload[payload.indexOf('xxxxxxxx') - 2] = 0x0f;
    r.at(WEST).mode = { kind: 'answering', trace: bad(payload) };
    const fetched = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(fetched.complete).toBe(true);
    const { answer, merged } = mergeAnswer(r.context, fetched);
    expect(answer.complete).toBe(false);
    expect(states(answer)).toEqual({ [EAST]: 'answered', [WEST]: 'unavailable', [EUROPE]: 'empty' });
    expect(merged.spans).toHaveLength(1);
    const readable = readableAnswer(r.context, fetched);
    expect(readable).toMatchObject({ complete: false, spanCount: 1, payloads: [{ region: EAST }] });
  });

  test('down, but proved to hold nothing: the answer is whole, and the region is named as failing', async () => {
    const { clock, rig: r } = rig();
    await clock.advance(3_600_000);
    for (const region of [EAST, WEST, EUROPE]) r.index.watermarkAll(region, 8, clock.nowUnixNano());
    r.at(EUROPE).mode = { kind: 'failing', error: new MeridianError('unavailable', 'connection refused', 'later') };
    await pollOnce(r.peers.get(EUROPE)!, clock, 1000);
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.complete).toBe(true);
    expect(answer.outcomes[2]).toMatchObject({ state: 'skipped', since: new Date(clock.nowMs()).toISOString() });
    expect(answer.outcomes[2]!.reason).toMatch(/no record \(it is failing: connection refused\)$/);
  });

  test('more bytes than were asked for', async () => {
    const clock = new ManualClock();
    const r = new QueryRig(clock, undefined, { regionBytesMax: 10 });
    const payload = segmentOf(WEST, [{ ...orders, attributes: { x: 'y'.repeat(17 * 1024 * 1024) } }]).payload;
    r.at(WEST).mode = { kind: 'answering', trace: bad(payload) };
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.outcomes[1]!.reason).toContain('10 were asked for');
  });

  test('a client that throws what is no error of ours', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'failing', error: new TypeError('x is not a function') };
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.outcomes[1]).toMatchObject({ state: 'unavailable' });
  });

  test('refusing, or of another version', async () => {
    const { clock, rig: r } = rig();
    r.at(WEST).mode = { kind: 'failing', error: new MeridianError('unknown-version', 'version 9', 'never') };
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.outcomes[1]).toMatchObject({ state: 'refused', reason: 'version 9' });
  });

  test('missing one of its parts, or cut: what came is given, and the gap named', async () => {
    const { clock, rig: r } = rig();
    const sinceMs = clock.nowMs() - 5000;
    const segments = [segmentOf(WEST, [orders])];
    const missing = [{ part: 'store', reason: 'disk full', sinceMs }];
    r.at(WEST).mode = { kind: 'answering', trace: { segments, truncated: true, missing } };
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.outcomes[1]).toMatchObject({
      state: 'answered',
      reason: 'store: disk full; the answer was cut at its size limit',
      since: new Date(sinceMs).toISOString(),
      spanCount: 1,
    });
    expect(answer.complete).toBe(false);
    r.at(WEST).mode = { kind: 'answering', trace: { segments: [], truncated: false, missing } };
    const empty = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(empty.outcomes[1]).toMatchObject({ state: 'unavailable', reason: 'store: disk full' });
  });
});

describe('the index', () => {
  test.each(['hung', 'failing'])('%s: every region is asked, and a warning says so', async (how) => {
    const { clock, rig: r } = rig();
    if (how === 'hung') r.index.hung = true;
    else r.index.error = new Error('no such table');
    const answer = await within(clock, 2000, queryTrace(r.context, TRACE, r.budget(2000)));
    expect(answer.complete).toBe(true);
    expect(answer.spanCount).toBe(2);
    expect(answer.plan.regions.map((p) => p.code)).toEqual(Array(3).fill('index-unavailable'));
    expect(answer.warnings.map((w) => w.code)).toEqual(['index-unavailable']);
  });
});

test('limits of a whole trace: at the limit nothing is cut, one past it the answer says so', async () => {
  for (const [spanCountMax, complete] of [
    [2, true],
    [1, false],
  ] as const) {
    const clock = new ManualClock(Number(T0 / MS) + 1000);
    const r = new QueryRig(clock, undefined, { join: { spanCountMax, bytesMax: 1e6 } });
    r.store(EAST, [gateway]);
    r.store(WEST, [orders]);
    const answer = await within(clock, 0, queryTrace(r.context, TRACE, r.budget()));
    expect(answer.spanCount).toBe(spanCountMax);
    expect(answer.complete).toBe(complete);
    expect(answer.warnings.map((w) => w.code)).toEqual(complete ? [] : ['truncated']);
  }
});

test('a caller that goes away ends the calls, and is no fault of the regions', async () => {
  const { clock, rig: r } = rig();
  for (const region of [EAST, WEST, EUROPE]) r.at(region).mode = { kind: 'hung' };
  const query = queryTrace(r.context, TRACE, r.budget());
  for (let i = 0; i < 50; i++) await Promise.resolve();
  r.caller.abort();
  const answer = await within(clock, 0, query);
  expect(answer.nothingAsked).toBe(true);
  expect(r.peers.get(WEST)!.health.failing()).toBeNull();
});
