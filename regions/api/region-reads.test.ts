import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SearchRequest } from '../../global/model/query.js';
import type { RegionSegment } from '../../global/region-api/region-client.js';
import { ManualClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { LiveSegments } from '../assembler/open-traces-reader.js';
import type { Segment } from '../segments/segment.js';
import type { SearchMatch, SearchPage, SegmentStore } from '../store/segment-store.js';
import { cutAt, mergeSearchPages, RegionReads } from './region-reads.js';

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

  function reads(store: Partial<SegmentStore>, clock = new ManualClock()) {
    const index = {
      locate: async () => {
        throw new MeridianError('unavailable', 'no index', 'later');
      },
      watermarks: async () => [],
    };
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
});
