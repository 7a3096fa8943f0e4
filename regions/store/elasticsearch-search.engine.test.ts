import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { SearchPosition, SpanQuery } from '../../global/model/query.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { counted, EAST, ElasticsearchForTests } from './testing/elasticsearch-for-tests.js';
import { expectedPage, type ModelSegment, query } from './testing/model.js';

const SECOND = 1_000_000_000n;
/** Blocks that reach over minutes, one into the other, and some of one moment. */
const BLOCKS: readonly (readonly ModelSegment[])[] = Array.from({ length: 60 }, (_, i) =>
  Array.from({ length: 5 }, (_, j) => ({
    traceId: traceIdOf((i * 5 + j) % 170),
    spans: [
      {
        span: i * 5 + j,
        service: i % 3 === 0 ? 'orders' : 'billing',
        kind: j,
        start: BASE + BigInt(i * 7 + (i % 4) * j * 40) * SECOND + BigInt(j),
        end: BASE + BigInt(i * 7 + (i % 4) * j * 40) * SECOND + BigInt(j + i * 1_000_000),
        error: j === 4,
      },
    ],
  })),
);

let elasticsearch: ElasticsearchForTests;
beforeAll(async () => {
  elasticsearch = await ElasticsearchForTests.start();
});
afterEach(() => elasticsearch.closeStores());
afterAll(() => elasticsearch.stop());

describe('search over blocks that lie across one another', () => {
  test('pages are those of the model, from the newest and from the middle, with conditions of every kind', async () => {
    const prefix = elasticsearch.prefix();
    const { store, registry } = await elasticsearch.open(prefix, { rollover: { blocks: 20 }, cacheBytesMax: 1 });
    for (let i = 0; i < BLOCKS.length; i++) {
      const segments = BLOCKS[i]!.map(({ traceId, spans }) => segmentOf(EAST, traceId, spans));
      await store.write([await blockOf(EAST, i, segments)]);
      if (i % 20 !== 19) continue;
      await elasticsearch.ask('POST', `/${prefix}-segments/_refresh`);
      await store.rollOver();
    }
    const middle = BASE + 200n * SECOND;
    const conditions: Partial<SpanQuery>[] = [
      {},
      { startUnixNanoMax: middle },
      { startUnixNanoMin: middle, startUnixNanoMax: middle + 60n * SECOND },
      { service: 'orders', error: true },
      { kind: 3, startUnixNanoMax: middle },
      { durationNanoMin: 40_000_000n, service: 'billing' },
      { traceIds: [1, 2, 3, 160, 500].map(traceIdOf) },
    ];
    for (const wanted of conditions.map(query)) {
      for (let after: SearchPosition | null = null; ; ) {
        const page = await store.search(
          { query: wanted, source: EAST, after, limit: 12 },
          new AbortController().signal,
        );
        expect(page.matches.map(({ position }) => position)).toEqual(expectedPage(BLOCKS.flat(), wanted, after, 12));
        if (!page.next) break;
        after = page.next;
      }
    }
    // Terms, kinds, times and traces leave out blocks before they are fetched.
    const inflated = async () => counted(registry, 'meridian_store_search_packs_total', { step: 'inflated' });
    const before = await inflated();
    const one = { query: query({ traceIds: [traceIdOf(160)] }), source: EAST, after: null, limit: 12 };
    await store.search(one, new AbortController().signal);
    expect((await inflated()) - before).toBeLessThanOrEqual(2);
  });
});
