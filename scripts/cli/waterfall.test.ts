import { describe, expect, test } from 'vitest';
import type { TraceAnswer } from './answers.js';
import { formatNanos, printable, styled, type Terminal, table } from './terminal.js';
import { drawTrace, inTreeOrder } from './waterfall.js';

const terminal: Terminal = { colors: false, width: 80, out: () => {}, note: () => {}, progress: () => {} };

const span = (spanId: string, region: string, depth: number, startMs: number, ms: number, more = {}) => ({
  spanId,
  parentSpanId: null,
  region,
  service: `s${spanId}`,
  operation: 'op',
  startTimeUnixNano: String(startMs * 1_000_000),
  durationNano: String(ms * 1_000_000),
  status: { code: 'unset' },
  depth,
  onCriticalPath: false,
  ...more,
});

const trace: TraceAnswer = {
  traceId: 'ab'.repeat(16),
  complete: false,
  regions: [
    { region: 'a', state: 'answered', source: 'store', spanCount: 2, tookMs: 1 },
    {
      region: 'b',
      state: 'timeout',
      reason: 'no answer in 2 s\u001b[31m',
      since: '2026-11-21T00:00:00.000Z',
      source: 'none',
      spanCount: 0,
      tookMs: 2000,
    },
    { region: 'c', state: 'skipped', source: 'none', spanCount: 0, tookMs: 0 },
  ],
  startTimeUnixNano: '0',
  durationNano: '100000000',
  spanCount: 2,
  errorCount: 1,
  spans: [span('1', 'a', 0, 0, 100), span('2', 'a', 1, 50, 25, { status: { code: 'error' } })],
  warnings: [{ code: 'orphans', message: '1 span has no parent here' }],
};

describe('drawTrace', () => {
  test('says what is missing, why and since when, and never lets a terminal sequence through', () => {
    const lines = drawTrace(terminal, trace);
    expect(lines[0]).toBe(`trace ${'ab'.repeat(16)}  PARTIAL  2 spans in 1 region, 1 with errors  100 ms`);
    expect(lines[1]).toBe('missing b: timeout: no answer in 2 s\u00b7[31m, since 2026-11-21T00:00:00.000Z');
    expect(lines[2]).toBe('regions: a 2 (store), c skipped');
    expect(lines[3]).toBe('warning: 1 span has no parent here');
  });

  test('a bar stands where the span was', () => {
    const [root, child] = drawTrace(terminal, trace).slice(-2) as [string, string];
    const cells = [...root].filter((c) => c === '━').length;
    expect([...child].filter((c) => c === '━').length).toBe(Math.floor(cells / 4));
    expect(child.indexOf('━') - root.indexOf('━')).toBe(Math.floor(cells / 2));
    expect(child).toMatch(/└ s2 op .* 25 ms error$/);
  });

  test('a trace without spans draws none', () => {
    expect(drawTrace(terminal, { ...trace, spans: [], durationNano: '0' })).toHaveLength(4);
  });
});

test.each([
  [0n, '0 ns'],
  [950n, '950 ns'],
  [1_234n, '1.23 µs'],
  [84_200_000n, '84.2 ms'],
  [12_345_000_000n, '12.3 s'],
  [90_000_000_000n, '1.5 min'],
])('formatNanos %s', (nano, text) => expect(formatNanos(nano)).toBe(text));

test('colours only where they are wanted', () => {
  expect(styled(terminal, 'red', 'x')).toBe('x');
  expect(styled({ ...terminal, colors: true }, 'red', 'x')).toBe('\u001b[31mx\u001b[39m');
});

test('table pads all columns but the last', () => {
  expect(
    table([
      ['a', 'bb', 'c'],
      ['aaa', 'b', 'ccc'],
    ]),
  ).toEqual(['a    bb  c', 'aaa  b   ccc']);
});

test('printable marks control characters', () => expect(printable('a\u0000\u009bé🚀')).toBe('a\u00b7\u00b7é🚀'));

describe('inTreeOrder', () => {
  const node = (spanId: string, parentSpanId: string | null, depth: number, startMs: number) => ({
    ...span(spanId, 'a', depth, startMs, 1),
    parentSpanId,
  });
  const ids = (...spans: ReturnType<typeof node>[]) =>
    inTreeOrder(spans)
      .map((s) => s.spanId)
      .join(' ');

  test('children follow their parent, siblings by start', () => {
    expect(
      ids(
        node('r', null, 0, 0),
        node('c', 'b', 2, 1),
        node('a', 'r', 1, 2),
        node('b', 'r', 1, 3),
        node('d', 'a', 2, 4),
      ),
    ).toBe('r a d b c');
  });

  test('two spans with one id, a broken cycle: every span once', () => {
    expect(
      ids(
        node('x', 'y', 0, 0),
        node('y', 'x', 1, 1),
        node('y', 'x', 1, 2),
        node('z', 'y', 2, 3),
        node('q', 'gone', 3, 4),
      ),
    ).toBe('x y z y q');
  });
});
