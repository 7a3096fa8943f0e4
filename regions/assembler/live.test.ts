import { describe, expect, test } from 'vitest';
import { mirroredTopic } from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { MetadataFlag } from '../../global/model/metadata.js';
import {
  compareSearchPositions,
  type SearchPosition,
  type SearchRequest,
  type SpanQuery,
} from '../../global/model/query.js';
import { NANOS_PER_MS } from '../../global/model/time.js';
import type { LiveSegments } from './open-traces-reader.js';
import { HOME, Rig, type RigOptions, turns } from './testing/rig.js';
import { spanKeysOf, type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

const ONE: RigOptions = { partitions: { spans: 1, segments: 1, traceMetadata: 1 } };
const T0 = 1_700_000_000_000_000_000n;

function span(trace: number, over: Partial<TestSpan> = {}): TestSpan {
  const startUnixNano = T0 + BigInt(trace) * NANOS_PER_MS;
  return {
    traceId: testTraceId(trace),
    spanId: testSpanId(trace),
    service: 'orders',
    name: 'get',
    startUnixNano,
    endUnixNano: startUnixNano + 5n * NANOS_PER_MS,
    ...over,
  };
}

/** A span that keeps its trace open until it is idle. */
const orphan = (trace: number, over: Partial<TestSpan> = {}) =>
  span(trace, { parentSpanId: testSpanId(1 << 30), ...over });

function request(over: Partial<SpanQuery> = {}, after: SearchPosition | null = null, limit = 20): SearchRequest {
  const query = { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 1n << 63n, ...over };
  return { query, source: HOME, after, limit };
}

async function liveSpans(live: LiveSegments, traceId: TraceId): Promise<string[]> {
  return (await live.get(HOME, traceId)).flatMap((segment) => spanKeysOf(segment.payload));
}

async function tracesOf(live: LiveSegments, search: SearchRequest): Promise<number[]> {
  return (await live.search(search)).matches.map((match) => Number.parseInt(match.position.traceId, 16));
}

describe('live segments', () => {
  test('an open trace is readable by id, as a copy, not flagged closed', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([orphan(1)]);
    rig.append([orphan(1, { spanId: testSpanId(2) })]);
    await turns();
    const [segment, ...more] = await assembler.live.get(HOME, testTraceId(1));
    expect(more).toEqual([]);
    expect(spanKeysOf(segment!.payload)).toHaveLength(2);
    expect(segment!.metadata.flags & MetadataFlag.closed).toBe(0);
    segment!.payload.fill(0);
    expect(await liveSpans(assembler.live, testTraceId(1))).toHaveLength(2);
    expect(await assembler.live.get('us-east-1' as RegionId, testTraceId(1))).toEqual([]);
    expect(await assembler.live.get(HOME, testTraceId(3))).toEqual([]);
    await assembler.stop();
  });

  test('every span is readable at every moment from reading to storing, and a while longer', async () => {
    const rig = new Rig(ONE);
    const assembler = rig.assembler();
    await assembler.start();
    const traces = Array.from({ length: 150 }, (_, i) => i + 1);
    for (const trace of traces) rig.append([trace % 2 ? span(trace) : orphan(trace)]);
    await turns();
    const isHeld = async () => {
      const held = await Promise.all(traces.map((trace) => liveSpans(assembler.live, testTraceId(trace))));
      return held.every((spans) => spans.length === 1);
    };
    const searched = async () => new Set(await tracesOf(assembler.live, request({}, null, 1_000))).size;
    for (let passed = 0; passed < 32_000; passed += 100) {
      await rig.pass(100);
      expect(await isHeld(), `after ${passed} ms`).toBe(true);
      if (passed % 1_000 === 0) expect(await searched()).toBe(150);
    }
    await rig.until(() => rig.segmentCount() === 150, 'all segments');
    // The writer commits: what it stored stays for as long as the store's search may not show it.
    rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = rig.memory.records(TOPICS.segments, 0).length;
    await rig.pass(1_000);
    expect(await isHeld()).toBe(true);
    await rig.pass(1_000);
    expect(await searched()).toBe(0);
    expect(await liveSpans(assembler.live, testTraceId(1))).toEqual([]);
    await assembler.stop();
  });

  test('a block stays until the writer has passed it, not only reached it', async () => {
    const rig = new Rig(ONE);
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([span(1)]);
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    rig.append([span(2)]);
    await rig.until(() => rig.segmentCount() === 2, 'two segments');
    rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = 1;
    await rig.pass(3_000);
    expect(await liveSpans(assembler.live, testTraceId(1))).toEqual([]);
    expect(await liveSpans(assembler.live, testTraceId(2))).toHaveLength(1);
    await assembler.stop();
  });

  test('payloads beyond the cache are read back from the log, by id and in search', async () => {
    const rig = new Rig({ ...ONE, limits: { blockCacheBytesMax: 0 } });
    const assembler = rig.assembler();
    await assembler.start();
    for (let trace = 1; trace <= 5; trace++) rig.append([span(trace)]);
    await rig.until(() => rig.segmentCount() === 5, 'segments');
    await rig.pass(100);
    expect(await rig.registry.getSingleMetricAsString('meridian_assembler_held_bytes')).toMatch(/ 0$/m);
    expect(await liveSpans(assembler.live, testTraceId(3))).toEqual([`${testTraceId(3)}/${testSpanId(3)}`]);
    expect(await tracesOf(assembler.live, request({ operation: 'get' }))).toEqual([5, 4, 3, 2, 1]);
    expect(await tracesOf(assembler.live, request({ operation: 'put' }))).toEqual([]);
    rig.memory.isDown = true;
    await expect(assembler.live.get(HOME, testTraceId(3))).rejects.toMatchObject({
      code: 'unavailable',
      retry: 'later',
    });
    rig.memory.isDown = false;
    await assembler.stop();
  });

  test('takes no more records while too many segments wait for the store, and goes on afterwards', async () => {
    const rig = new Rig({ ...ONE, limits: { heldSegmentsMax: 3, blockSegmentsMax: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    for (let trace = 1; trace <= 3; trace++) rig.append([span(trace)]);
    await rig.until(() => rig.segmentCount() === 3, 'three segments');
    await turns();
    expect(await assembler.health().check()).toMatchObject({
      state: 'degraded',
      detail: '3 segments wait for the store',
    });
    rig.append([span(4)]);
    rig.append([span(5)]);
    await rig.pass(10_000);
    expect(rig.segmentCount()).toBe(3);
    expect(await liveSpans(assembler.live, testTraceId(4))).toEqual([]);
    expect(await liveSpans(assembler.live, testTraceId(5))).toEqual([]);
    rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = 3;
    await rig.until(() => rig.segmentCount() === 5, 'the others');
    await assembler.stop();
  });

  test('after a restart, blocks that the store does not have are readable at once', async () => {
    const rig = new Rig(ONE);
    const first = rig.assembler();
    await first.start();
    for (let trace = 1; trace <= 3; trace++) rig.append([span(trace)]);
    await rig.pass(200);
    await first.stop();
    const again = rig.assembler();
    await again.start();
    expect(await liveSpans(again.live, testTraceId(2))).toHaveLength(1);
    expect(await tracesOf(again.live, request())).toEqual([3, 2, 1]);
    rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = rig.memory.records(TOPICS.segments, 0).length;
    await rig.pass(2_000);
    expect(await liveSpans(again.live, testTraceId(2))).toEqual([]);
    await again.stop();
    const other = 'us-east-1' as RegionId;
    rig.memory.ensure([
      { name: mirroredTopic(other, TOPICS.spans), partitions: 1, retentionMs: 1e9, compacted: false },
    ]);
    const foreign = rig.assembler({ source: other });
    await foreign.start();
    expect(await foreign.live.get(other, testTraceId(2))).toEqual([]);
    await foreign.stop();
  });

  test('search gives open and closed traces in one order, page by page', async () => {
    const rig = new Rig(ONE);
    const assembler = rig.assembler();
    await assembler.start();
    const order = [7, 3, 9, 1, 5, 8, 2, 6, 4];
    rig.append(order.map((trace) => (trace % 3 ? span(trace) : orphan(trace))));
    await rig.until(() => rig.segmentCount() === 6, 'some closed segments');
    const seen: number[] = [];
    let after: SearchPosition | null = null;
    for (let page = 0; page < 5; page++) {
      const { matches, next } = await assembler.live.search(request({}, after, 2));
      seen.push(...matches.map((match) => Number.parseInt(match.position.traceId, 16)));
      for (const { position, metadata } of matches) {
        expect(position).toEqual({ startUnixNano: metadata.startUnixNano, traceId: metadata.traceId });
        if (after) expect(compareSearchPositions(after, position)).toBeLessThan(0);
      }
      after = next;
    }
    expect(after).toBeNull();
    expect(seen).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1]);
    await assembler.stop();
  });

  test('a full last page has no next; conditions hold on one span; a trace stands once on a page', async () => {
    const rig = new Rig(ONE);
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([
      orphan(1, { service: 'a', name: 'x' }),
      orphan(1, { service: 'b', name: 'y', spanId: testSpanId(12) }),
      orphan(2, { service: 'a', name: 'y', statusCode: 2 }),
      span(3),
    ]);
    await rig.until(() => rig.segmentCount() === 1, 'one closed segment');
    rig.append([orphan(3, { spanId: testSpanId(13) })]);
    await turns();
    const { live } = assembler;
    expect(await tracesOf(live, request({ service: 'a', operation: 'y' }))).toEqual([2]);
    expect(await tracesOf(live, request({ operation: 'y' }))).toEqual([2, 1]);
    expect(await tracesOf(live, request({ error: true }))).toEqual([2]);
    expect(await tracesOf(live, request({ error: false }))).toEqual([3, 1]);
    expect(await tracesOf(live, request({ service: 'none' }))).toEqual([]);
    expect(await tracesOf(live, request({ traceIds: [testTraceId(1), testTraceId(3), testTraceId(4)] }))).toEqual([
      3, 1,
    ]);
    expect(await tracesOf(live, request({ durationNanoMin: 5n * NANOS_PER_MS }))).toEqual([3, 2, 1]);
    expect(await tracesOf(live, request({ durationNanoMin: 5n * NANOS_PER_MS + 1n }))).toEqual([]);
    expect(
      await tracesOf(
        live,
        request({ startUnixNanoMin: T0 + 2n * NANOS_PER_MS, startUnixNanoMax: T0 + 2n * NANOS_PER_MS }),
      ),
    ).toEqual([2]);
    const page = await live.search(request({ operation: 'y' }, null, 2));
    expect(page.matches).toHaveLength(2);
    expect(page.next).toBeNull();
    await assembler.stop();
  });

  test('a search whose time is over says how far it got, and each page gets farther', async () => {
    const rig = new Rig(ONE);
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([1, 2, 3].map((trace) => orphan(trace)));
    await turns();
    const over = AbortSignal.abort();
    const seen: number[] = [];
    let after: SearchPosition | null = null;
    do {
      const page = await assembler.live.search(request({}, after), over);
      seen.push(...page.matches.map((match) => Number.parseInt(match.position.traceId, 16)));
      after = page.next;
    } while (after);
    expect(seen).toEqual([3, 2, 1]);
    await assembler.stop();
  });
});
