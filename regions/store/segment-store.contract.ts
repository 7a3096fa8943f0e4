import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { metadataCounts } from '../../global/index/join.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SearchPosition, SearchRequest, SpanQuery } from '../../global/model/query.js';
import type { EncodedBlock, Segment } from '../segments/segment.js';
import type { SearchPage, SegmentStore } from './segment-store.js';
import { BASE, blockOf, segmentOf, type TestSpan, traceIdOf } from './testing/blocks.js';
import { expectedPage, type ModelSegment, positionOf, query } from './testing/model.js';

/** One place that keeps segments, empty at first; made for each test. */
export interface StoreHarness {
  /** Opens the store; what was written before is in it. The store that was opened before has been closed, or was in a killed process. */
  open(): Promise<SegmentStore>;
  /** In another process: opens the store, writes the blocks in one call, and is killed (SIGKILL) as soon as `write` has resolved. */
  writeAndKill(blocks: readonly EncodedBlock[]): Promise<void>;
  /** Runs the check until it passes, as long as the store may take to show in searches what it has (1 s); then lets it fail. */
  eventually(check: () => Promise<void>): Promise<void>;
  dispose(): Promise<void>;
}

const EAST = 'us-east-1' as RegionId;
const WEST = 'us-west-2' as RegionId;
const unlimited = new AbortController().signal;

/** What every `SegmentStore` promises (segment-store.ts). */
export function segmentStoreContract(name: string, makeHarness: () => Promise<StoreHarness>): void {
  describe(`${name}: segment store contract`, () => {
    let harness: StoreHarness;
    let store: SegmentStore;

    beforeEach(async () => {
      harness = await makeHarness();
      store = await harness.open();
    });
    afterEach(async () => {
      await store.close();
      await harness.dispose();
    });

    const request = (conditions: Partial<SpanQuery> = {}, rest: Partial<SearchRequest> = {}): SearchRequest => ({
      query: query(conditions),
      source: EAST,
      after: null,
      limit: 100,
      ...rest,
    });
    const search = (conditions: Partial<SpanQuery> = {}, rest: Partial<SearchRequest> = {}) =>
      store.search(request(conditions, rest), unlimited);
    const found = async (conditions: Partial<SpanQuery> = {}, rest: Partial<SearchRequest> = {}) =>
      (await search(conditions, rest)).matches.map(({ position }) => position);
    /** Blocks of the segments, so many in each, in the order given. */
    const blocksOf = async (source: RegionId, segments: readonly ModelSegment[], perBlock: number, first = 0) => {
      const blocks: Promise<EncodedBlock>[] = [];
      for (let i = 0; i < segments.length; i += perBlock) {
        const made = segments.slice(i, i + perBlock).map(({ traceId, spans }) => segmentOf(source, traceId, spans));
        blocks.push(blockOf(source, first + i, made));
      }
      return Promise.all(blocks);
    };
    const one = (number: number, span: Partial<TestSpan> = {}): ModelSegment => ({
      traceId: traceIdOf(number),
      spans: [{ span: number, service: 'orders', start: BASE + BigInt(number), ...span }],
    });
    const allPages = async (rest: Partial<SearchRequest>, conditions: Partial<SpanQuery> = {}) => {
      const pages: SearchPage[] = [];
      for (let after: SearchPosition | null = null; ; ) {
        const page = await search(conditions, { ...rest, after });
        pages.push(page);
        if (!page.next) return pages;
        expect(pages.length).toBeLessThan(2000);
        after = page.next;
      }
    };
    const spanIds = (segments: readonly Segment[]) => segments.map(({ payload }) => payload.toString('base64')).sort();

    test('an empty store has nothing, of any source', async () => {
      expect(await store.get(EAST, traceIdOf(1))).toEqual([]);
      expect(await store.get(EAST, traceIdOf(1), { blocks: ['us-east-1/0/0/0' as BlockId], complete: true })).toEqual(
        [],
      );
      expect(await search()).toEqual({ matches: [], next: null });
      expect(await search({ traceIds: [traceIdOf(1)] })).toEqual({ matches: [], next: null });
      expect(await store.expire(BASE)).toBe(0);
      await store.write([]);
    });

    test('what was written is read by id at once, equal in every field, and found by search within the refresh time', async () => {
      const segment = segmentOf(EAST, traceIdOf(7), [{ span: 1, service: 'orders', start: BASE }]);
      await store.write([await blockOf(EAST, 1, [segment])]);
      const [read, ...others] = await store.get(EAST, traceIdOf(7));
      expect(others).toEqual([]);
      expect({ ...read, payload: read!.payload.toString('hex') }).toEqual({
        ...segment,
        payload: segment.payload.toString('hex'),
      });
      await harness.eventually(async () => {
        const page = await search();
        expect(page.matches).toEqual([
          { position: { startUnixNano: BASE, traceId: traceIdOf(7) }, metadata: segment.metadata },
        ]);
      });
    });

    test('writing blocks again, also several times at once and in other company, changes nothing', async () => {
      const segments = Array.from({ length: 12 }, (_, i) => one(i));
      const blocks = await blocksOf(EAST, segments, 3);
      await Promise.all([store.write(blocks), store.write(blocks.slice(1)), store.write([blocks[0]!, blocks[0]!])]);
      await store.write([...blocks].reverse());
      for (const { traceId } of segments) expect(await store.get(EAST, traceId)).toHaveLength(1);
      await harness.eventually(async () => {
        expect(await found()).toEqual(expectedPage(segments, query(), null, 100));
      });
    });

    test('spans that were cut into blocks twice are found once, and not counted twice', async () => {
      const a: TestSpan = { span: 1, service: 'orders', start: BASE };
      // Of another resource: what came together in one ResourceSpans is never cut apart.
      const b: TestSpan = { span: 2, service: 'billing', start: BASE + 5n };
      const whole = segmentOf(EAST, traceIdOf(1), [a, b]);
      await store.write([
        await blockOf(EAST, 1, [whole]),
        await blockOf(EAST, 2, [whole, segmentOf(EAST, traceIdOf(2), [a])]),
      ]);
      await store.write([await blockOf(EAST, 3, [segmentOf(EAST, traceIdOf(1), [b])])]);
      await harness.eventually(async () => {
        const { matches } = await search();
        expect(matches.map(({ position }) => position)).toEqual([
          { startUnixNano: BASE + 5n, traceId: traceIdOf(1) },
          { startUnixNano: BASE, traceId: traceIdOf(2) },
        ]);
        expect(metadataCounts(matches[0]!.metadata)).toEqual({ spanCount: 2, errorCount: 0 });
        expect(matches[0]!.metadata.startUnixNano).toBe(BASE);
      });
      expect(new Set(spanIds(await store.get(EAST, traceIdOf(1)))).size).toBe(2);
    });

    test('search is ordered by newest start, then by trace id, whatever the order and the cut of the blocks', async () => {
      const segments = Array.from({ length: 60 }, (_, i) => one((i * 37) % 60, { start: BASE + BigInt((i * 7) % 11) }));
      await store.write(await blocksOf(EAST, segments.slice(0, 20), 7));
      await store.write(await blocksOf(EAST, segments.slice(20), 1, 100));
      await harness.eventually(async () => {
        expect(await found()).toEqual(expectedPage(segments, query(), null, 100));
      });
    });

    test.each([1, 2, 7, 1000])(
      'pages of %i have neither gaps nor repeats; each trace once per page, at its first place',
      async (limit) => {
        const segments = Array.from({ length: 90 }, (_, i) =>
          one(i % 40, { start: BASE + BigInt((i * 13) % 31), span: i }),
        );
        await store.write(await blocksOf(EAST, segments, 8));
        await harness.eventually(async () => {
          let after: SearchPosition | null = null;
          for (const page of await allPages({ limit })) {
            const expected = expectedPage(segments, query(), after, limit);
            expect(page.matches.map(({ position }) => position)).toEqual(expected);
            after = page.next;
          }
        });
      },
    );

    test('pages while writes go on: nothing that was there is missed, nothing comes twice', async () => {
      const old = Array.from({ length: 50 }, (_, i) => one(i, { start: BASE + BigInt(1000 + i * 10) }));
      await store.write(await blocksOf(EAST, old, 4));
      await harness.eventually(async () => expect(await found()).toHaveLength(50));
      const seen: SearchPosition[] = [];
      let after: SearchPosition | null = null;
      for (let i = 0; i < 30; i++) {
        const page: SearchPage = await search({}, { limit: 3, after });
        seen.push(...page.matches.map(({ position }) => position));
        if (!page.next) break;
        after = page.next;
        const newer = one(500 + i, { start: BASE + BigInt(5000 + i) });
        const between = one(600 + i, { start: BASE + BigInt(1005 + i * 10) });
        await store.write(await blocksOf(EAST, [newer, between], 1, 1000 + 2 * i));
      }
      const ids = seen.map(({ traceId }) => traceId);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids.filter((id) => old.some(({ traceId }) => traceId === id))).toEqual(
        expectedPage(old, query(), null, 100).map(({ traceId }) => traceId),
      );
      for (const position of seen) expect(position.startUnixNano < BASE + 5000n).toBe(true);
    });

    test('all conditions hold on one and the same span', async () => {
      const spans: TestSpan[] = [
        { span: 1, service: 'orders', name: 'POST /orders', start: BASE, attributes: { tenant: 'acme' } },
        {
          span: 2,
          service: 'payments',
          name: 'charge',
          start: BASE + 10n,
          error: true,
          end: BASE + 5_000_000n,
          kind: 3,
        },
      ];
      const segments = [{ traceId: traceIdOf(1), spans }];
      await store.write(await blocksOf(EAST, segments, 1));
      const hit = [positionOf(segments[0]!)];
      await harness.eventually(async () => expect(await found()).toEqual(hit));
      expect(await found({ service: 'payments', operation: 'charge', error: true, kind: 3 })).toEqual(hit);
      expect(await found({ service: 'orders', attributes: [{ key: 'tenant', value: 'acme' }] })).toEqual(hit);
      expect(await found({ service: 'orders', error: false })).toEqual(hit);
      expect(await found({ service: 'orders', error: true })).toEqual([]);
      expect(await found({ service: 'payments', attributes: [{ key: 'tenant', value: 'acme' }] })).toEqual([]);
      expect(await found({ service: 'orders', operation: 'charge' })).toEqual([]);
      expect(await found({ service: 'orders', durationNanoMin: 4_000_000n })).toEqual([]);
      expect(await found({ kind: 3, startUnixNanoMax: BASE + 9n })).toEqual([]);
      expect(await found({ kind: 3, startUnixNanoMin: BASE + 10n, startUnixNanoMax: BASE + 10n })).toEqual(hit);
    });

    test('attributes by their text, the span before its resource; names of any script', async () => {
      const segments: ModelSegment[] = [
        one(1, {
          attributes: { int: 42n, double: 1.5, yes: true, text: 'naïve', 鍵: '値 😀' },
          service: 'заказы',
          name: '🛒',
        }),
        one(2, { attributes: { zone: 'a' }, resource: { zone: 'b', host: 'h1' } }),
      ];
      await store.write(await blocksOf(EAST, segments, 2));
      const [first, second] = segments.map(positionOf);
      await harness.eventually(async () => expect(await found()).toHaveLength(2));
      const by = (key: string, value: string) => found({ attributes: [{ key, value }] });
      expect(await by('int', '42')).toEqual([first]);
      expect(await by('double', '1.5')).toEqual([first]);
      expect(await by('yes', 'true')).toEqual([first]);
      expect(await by('text', 'naïve')).toEqual([first]);
      expect(await by('鍵', '値 😀')).toEqual([first]);
      expect(await by('service.name', 'заказы')).toEqual([first]);
      expect(await found({ service: 'заказы', operation: '🛒' })).toEqual([first]);
      expect(await by('zone', 'a')).toEqual([second]);
      expect(await by('zone', 'b')).toEqual([]);
      expect(await by('host', 'h1')).toEqual([second]);
      expect(await by('int', '042')).toEqual([]);
      expect(await by('text', 'naive')).toEqual([]);
    });

    test('times at their limits: before 1970 + 1 ns, beyond 2^63, ends before starts', async () => {
      const far = (1n << 64n) - 2n;
      const segments = [
        one(1, { start: 1n, end: 2n }),
        one(2, { start: far, end: far + 1n }),
        one(3, { start: BASE, end: BASE - 1000n }),
        one(4, { start: BASE, end: 0n }),
      ];
      await store.write(await blocksOf(EAST, segments, 1));
      await harness.eventually(async () => expect(await found()).toEqual(expectedPage(segments, query(), null, 9)));
      expect(await found({ durationNanoMax: 0n })).toEqual([positionOf(segments[2]!), positionOf(segments[3]!)]);
      expect(await found({ startUnixNanoMin: far })).toEqual([positionOf(segments[1]!)]);
      expect(await found({ startUnixNanoMax: 1n })).toEqual([positionOf(segments[0]!)]);
      expect(await found({ startUnixNanoMin: BASE, startUnixNanoMax: BASE })).toHaveLength(2);
      expect(await found({ startUnixNanoMin: 5n, startUnixNanoMax: 4n })).toEqual([]);
      expect((await allPages({ limit: 1 })).flatMap(({ matches }) => matches)).toHaveLength(4);
    });

    test('sources are kept apart', async () => {
      const mine = one(1, { service: 'mine' });
      const theirs = one(1, { service: 'theirs' });
      await store.write([...(await blocksOf(EAST, [mine], 1)), ...(await blocksOf(WEST, [theirs], 1))]);
      await harness.eventually(async () => {
        expect(await found({ service: 'mine' })).toHaveLength(1);
        expect(await found({ service: 'theirs' }, { source: WEST })).toHaveLength(1);
      });
      expect(await found({ service: 'theirs' })).toEqual([]);
      expect(await found({ service: 'mine' }, { source: WEST })).toEqual([]);
      expect(await found({ traceIds: [traceIdOf(1)], service: 'theirs' })).toEqual([]);
      for (const source of [EAST, WEST]) {
        const segments = await store.get(source, traceIdOf(1), {
          blocks: ['us-east-1/0/0/0', 'us-west-2/0/0/0'] as BlockId[],
          complete: true,
        });
        expect(segments.map(({ metadata }) => metadata.region)).toEqual([source]);
      }
      expect(await store.get('eu-west-1' as RegionId, traceIdOf(1))).toEqual([]);
    });

    test('by id, with hints and without: all segments, unless the hints are said to be complete', async () => {
      const parts = [0, 1, 2].map((i) => one(5, { span: i, start: BASE + BigInt(i) }));
      const blocks = await blocksOf(EAST, [...parts, one(6), one(7)], 1);
      await store.write(blocks);
      const ids = blocks.map(({ id }) => id);
      const all = spanIds(await store.get(EAST, traceIdOf(5)));
      expect(new Set(all).size).toBe(3);
      const read = async (hinted: readonly BlockId[], complete: boolean) =>
        spanIds(await store.get(EAST, traceIdOf(5), { blocks: hinted, complete }));
      expect(await read(ids.slice(0, 3), true)).toEqual(all);
      expect(await read(ids.slice(0, 1), false)).toEqual(all);
      expect(await read([], false)).toEqual(all);
      // Wrong ones: another trace's block, one that was never written.
      expect(await read([ids[3]!, 'us-east-1/9/9/9' as BlockId], false)).toEqual(all);
      for (const text of await read([...ids.slice(0, 2), ids[4]!], true)) expect(all).toContain(text);
      expect((await read(ids.slice(0, 2), true)).length).toBeGreaterThanOrEqual(2);
    });

    test('expire removes blocks whose newest span is older, and only those', async () => {
      const hour = 3_600_000_000_000n;
      const at = (number: number, hours: number) => one(number, { start: BASE + BigInt(hours) * hour });
      await store.write([
        ...(await blocksOf(EAST, [at(1, 0), at(2, 1)], 2)),
        ...(await blocksOf(EAST, [at(3, 0), at(4, 9)], 2, 10)),
        ...(await blocksOf(WEST, [at(5, 0)], 1)),
      ]);
      expect(await store.expire(BASE + 2n * hour)).toBe(2);
      expect(await store.expire(BASE + 2n * hour)).toBe(0);
      for (const gone of [1, 2]) expect(await store.get(EAST, traceIdOf(gone))).toEqual([]);
      expect(await store.get(WEST, traceIdOf(5))).toEqual([]);
      expect(await store.get(EAST, traceIdOf(3))).toHaveLength(1);
      await harness.eventually(async () => {
        expect((await found()).map(({ traceId }) => traceId)).toEqual([traceIdOf(4), traceIdOf(3)]);
      });
    });

    test('limits: pages of 1 to 1,000, at most 1,000 trace ids', async () => {
      const segments = Array.from({ length: 1001 }, (_, i) => one(i));
      await store.write(await blocksOf(EAST, segments, 101));
      await harness.eventually(async () => {
        expect(await found({}, { limit: 1000 })).toEqual(expectedPage(segments, query(), null, 1000));
      });
      const ids = segments.map(({ traceId }) => traceId);
      const wanted = ids.slice(1);
      expect(await found({ traceIds: wanted }, { limit: 1000 })).toEqual(
        expectedPage(segments, query({ traceIds: wanted }), null, 1000),
      );
      expect(await found({ traceIds: [] })).toEqual([]);
      for (const bad of [{ limit: 0 }, { limit: 1001 }, { limit: 1.5 }]) {
        await expect(search({}, bad)).rejects.toMatchObject({ code: 'invalid', retry: 'never' });
      }
      await expect(search({ traceIds: ids as TraceId[] })).rejects.toMatchObject({ code: 'invalid', retry: 'never' });
    });

    test('a block that cannot be read is refused with its code; other calls are not held up', async () => {
      const [good, bad, newer, last] = await blocksOf(EAST, [one(1), one(2), one(3), one(4)], 1);
      const broken = (block: EncodedBlock, change: (bytes: Buffer) => Buffer) => ({
        ...block,
        bytes: change(Buffer.from(block.bytes)),
      });
      const flipped = broken(bad!, (bytes) => {
        bytes[bytes.length - 3]! ^= 0xff;
        return bytes;
      });
      const truncated = broken(bad!, (bytes) => bytes.subarray(0, bytes.length - 5));
      const fromTomorrow = broken(newer!, (bytes) => {
        bytes[0] = 99;
        return bytes;
      });
      const results = await Promise.allSettled([
        store.write([good!]),
        store.write([flipped]),
        store.write([truncated]),
        store.write([fromTomorrow]),
      ]);
      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected']);
      const codes = results.map((result) => (result.status === 'rejected' ? result.reason.code : null));
      expect(codes).toEqual([null, 'malformed', 'malformed', 'unknown-version']);
      await store.write([last!]);
      for (const kept of [1, 4]) expect(await store.get(EAST, traceIdOf(kept))).toHaveLength(1);
      await store.write([bad!, newer!]);
      for (const kept of [2, 3]) expect(await store.get(EAST, traceIdOf(kept))).toHaveLength(1);
    });

    test('a search whose budget is used up says how far it got; going on from there finds everything once', async () => {
      const segments = Array.from({ length: 40 }, (_, i) => one(i, { start: BASE + BigInt(i % 13) }));
      await store.write(await blocksOf(EAST, segments, 3));
      await harness.eventually(async () => expect(await found()).toHaveLength(40));
      const spent = await store.search(request(), AbortSignal.abort());
      const rest: SearchPosition[] = [];
      for (let after = spent.next; after; ) {
        const page: SearchPage = await search({}, { after, limit: 6 });
        rest.push(...page.matches.map(({ position }) => position));
        after = page.next;
      }
      const all = [...spent.matches.map(({ position }) => position), ...rest];
      expect(all).toEqual(expectedPage(segments, query(), null, 100));
    });

    test('what was written is there after closing and opening again', async () => {
      const segments = Array.from({ length: 9 }, (_, i) => one(i));
      await store.write(await blocksOf(EAST, segments, 2));
      await store.close();
      await store.close();
      store = await harness.open();
      for (const { traceId } of segments) expect(await store.get(EAST, traceId)).toHaveLength(1);
      await harness.eventually(async () => expect(await found()).toEqual(expectedPage(segments, query(), null, 100)));
    });

    test('what was written is there after kill -9', async () => {
      const segments = Array.from({ length: 9 }, (_, i) => one(i));
      await store.close();
      await harness.writeAndKill(await blocksOf(EAST, segments, 2));
      store = await harness.open();
      for (const { traceId } of segments) expect(await store.get(EAST, traceId)).toHaveLength(1);
      await harness.eventually(async () => expect(await found()).toEqual(expectedPage(segments, query(), null, 100)));
    });
  });
}
