import { describe, expect, test } from 'vitest';
import { region, spanId, type TestSpan, TRACE, tracesData } from '../testing/otlp-spans.js';
import { mergeTrace, readViews } from './merge-trace.js';
import { encodeTraceJson } from './trace-json.js';

const A = region('a');
const B = region('b');
const T0 = 1_700_000_000_000_000_000n;

function span(id: number, changes: Partial<TestSpan> = {}): TestSpan {
  return { traceId: TRACE, spanId: spanId(id), start: T0 + BigInt(id), end: T0 + BigInt(id) + 10n, ...changes };
}

function merge(parts: readonly (readonly [typeof A, readonly TestSpan[]])[]) {
  return mergeTrace(
    readViews(
      parts.map(([of, spans]) => ({ region: of, payload: tracesData(spans) })),
      1000,
    ).read,
  );
}

describe('mergeTrace', () => {
  test('order: start, then span id, over regions', () => {
    const same = { start: T0, end: T0 + 1n };
    const merged = merge([
      [B, [span(9, same), span(2)]],
      [A, [span(5, same), span(1)]],
    ]);
    expect(merged.spans.map((s) => [s.view.spanId, s.region])).toEqual([
      [spanId(5), A],
      [spanId(9), B],
      [spanId(1), A],
      [spanId(2), B],
    ]);
  });

  test('a negative duration is 0, with a warning; the recorded times stay in the view', () => {
    const merged = merge([[A, [span(1, { start: T0 + 50n, end: T0 })]]]);
    expect(merged.spans[0]).toMatchObject({ startUnixNano: T0 + 50n, endUnixNano: T0 + 50n });
    expect(merged.spans[0]!.view.endUnixNano).toBe(T0);
    expect(merged.warnings.map((w) => w.code)).toEqual(['negative-duration']);
  });

  test('several roots: the earliest; none: null, and the path starts at the earliest top', () => {
    const several = merge([[A, [span(2), span(1)]]]);
    expect(several.root!.view.spanId).toBe(spanId(1));
    expect(several.warnings.map((w) => w.code)).toEqual(['several-roots']);
    const none = merge([[A, [span(2, { parentSpanId: spanId(77) }), span(3, { parentSpanId: spanId(2) })]]]);
    expect(none.root).toBeNull();
    expect(none.spans.map((s) => [s.depth, s.onCriticalPath])).toEqual([
      [0, true],
      [1, true],
    ]);
  });

  test('clocks of two hosts: the server moves into its client, its events with it, and says by how much', () => {
    const merged = merge([
      [A, [span(1, { kind: 3, service: 'gateway', host: 'h1', start: T0, end: T0 + 100_000_000n })]],
      [
        B,
        [
          span(2, {
            parentSpanId: spanId(1),
            kind: 2,
            service: 'orders',
            host: 'h2',
            start: T0 + 1_000_000_000n,
            end: T0 + 1_060_000_000n,
          }),
        ],
      ],
    ]);
    expect(merged.spans[1]).toMatchObject({
      startUnixNano: T0 + 20_000_000n,
      endUnixNano: T0 + 80_000_000n,
      skewNano: -980_000_000n,
    });
    expect(merged.endUnixNano).toBe(T0 + 100_000_000n);
    const [text] = encodeTraceJson({ a: 1 }, merged.spans, { warnings: [] });
    const json = JSON.parse(text!);
    expect(json.spans[0]).not.toHaveProperty('skewCorrectionNano');
    expect(json.spans[1]).toMatchObject({
      skewCorrectionNano: '-980000000',
      startTimeUnixNano: String(T0 + 20_000_000n),
    });
  });

  test('nothing at all', () => {
    expect(merge([])).toMatchObject({ spans: [], root: null, startUnixNano: null, services: [], warnings: [] });
    expect(JSON.parse([...encodeTraceJson({ a: 1 }, [], { b: 2 })].join(''))).toEqual({ a: 1, spans: [], b: 2 });
  });
});

describe('readViews', () => {
  test('at the limit nothing is cut, one past it the rest is', () => {
    const parts = [
      { region: A, payload: tracesData([span(1), span(2)]) },
      { region: B, payload: tracesData([span(3)]) },
    ];
    expect(readViews(parts, 3)).toMatchObject({ cut: false });
    const cut = readViews(parts, 2);
    expect(cut.cut).toBe(true);
    expect(cut.read.flatMap((r) => r.views.map((v) => v.spanId))).toEqual([spanId(1), spanId(2)]);
  });

  test('bad bytes cost the region all of its spans, the others none', () => {
    const bad = Buffer.concat([tracesData([span(2)]), Buffer.from([0x0a, 0x7f])]);
    const { read, failed } = readViews(
      [
        { region: B, payload: tracesData([span(4)]) },
        { region: B, payload: bad },
        { region: A, payload: tracesData([span(1)]) },
      ],
      10,
    );
    expect(read.map((r) => [r.region, r.views.length])).toEqual([[A, 1]]);
    expect([...failed.keys()]).toEqual([B]);
  });
});

test('a large trace is written in many chunks that make one JSON text', () => {
  const spans = Array.from({ length: 2000 }, (_, i) => span(i + 1, { parentSpanId: i === 0 ? spanId(0) : spanId(i) }));
  const merged = mergeTrace(readViews([{ region: A, payload: tracesData(spans) }], 5000).read);
  const chunks = [...encodeTraceJson({ traceId: TRACE }, merged.spans, { warnings: [] })];
  expect(chunks.length).toBeGreaterThan(5);
  expect(Math.max(...chunks.map((c) => c.length))).toBeLessThan(80 * 1024);
  const json = JSON.parse(chunks.join(''));
  expect(json.spans.length).toBe(2000);
  expect(json.spans[1999]).toMatchObject({ depth: 1999, region: 'a', resource: { 'service.name': 'shop' } });
});
