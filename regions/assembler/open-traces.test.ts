import { describe, expect, test } from 'vitest';
import { summarize } from '../segments/summarize.js';
import { type Fragment, OPEN_TRACE_OVERHEAD_BYTES, OpenTraces } from './open-traces.js';
import { HOME } from './testing/rig.js';
import { REMOTE_PARENT, spanKeysOf, type TestSpan, testSpanId, testTraceId, tracesDataOf } from './testing/spans.js';

const LIMITS = { settleMs: 2_000, idleMs: 30_000, ageMs: 300_000, segmentBytesMax: 10_000, segmentSpansMax: 100 };

function fragment(trace: number, offset: number, spans: readonly Partial<TestSpan>[]): Fragment {
  const traceId = testTraceId(trace);
  const payload = tracesDataOf(
    spans.map((span, i) => ({ traceId, spanId: testSpanId(offset * 100 + i + 1), service: 's', ...span })),
  );
  const metadata = summarize(payload, { traceId, region: HOME, receivedMs: 0 });
  return { traceId, payload, metadata, spanCount: spans.length, offset, receivedMs: 1_000 + offset };
}

const child = { parentSpanId: testSpanId(999) };

describe('open traces', () => {
  test('close when a whole trace has been quiet for the settle time, not before', () => {
    const open = new OpenTraces(LIMITS);
    open.add(fragment(1, 0, [{}]), 0);
    expect(open.tick(1_999)).toEqual([]);
    const [closed] = open.tick(2_000);
    expect(closed).toMatchObject({ closeReason: 'root-settled', firstOffset: 0, spanCount: 1 });
    expect(open.count).toBe(0);
  });

  test('a fragment starts the settle time anew', () => {
    const open = new OpenTraces(LIMITS);
    open.add(fragment(1, 0, [{}]), 0);
    open.add(fragment(1, 1, [{ parentSpanId: testSpanId(1) }]), 1_500);
    expect(open.tick(3_499)).toEqual([]);
    expect(open.tick(3_500)).toHaveLength(1);
  });

  test('a trace that is not whole closes idle, unless what it lacked comes', () => {
    const open = new OpenTraces(LIMITS);
    open.add(fragment(1, 0, [{}, child]), 0);
    open.add(fragment(2, 1, [{}, child]), 0);
    expect(open.tick(29_000)).toEqual([]);
    open.add(fragment(2, 2, [{ spanId: testSpanId(999), parentSpanId: testSpanId(101) }]), 29_000);
    expect(open.tick(30_000).map((trace) => [trace.metadata.traceId, trace.closeReason])).toEqual([
      [testTraceId(1), 'idle'],
    ]);
    expect(open.tick(31_000).map((trace) => [trace.metadata.traceId, trace.closeReason])).toEqual([
      [testTraceId(2), 'root-settled'],
    ]);
  });

  test.each([
    ['whole: a root', [{}], true],
    ['whole: a remote entry', [{ ...child, flags: REMOTE_PARENT }], true],
    ['not whole: a parent that is known to be local, and missing', [{ ...child, flags: 0x101 }], false],
    ['not whole: a root and a span whose parent is missing', [{}, child], false],
    ['whole: a root and a second remote entry', [{}, { ...child, flags: REMOTE_PARENT }], true],
    ['not whole: a span that is its own parent', [{ spanId: testSpanId(5), parentSpanId: testSpanId(5) }], false],
    [
      'a root beside a cycle',
      [
        {},
        { spanId: testSpanId(5), parentSpanId: testSpanId(6) },
        { spanId: testSpanId(6), parentSpanId: testSpanId(5) },
      ],
      true,
    ],
  ])('%s', (_, spans, isWhole) => {
    const open = new OpenTraces(LIMITS);
    open.add(fragment(1, 0, spans), 0);
    expect(open.tick(2_000)).toHaveLength(isWhole ? 1 : 0);
  });

  test('a trace that never rests closes by age', () => {
    const open = new OpenTraces({ ...LIMITS, segmentBytesMax: 1e9, segmentSpansMax: 1e9 });
    for (let at = 0; at < 300_000; at += 1_900) {
      open.add(fragment(1, at, [{}]), at);
      expect(open.tick(at)).toEqual([]);
    }
    expect(open.tick(299_999)).toEqual([]);
    expect(open.tick(300_000)).toMatchObject([{ closeReason: 'age', spanCount: 158 }]);
  });

  test('a fragment that would take a trace beyond its bytes closes it first', () => {
    const size = fragment(1, 0, [{ paddingBytes: 500 }]).payload.length;
    const open = new OpenTraces({ ...LIMITS, segmentBytesMax: 2 * size });
    open.add(fragment(1, 0, [{ paddingBytes: 500 }]), 0);
    expect(open.add(fragment(1, 1, [{ paddingBytes: 500 }]), 0).closed).toBeNull();
    const { closed, opened } = open.add(fragment(1, 2, [{ paddingBytes: 500 }]), 0);
    expect(closed).toMatchObject({ closeReason: 'size', spanCount: 2, firstOffset: 0 });
    expect(opened).toMatchObject({ firstOffset: 2, bytes: size });
  });

  test('a fragment that would take a trace beyond its spans closes it first', () => {
    const open = new OpenTraces({ ...LIMITS, segmentSpansMax: 4 });
    open.add(fragment(1, 0, [{}, {}]), 0);
    expect(open.add(fragment(1, 1, [{}, {}]), 0).closed).toBeNull();
    expect(open.add(fragment(1, 2, [{}]), 0).closed).toMatchObject({ closeReason: 'size', spanCount: 4 });
  });

  test('a single fragment beyond the limits is a segment of its own', () => {
    const open = new OpenTraces({ ...LIMITS, segmentSpansMax: 1 });
    expect(open.add(fragment(1, 0, [{}, {}]), 0).closed).toBeNull();
    expect(open.add(fragment(1, 1, [{}]), 0).closed).toMatchObject({ spanCount: 2 });
  });

  test('the lowest offset is that of the oldest open trace, wherever others close', () => {
    const open = new OpenTraces(LIMITS);
    expect(open.lowestOffset).toBeNull();
    open.add(fragment(1, 3, [child]), 0);
    open.add(fragment(2, 4, [{}]), 0);
    open.add(fragment(3, 5, [child]), 10_000);
    open.tick(2_000);
    expect(open.lowestOffset).toBe(3);
    expect(open.closeOldest()).toMatchObject({ closeReason: 'memory', firstOffset: 3 });
    expect(open.lowestOffset).toBe(5);
    expect(open.drain()).toMatchObject([{ closeReason: 'drain', firstOffset: 5 }]);
    expect(open.lowestOffset).toBeNull();
    expect(open.closeOldest()).toBeNull();
  });

  test('many fragments become few parts, and no byte or span is lost or moved', () => {
    const open = new OpenTraces({ ...LIMITS, segmentBytesMax: 1e9, segmentSpansMax: 1e9 });
    const fragments = Array.from({ length: 1_000 }, (_, i) => fragment(1, i, [{}]));
    for (const one of fragments) open.add(one, 0);
    const trace = open.get(testTraceId(1))!;
    expect(trace.payloads.length).toBeLessThanOrEqual(11);
    expect(trace.metadata.coverage).toHaveLength(1_000);
    expect(open.bytes).toBe(fragments.reduce((sum, { payload }) => sum + payload.length, OPEN_TRACE_OVERHEAD_BYTES));
    const [closed] = open.drain();
    expect(spanKeysOf(closed!.payload)).toEqual(fragments.flatMap(({ payload }) => spanKeysOf(payload)));
    expect(closed!.payload.buffer.byteLength).toBe(closed!.payload.length);
    expect([closed!.receivedFirstMs, closed!.receivedLastMs]).toEqual([1_000, 1_999]);
    expect(open.bytes).toBe(0);
  });
});
