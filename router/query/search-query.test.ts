import { describe, expect, test } from 'vitest';
import type { RegionSearchPage } from '../../global/region-api/region-client.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { metadataOf, spanId, type TestSpan, traceId } from '../testing/otlp-spans.js';
import { EAST, EUROPE, QueryRig, WEST } from '../testing/query-rig.js';
import { querySearch, type SearchAnswer, type TraceSearch } from './search-query.js';

const NOW_MS = 1_700_000_000_000;
const NOW = BigInt(NOW_MS) * 1_000_000n;
const SECOND = 1_000_000_000n;

function hit(id: number, ago: number, changes: Partial<TestSpan> = {}): TestSpan {
  const start = NOW - BigInt(ago) * SECOND;
  return { traceId: traceId(id), spanId: spanId(id), service: 'shop', start, end: start + SECOND, ...changes };
}

function made(limits = {}): { clock: ManualClock; rig: QueryRig } {
  const clock = new ManualClock(NOW_MS);
  const rig = new QueryRig(clock, undefined, limits);
  rig.store(EAST, [hit(1, 1000)]);
  rig.store(WEST, [hit(2, 2000)]);
  rig.store(EUROPE, [hit(3, 3000)]);
  return { clock, rig };
}

function search(changes: Partial<TraceSearch> = {}): TraceSearch {
  return {
    query: { service: 'shop', attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: NOW * 2n },
    services: ['shop'],
    only: null,
    limit: 20,
    cursor: null,
    canonical: 'x',
    ...changes,
  };
}

async function within(clock: ManualClock, ms: number, query: Promise<SearchAnswer>): Promise<SearchAnswer> {
  let answer: SearchAnswer | null = null;
  query.then((a) => {
    answer = a;
  });
  for (let spent = 0; spent <= ms && !answer; spent += 5) {
    for (let i = 0; i < 100; i++) await Promise.resolve();
    if (!answer) await clock.advance(5);
  }
  for (let i = 0; i < 100; i++) await Promise.resolve();
  if (!answer) throw new Error(`no answer within ${ms} ms`);
  return answer;
}

const ids = (answer: SearchAnswer) => answer.traces.map((t) => Number.parseInt(t.traceId, 16));
const states = (answer: SearchAnswer) => answer.outcomes.map((o) => `${o.region} ${o.state}`);

test('asks the index for records only: nothing is concluded from their absence', async () => {
  const { clock, rig } = made();
  await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
  expect(rig.index.located.length).toBeGreaterThan(0);
  expect(new Set(rig.index.located.map((o) => o.exactOnly))).toEqual(new Set([true]));
});

test('a page that comes while the index is asked does not end the answer before its traces', async () => {
  const { clock, rig } = made();
  const locate = rig.index.locate.bind(rig.index);
  rig.index.locate = async (...asked) => {
    await clock.sleep(20);
    return locate(...asked);
  };
  rig.at(WEST).mode = { kind: 'slow', ms: 5 };
  rig.at(EUROPE).mode = { kind: 'slow', ms: 10 };
  const answer = await within(clock, 500, querySearch(rig.context, search(), rig.budget()));
  expect(ids(answer)).toEqual([1, 2, 3]);
  expect(answer.nextCursor).toBeNull();
});

describe('a search with a region that misbehaves', () => {
  test('hung: the others come at the deadline, and can be paged on while it hangs', async () => {
    const { clock, rig } = made();
    rig.at(WEST).mode = { kind: 'hung' };
    const first = await within(clock, 1000, querySearch(rig.context, search({ limit: 1 }), rig.budget(1000)));
    expect(ids(first)).toEqual([1]);
    expect(first.complete).toBe(false);
    expect(states(first)).toEqual([`${EAST} answered`, `${WEST} timeout`, `${EUROPE} answered`]);
    const rest = search({ limit: 1, cursor: first.nextCursor });
    const second = await within(clock, 1000, querySearch(rig.context, rest, rig.budget(1000)));
    expect(ids(second)).toEqual([3]);
    expect(second.nextCursor).toBeNull();
  });

  test('back again on the second page: what of it ranks behind the cursor is found', async () => {
    const { clock, rig } = made();
    rig.at(WEST).mode = { kind: 'failing', error: new MeridianError('refused', 'not you', 'never') };
    const first = await within(clock, 0, querySearch(rig.context, search({ limit: 1 }), rig.budget()));
    expect(states(first)[1]).toBe(`${WEST} refused`);
    rig.at(WEST).mode = { kind: 'well' };
    const rest = search({ cursor: first.nextCursor });
    const second = await within(clock, 0, querySearch(rig.context, rest, rig.budget()));
    expect(ids(second)).toEqual([2, 3]);
    expect(second.complete).toBe(true);
  });

  test('all down: nothing could be asked', async () => {
    const { clock, rig } = made();
    for (const region of [EAST, WEST, EUROPE]) {
      rig.at(region).mode = { kind: 'failing', error: new MeridianError('unavailable', 'down', 'never') };
    }
    const answer = await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
    expect(answer).toMatchObject({ nothingAsked: true, complete: false, traces: [], nextCursor: null });
  });

  const at = (id: number, ago: number) => {
    const metadata = metadataOf(WEST, [hit(id, ago)]);
    return { position: { startUnixNano: metadata.startUnixNano, traceId: metadata.traceId }, metadata };
  };
  const stuck = { startUnixNano: NOW, traceId: traceId(1) };
  test.each<[string, RegionSearchPage]>([
    ['matches out of order', { matches: [at(5, 20), at(6, 10)], next: null, missing: [] }],
    ['matches out of order', { matches: [at(5, 20), at(5, 20)], next: null, missing: [] }],
    [
      'a match whose metadata are of another trace',
      { matches: [{ ...at(5, 20), metadata: metadataOf(WEST, [hit(6, 20)]) }], next: null, missing: [] },
    ],
    [
      'a match of region eu-west-1',
      { matches: [{ ...at(5, 20), metadata: metadataOf(EUROPE, [hit(5, 20)]) }], next: null, missing: [] },
    ],
    ['a next position that does not advance', { matches: [at(5, 20)], next: stuck, missing: [] }],
    [
      '51 matches, 50 were asked for',
      { matches: Array.from({ length: 51 }, (_, i) => at(i + 10, i)), next: null, missing: [] },
    ],
  ])('garbage: %s', async (reason, page) => {
    const { clock, rig } = made();
    rig.at(WEST).mode = { kind: 'paging', page };
    const answer = await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
    expect(answer.outcomes[1]).toMatchObject({ state: 'unavailable', reason: expect.stringContaining(reason) });
    expect(ids(answer)).toEqual([1, 3]);
  });

  test('one that never comes to an end is cut off by the number of pages', async () => {
    const { clock, rig } = made();
    const client = rig.at(WEST);
    client.search = async ({ after }) => {
      client.calls.push({ what: 'search' });
      const startUnixNano = (after?.startUnixNano ?? NOW) - 1n;
      return { matches: [], next: { startUnixNano, traceId: traceId(1) }, missing: [] };
    };
    const answer = await within(clock, 100, querySearch(rig.context, search(), rig.budget()));
    expect(client.callCount('search')).toBe(200);
    expect(answer.complete).toBe(false);
    expect(answer.warnings.map((w) => w.message)).toEqual([
      'too many pages were read before the page was full; allow a longer deadline or narrow the search',
    ]);
    expect(answer.nextCursor).not.toBeNull();
  });

  test('a part that is missing there is named', async () => {
    const { clock, rig } = made();
    const missing = [{ part: 'store', reason: 'locked', sinceMs: NOW_MS - 5 }];
    rig.at(WEST).mode = { kind: 'paging', page: { matches: [at(5, 20)], next: null, missing } };
    const answer = await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
    expect(answer.outcomes[1]).toMatchObject({ state: 'answered', reason: 'store: locked' });
    expect(answer.complete).toBe(false);
  });
});

describe('pruning', () => {
  const entry = (region: typeof EAST) => ({ region, service: 'shop', operation: 'x', kind: 1, lastSeenMs: 1 });

  test('a region that never saw the service is skipped while its feed is fresh', async () => {
    const { clock, rig } = made();
    rig.index.entries.push(entry(EAST), entry(EUROPE));
    rig.index.watermarkAll(WEST, 8, NOW - SECOND);
    const answer = await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
    expect(states(answer)).toEqual([`${EAST} answered`, `${WEST} skipped`, `${EUROPE} answered`]);
    expect(answer.outcomes[1]!.reason).toContain('the service shop was never seen there up to');
    expect(answer.complete).toBe(true);
  });

  test('asked in any doubt: one partition behind, one missing, another partitioning, no service, no index', async () => {
    const doubts: ((rig: QueryRig) => Partial<TraceSearch>)[] = [
      (rig) => {
        rig.index.watermark(WEST, 3, 8, NOW - SECOND - 1n);
        return {};
      },
      (rig) => {
        rig.index.watermarkAll(WEST, 7, NOW);
        for (let p = 0; p < 7; p++) rig.index.watermark(WEST, p, 8, NOW);
        return {};
      },
      () => ({ query: { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: NOW * 2n }, services: [] }),
      (rig) => {
        rig.index.error = new Error('gone');
        return {};
      },
    ];
    for (const doubt of doubts) {
      const { clock, rig } = made();
      rig.index.watermarkAll(WEST, 8, NOW);
      rig.index.entries.push(entry(EAST));
      const changes = doubt(rig);
      if (doubt === doubts[1]) rig.index.watermark(WEST, 7, 7, NOW);
      const answer = await within(clock, 0, querySearch(rig.context, search(changes), rig.budget()));
      expect(states(answer)[1]).toBe(`${WEST} answered`);
    }
  });

  test('regions that the caller leaves out', async () => {
    const { clock, rig } = made();
    const answer = await within(clock, 0, querySearch(rig.context, search({ only: new Set([WEST]) }), rig.budget()));
    expect(ids(answer)).toEqual([2]);
    expect(answer.complete).toBe(true);
  });
});

test('without an index the regions’ own metadata make the summaries, and the answer says that they may lack parts', async () => {
  const { clock, rig } = made();
  rig.index.error = new Error('gone');
  const answer = await within(clock, 0, querySearch(rig.context, search(), rig.budget()));
  expect(ids(answer)).toEqual([1, 2, 3]);
  expect(answer.warnings.map((w) => w.code)).toEqual(['index-unavailable']);
  expect(answer.complete).toBe(false);
});

test('a trace that began earlier elsewhere waits for its place, and shows the start that it is ordered by', async () => {
  const { clock, rig } = made({ pageMatchesMin: 1 });
  rig.store(EAST, [hit(7, 100, { service: 'other' })]);
  rig.store(WEST, [hit(7, 10)]);
  rig.store(EUROPE, [hit(8, 50)]);
  const answer = await within(clock, 0, querySearch(rig.context, search({ limit: 2 }), rig.budget()));
  expect(answer.traces.map((t) => [Number.parseInt(t.traceId, 16), t.startUnixNano])).toEqual([
    [8, NOW - 50n * SECOND],
    [7, NOW - 100n * SECOND],
  ]);
  expect(answer.traces[1]).toMatchObject({
    regions: [EAST, WEST],
    spanCount: 2,
    services: [{ name: 'other' }, { name: 'shop' }],
    durationNano: 91n * SECOND,
  });
});
