import { describe, expect, test } from 'vitest';
import { findValue, plainRecord } from './any-value.js';
import { readJaegerThrift } from './jaeger-thrift.js';
import { readSpanViews, type SpanView } from './span-view.js';
import { batchOf, PROTOCOLS, SPAN, type TestSpan, type TestTag, thriftBatch } from './testing/thrift-batch.js';

/** The span as both protocols give it. */
function converted(span: Partial<TestSpan>): SpanView {
  const [binary, compact] = PROTOCOLS.map((protocol) => readJaegerThrift(thriftBatch(protocol, batchOf(span))));
  expect(binary!.rejected).toEqual([]);
  expect(compact!.tracesData.toString('hex')).toBe(binary!.tracesData.toString('hex'));
  return readSpanViews(binary!.tracesData)[0]!;
}

describe('kind', () => {
  test.each([
    ['internal', 1],
    ['server', 2],
    ['client', 3],
    ['producer', 4],
    ['consumer', 5],
  ])('%s', (value, kind) => {
    expect(converted({ tags: [{ key: 'span.kind', value }] })).toMatchObject({ kind, attributes: [] });
  });

  test('another text stays a tag', () => {
    expect(converted({ tags: [{ key: 'span.kind', value: 'odd' }] })).toMatchObject({
      kind: 0,
      attributes: [{ key: 'span.kind' }],
    });
  });
});

describe('status', () => {
  test.each<[string, TestTag[], { code: number; message: string }, object]>([
    ['none', [], { code: 0, message: '' }, {}],
    ['error', [{ key: 'error', value: true }], { code: 2, message: '' }, {}],
    ['error as text', [{ key: 'error', value: 'true' }], { code: 2, message: '' }, {}],
    ['no error', [{ key: 'error', value: false }], { code: 0, message: '' }, { error: false }],
    ['OK', [{ key: 'otel.status_code', value: 'OK' }], { code: 1, message: '' }, {}],
    [
      'error wins',
      [
        { key: 'otel.status_code', value: 'OK' },
        { key: 'error', value: true },
      ],
      { code: 2, message: '' },
      {},
    ],
    [
      'code and description',
      [
        { key: 'otel.status_code', value: 'ERROR' },
        { key: 'otel.status_description', value: 'd' },
      ],
      { code: 2, message: 'd' },
      {},
    ],
    ['an unknown code', [{ key: 'otel.status_code', value: 'MAYBE' }], { code: 0, message: '' }, {}],
    ['HTTP 500', [{ key: 'http.status_code', value: 500n }], { code: 2, message: '' }, { 'http.status_code': 500 }],
    [
      'HTTP 404 of a server',
      [
        { key: 'http.status_code', value: 404n },
        { key: 'span.kind', value: 'server' },
      ],
      { code: 0, message: '' },
      { 'http.status_code': 404 },
    ],
    [
      'HTTP 404 of a client',
      [
        { key: 'http.status_code', value: '404' },
        { key: 'span.kind', value: 'client' },
        { key: 'http.status_message', value: 'gone' },
      ],
      { code: 2, message: 'gone' },
      { 'http.status_code': '404', 'http.status_message': 'gone' },
    ],
    [
      'an HTTP code that is none',
      [{ key: 'http.status_code', value: 'x' }],
      { code: 0, message: '' },
      { 'http.status_code': 'x' },
    ],
  ])('%s', (_, tags, status, left) => {
    const span = converted({ tags });
    expect(span.status).toEqual(status);
    expect({ ...plainRecord(span.attributes) }).toEqual(left);
  });
});

describe('references', () => {
  const same = { traceIdLow: SPAN.traceIdLow, traceIdHigh: SPAN.traceIdHigh };
  const elsewhere = { traceIdLow: 1n, traceIdHigh: 0n };

  test('CHILD_OF into the same trace is the parent, and no link', () => {
    const span = converted({
      references: [
        { refType: 1, ...same, spanId: 1n },
        { refType: 0, ...elsewhere, spanId: 2n },
        { refType: 0, ...same, spanId: 3n },
        { refType: 0, ...same, spanId: 4n },
      ],
    });
    expect(span.parentSpanId).toBe('0000000000000003');
    expect(span.links.map((link) => [link.spanId, findValue(link.attributes, 'opentracing.ref_type')?.value])).toEqual([
      ['0000000000000001', 'follows_from'],
      ['0000000000000002', 'child_of'],
      ['0000000000000004', 'child_of'],
    ]);
  });

  test('else FOLLOWS_FROM, which is a link too', () => {
    const span = converted({ references: [{ refType: 1, ...same, spanId: 5n }] });
    expect([span.parentSpanId, span.links.length]).toEqual(['0000000000000005', 1]);
  });

  test('into other traces they make no parent', () => {
    const span = converted({ references: [{ refType: 0, ...elsewhere, spanId: 5n }] });
    expect([span.parentSpanId, span.links.length]).toEqual([null, 1]);
  });
});

describe('times', () => {
  test('a negative duration ends before it starts, but not before the epoch', () => {
    expect(converted({ duration: -1n }).endUnixNano).toBe(1_700_000_000_000_000_000n);
    const early = converted({ startTime: 5n, duration: -6n });
    expect([early.startUnixNano, early.endUnixNano]).toEqual([5000n, 5000n]);
  });

  test('the last microsecond that 64 bits of nanoseconds can hold', () => {
    expect(converted({ startTime: 18_446_744_073_709_551n, duration: 0n }).startUnixNano).toBe(
      18_446_744_073_709_551_000n,
    );
  });
});

test('64-bit trace ids are padded, debug without sampled has no W3C flag, scopes change from span to span', () => {
  expect(converted({ traceIdHigh: 0n }).traceId).toBe('00000000000000008448eb211c80319c');
  expect(converted({ flags: 2 }).flags).toBe(0);
  expect(converted({ flags: 3 }).flags).toBe(1);
  const scoped = (value: string) => ({ tags: [{ key: 'otel.library.name', value }] });
  const { tracesData } = readJaegerThrift(thriftBatch('compact', batchOf(scoped('a'), scoped('a'), {}, scoped('a'))));
  expect(readSpanViews(tracesData).map(({ scope }) => scope.name)).toEqual(['a', 'a', '', 'a']);
});

test('of a repeated tag the last value holds', () => {
  expect(
    converted({
      tags: [
        { key: 'a', value: '1' },
        { key: 'b', value: '2' },
        { key: 'a', value: 3n },
      ],
    }).attributes,
  ).toEqual([
    { key: 'a', value: { type: 'int', value: 3 } },
    { key: 'b', value: { type: 'string', value: '2' } },
  ]);
});
