import { describe, expect, test } from 'vitest';
import type { FoldedPart, TraceIndexReader, TraceLocation } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { type BlockId, MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchRequest } from '../../global/model/query.js';
import type { RegionSegment } from '../../global/region-api/region-client.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { LiveSegments } from '../assembler/open-traces-reader.js';
import type { Segment } from '../segments/segment.js';
import type { ReadHints, SearchMatch, SearchPage, SegmentStore } from '../store/segment-store.js';
import { PartialAnswer } from '../store/tiered-partial-answer.js';
import { cutAt, hintsFrom, mergeSearchPages, RegionReads } from './region-reads.js';

const REGION = 'us-east-1' as RegionId;
const trace = (n: number) => n.toString(16).padStart(32, '0') as TraceId;

function metadata(traceId: TraceId, start: number, key: number): TraceMetadata {
  return {
    traceId,
    region: REGION,
    startUnixNano: BigInt(start),
    endUnixNano: BigInt(start + 10),
    root: null,
    coverage: [{ key, service: 's', spanCount: 1, errorCount: 0 }],
    flags: 0,
    blocks: [],
  };
}

function match(id: number, start: number, key = start): SearchMatch {
  return { position: { startUnixNano: BigInt(start), traceId: trace(id) }, metadata: metadata(trace(id), start, key) };
}

const page = (matches: SearchMatch[], next: SearchMatch | null = null): SearchPage => ({
  matches: [...matches].sort((a, b) => compareSearchPositions(a.position, b.position)),
  next: next?.position ?? null,
});

const starts = (merged: { matches: readonly SearchMatch[] }) =>
  merged.matches.map((m) => Number(m.position.startUnixNano));

describe('mergeSearchPages', () => {
  test('two finished pages: all in order, nothing to go on with', () => {
    const merged = mergeSearchPages([page([match(1, 50), match(2, 30)]), page([match(3, 40)])], 10);
    expect(starts(merged)).toEqual([50, 40, 30]);
    expect(merged.next).toBeNull();
  });

  test('nothing is given out beyond the place that one page did not reach', () => {
    const merged = mergeSearchPages([page([match(1, 50), match(2, 30)]), page([match(3, 40)], match(3, 40))], 10);
    expect(starts(merged)).toEqual([50, 40]);
    expect(merged.next).toEqual(match(3, 40).position);
  });

  test('the limit cuts, and the next page goes on after the last given out', () => {
    const merged = mergeSearchPages([page([match(1, 50), match(2, 30)]), page([match(3, 40)])], 2);
    expect(starts(merged)).toEqual([50, 40]);
    expect(merged.next).toEqual(match(3, 40).position);
  });

  test('a trace in both pages comes once, at its first place, its metadata joined', () => {
    const merged = mergeSearchPages([page([match(1, 50, 7)]), page([match(1, 20, 8), match(2, 30)])], 10);
    expect(starts(merged)).toEqual([50, 30]);
    expect(merged.matches[0]!.metadata.coverage.map((c) => c.key)).toEqual([7, 8]);
  });

  test('no pages: an empty one', () => {
    expect(mergeSearchPages([], 10)).toEqual({ matches: [], next: null });
  });
});

describe('cutAt', () => {
  const segment = (bytes: number) => ({ payload: Buffer.alloc(bytes) }) as RegionSegment;

  test('at the limit everything fits; one byte less and the rest is cut; the first always comes', () => {
    const segments = [segment(10), segment(5)];
    expect(cutAt(segments, 15)).toEqual({ segments, truncated: false });
    expect(cutAt(segments, 14)).toEqual({ segments: segments.slice(0, 1), truncated: true });
    expect(cutAt(segments, 1)).toEqual({ segments: segments.slice(0, 1), truncated: true });
    expect(cutAt(segments, 0)).toEqual({ segments, truncated: false });
  });
});

describe('RegionReads', () => {
  const segment = (start: number): Segment => ({
    metadata: metadata(trace(1), start, start),
    payload: Buffer.from([start]),
    closeReason: 'idle',
    receivedFirstMs: 1,
    receivedLastMs: 2,
  });
  const request: SearchRequest = {
    query: { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 100n },
    source: REGION,
    after: null,
    limit: 10,
  };
  const live: LiveSegments = {
    get: async () => [segment(2)],
    search: async () => page([match(1, 2)]),
    partitions: () => [],
  };

  const noIndex = async () => {
    throw new MeridianError('unavailable', 'no index', 'later');
  };

  function reads(
    store: Partial<SegmentStore>,
    clock = new ManualClock(),
    locate: TraceIndexReader['locate'] = noIndex,
  ) {
    const index = { locate, watermarks: async () => [] };
    return new RegionReads({ region: REGION, live, index, clock, store: store as SegmentStore });
  }

  test('what is open and what is stored are one answer; a missing index only costs time', async () => {
    const answer = await reads({ get: async () => [segment(1)] }).getTrace({
      source: REGION,
      traceId: trace(1),
      blocks: [],
      bytesMax: 0,
    });
    expect(answer.segments.map((s) => [s.payload[0], s.live])).toEqual([
      [2, true],
      [1, false],
    ]);
    expect(answer.missing).toEqual([]);
  });

  test('a store that fails is named with its reason and since when; the open part is answered', async () => {
    const clock = new ManualClock();
    const broken = async () => {
      throw new MeridianError('unavailable', 'disk on fire', 'later');
    };
    const region = reads({ get: broken, search: broken }, clock);
    const ask = () => region.getTrace({ source: REGION, traceId: trace(1), blocks: [], bytesMax: 0 });
    const sinceMs = clock.nowMs();
    expect((await ask()).missing).toEqual([{ part: 'store', reason: 'disk on fire', sinceMs }]);
    await clock.advance(5000);
    expect((await ask()).missing).toEqual([{ part: 'store', reason: 'disk on fire', sinceMs }]);
    const found = await region.search(request, new AbortController().signal);
    expect(starts(found)).toEqual([2]);
    expect(found.missing.map((m) => m.part)).toEqual(['store']);
  });

  describe('a store of which one tier is away', () => {
    const away = new MeridianError('unavailable', 'S3 does not answer', 'later');
    const ask = (region: RegionReads) =>
      region.getTrace({ source: REGION, traceId: trace(1), blocks: [], bytesMax: 0 });

    test('the other tier is answered, the one that is away is named with its own reason and since when', async () => {
      const clock = new ManualClock();
      let failing = true;
      const partial = <T>(answer: T) => {
        if (failing) throw new PartialAnswer('cold tier', answer, away);
        return answer;
      };
      const store = { get: async () => partial([segment(1)]), search: async () => partial(page([match(3, 5)])) };
      const region = reads(store, clock);
      const missing = [{ part: 'cold tier', reason: 'S3 does not answer', sinceMs: clock.nowMs() }];
      const found = await ask(region);
      expect(found.segments.map((s) => s.live)).toEqual([true, false]);
      expect(found.missing).toEqual(missing);
      await clock.advance(5000);
      const searched = await region.search(request, new AbortController().signal);
      expect(starts(searched)).toEqual([5, 2]);
      expect(searched.missing).toEqual(missing);
      failing = false;
      expect((await ask(region)).missing).toEqual([]);
      // A new failure counts from itself on.
      failing = true;
      await clock.advance(5000);
      expect((await ask(region)).missing[0]!.sinceMs).toBe(clock.nowMs());
    });

    test('the hot tier away and the cold one not: it is the store that is missing, and stays so while all of it is', async () => {
      const clock = new ManualClock();
      let error: Error = new PartialAnswer('store', [segment(1)], away);
      const region = reads({ get: () => Promise.reject(error) }, clock);
      const sinceMs = clock.nowMs();
      const found = await ask(region);
      expect(found.segments).toHaveLength(2);
      expect(found.missing).toEqual([{ part: 'store', reason: 'S3 does not answer', sinceMs }]);
      await clock.advance(5000);
      error = away;
      expect((await ask(region)).missing).toEqual([{ part: 'store', reason: 'S3 does not answer', sinceMs }]);
    });

    test('one tier, then all of the store: each since its own time', async () => {
      const clock = new ManualClock();
      let error: Error = new PartialAnswer('cold tier', [], away);
      const region = reads({ get: () => Promise.reject(error) }, clock);
      await ask(region);
      await clock.advance(5000);
      error = away;
      expect((await ask(region)).missing).toEqual([
        { part: 'store', reason: 'S3 does not answer', sinceMs: clock.nowMs() },
      ]);
    });
  });

  describe('what the own index tells the store', () => {
    const root = { startUnixNano: 7n, service: 's', operation: 'o' };
    const other = 'eu-west-1' as RegionId;
    const block = (n: number) => `us-east-1/0/0/${n}` as BlockId;
    const located = (records: readonly TraceMetadata[], folded?: readonly FoldedPart[]): TraceLocation => ({
      traceId: trace(1),
      records,
      ...(folded ? { folded } : {}),
      watermarks: [],
    });
    const own = (changes: Partial<TraceMetadata> = {}) => ({ ...metadata(trace(1), 5, 1), root, ...changes });
    const part = (region: RegionId, startUnixNanoMin: bigint) => ({ region, startUnixNanoMin, endUnixNanoMax: 99n });
    const startMin = (location: TraceLocation) => hintsFrom(location, REGION).startUnixNanoMin;

    test('a known root: nothing of the trace begins before the record does', () => {
      expect(startMin(located([own()]))).toBe(5n);
    });

    test('no proof: no root, implausible times, no record, a record of another region, no index', () => {
      expect(startMin(located([own({ root: null })]))).toBeUndefined();
      expect(startMin(located([own({ flags: MetadataFlag.implausibleTime })]))).toBeUndefined();
      expect(startMin(located([]))).toBeUndefined();
      expect(startMin(located([own({ region: other })]))).toBeUndefined();
      expect(hintsFrom(null, REGION)).toEqual({ blocks: [], complete: false });
    });

    test('a folded part of the region may be older than the record; one of another region says nothing', () => {
      expect(startMin(located([own()], [part(REGION, 2n)]))).toBe(2n);
      expect(startMin(located([own()], [part(REGION, 6n)]))).toBe(5n);
      expect(startMin(located([own()], [part(other, 2n)]))).toBe(5n);
      expect(startMin(located([], [part(REGION, 2n)]))).toBeUndefined();
    });

    test('it is passed on, with the blocks of both; folded parts are asked for', async () => {
      const hints: (ReadHints | undefined)[] = [];
      const options: unknown[] = [];
      const region = reads(
        {
          get: async (_source, _traceId, hint) => {
            hints.push(hint);
            return [];
          },
        },
        new ManualClock(),
        async (_ids, option) => {
          options.push(option?.exactOnly ?? false);
          return [located([own({ blocks: [block(1), block(2)] })])];
        },
      );
      await region.getTrace({ source: REGION, traceId: trace(1), blocks: [block(2), block(3)], bytesMax: 0 });
      expect(hints).toEqual([{ blocks: [block(2), block(3), block(1)], complete: false, startUnixNanoMin: 5n }]);
      expect(options).toEqual([false]);
    });
  });
});
