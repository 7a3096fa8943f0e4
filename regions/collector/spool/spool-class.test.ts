import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtoWriter } from '../../../global/otlp/proto-writer.js';
import { readSpanViews, type SpanView } from '../../../global/otlp/span-view.js';
import { encodeTracesData, type SpanFields } from '../../../global/otlp/testing/test-spans.js';
import {
  isHealthCheckName,
  NOTABLE,
  PLAIN_PREFIXES,
  ROUTINE,
  type SpoolClass,
  splitByClass,
  VITAL,
} from './spool-class.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const PARENT = '00f067aa0ba902b7';
const INTERNAL = 1;
const SERVER = 2;

const recordOf = (...spans: Partial<SpanFields>[]) =>
  encodeTracesData([
    {
      resource: { 'service.name': 'shop' },
      spans: spans.map((span) => ({ traceId: TRACE, spanId: SPAN, parentSpanId: PARENT, ...span })),
    },
  ]);
const classesOf = (record: Buffer) => splitByClass(record).map((piece) => piece.class);

describe('the class of a piece', () => {
  test.each<[string, Partial<SpanFields>[], SpoolClass]>([
    ['a plain internal span', [{ kind: INTERNAL, name: 'parse' }], ROUTINE],
    ['no kind at all', [{ name: 'parse' }], ROUTINE],
    [
      'what instrumentation writes everywhere',
      [{ attributes: { 'code.function': 'f', 'express.type': 'x' } }],
      ROUTINE,
    ],
    ['an attribute of its own', [{ attributes: { 'order.id': '42' } }], NOTABLE],
    ['a call to somebody else', [{ kind: 3, name: 'GET' }], NOTABLE],
    ['a root', [{ parentSpanId: undefined }], VITAL],
    ['an error', [{ statusCode: 2 }], VITAL],
    ['an error by its type only', [{ attributes: { 'error.type': 'timeout' } }], VITAL],
    ['an exception', [{ attributes: { 'exception.message': 'x' } }], VITAL],
    [
      'a health check by name, though a root',
      [{ parentSpanId: undefined, kind: SERVER, name: 'GET /healthz' }],
      ROUTINE,
    ],
    [
      'a health check by path',
      [{ parentSpanId: undefined, kind: SERVER, name: 'GET', attributes: { 'url.path': '/api/ready' } }],
      ROUTINE,
    ],
    [
      'a health check over gRPC',
      [
        {
          parentSpanId: undefined,
          kind: SERVER,
          name: 'grpc.health.v1.Health/Check',
          attributes: { 'rpc.system': 'grpc' },
        },
      ],
      ROUTINE,
    ],
    ['a health check that failed', [{ parentSpanId: undefined, name: 'GET /healthz', statusCode: 2 }], VITAL],
    [
      'what a health check does',
      [
        { parentSpanId: undefined, kind: SERVER, name: 'GET /healthz' },
        { kind: 3, name: 'SELECT 1' },
      ],
      ROUTINE,
    ],
    [
      'a health check inside of another trace',
      [
        { parentSpanId: undefined, kind: SERVER, name: 'POST /orders' },
        { kind: 3, name: 'GET /health' },
      ],
      VITAL,
    ],
    ['the highest span counts', [{ name: 'a' }, { kind: 3 }, { name: 'b', statusCode: 2 }], VITAL],
  ])('%s', (_, spans, wanted) => {
    expect(classesOf(recordOf(...spans))).toEqual([wanted]);
  });

  test('an event or a link makes a span notable', () => {
    const withField = (field: number) => {
      const out = new ProtoWriter();
      const [resourceSpans, scopeSpans, span] = [out.begin(1), out.begin(2), out.begin(2)];
      out.bytesField(1, Buffer.from(TRACE, 'hex'));
      out.bytesField(2, Buffer.from(SPAN, 'hex'));
      out.bytesField(4, Buffer.from(PARENT, 'hex'));
      out.end(out.begin(field));
      for (const begun of [span, scopeSpans, resourceSpans]) out.end(begun);
      return Buffer.from(out.finish());
    };
    expect(classesOf(withField(11))).toEqual([NOTABLE]);
    expect(classesOf(withField(13))).toEqual([NOTABLE]);
    expect(classesOf(withField(10))).toEqual([ROUTINE]);
  });

  test.each([
    ['GET /healthz', true],
    ['HEAD /actuator/health/', true],
    ['/live?full=1', true],
    ['readyz', true],
    ['GET /healthzz', false],
    ['live', false],
    ['GET', false],
    ['/health/records', false],
    ['', false],
  ])('%s: %s', (name, isOne) => {
    expect(isHealthCheckName(name)).toBe(isOne);
  });
});

/** The rule once more, on decoded spans. */
function wantedClass(spans: readonly SpanView[]): SpoolClass {
  const isError = (span: SpanView) =>
    span.status.code === 2 || span.attributes.some(({ key }) => key === 'error.type' || key.startsWith('exception.'));
  const paths = ['http.route', 'url.path', 'http.target', 'rpc.service'];
  const isHealth = (span: SpanView) =>
    isHealthCheckName(span.name) ||
    span.attributes.some(
      ({ key, value }) => paths.includes(key) && value.type === 'string' && isHealthCheckName(value.value),
    );
  if (spans.some(isError)) return VITAL;
  if (spans.some((span) => span.parentSpanId === null && !isHealth(span))) return VITAL;
  if (spans.some((span) => span.parentSpanId === null)) return ROUTINE;
  const isNotable = (span: SpanView) =>
    span.kind > 1 || span.attributes.some(({ key }) => !PLAIN_PREFIXES.some((prefix) => key.startsWith(prefix)));
  return spans.some((span) => !isHealth(span) && isNotable(span)) ? NOTABLE : ROUTINE;
}

const span = fc.record({
  traceId: fc.constantFrom(TRACE, `1${TRACE.slice(1)}`, `2${TRACE.slice(1)}`, `3${TRACE.slice(1)}`),
  spanId: fc.integer({ min: 1, max: 0xffff }).map((n) => n.toString(16).padStart(16, '0')),
  parentSpanId: fc.option(fc.constant(PARENT), { nil: undefined, freq: 6 }),
  name: fc.constantFrom('work', 'GET /healthz', 'POST /orders', ''),
  kind: fc.integer({ min: 0, max: 5 }),
  statusCode: fc.constantFrom(0, 0, 0, 1, 2),
  attributes: fc.dictionary(
    fc.constantFrom('code.line', 'http.route', 'order.id', 'url.path', 'thread.id'),
    fc.oneof(fc.constantFrom('/live', '/orders', 'x'.repeat(150), ''), fc.boolean(), fc.integer()),
    { maxKeys: 2 },
  ),
});
const record = fc.array(
  fc.record({
    resource: fc.constantFrom({ 'service.name': 'a' }, { 'service.name': 'b' }, null),
    spans: fc.array(span, { maxLength: 6 }),
  }),
  { maxLength: 4 },
);

const keyOf = (view: SpanView) =>
  JSON.stringify(
    [view.traceId, view.spanId, view.name, view.service, view.kind, view.status.code, view.attributes],
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
  );

describe('splitting a record by class', () => {
  test('loses and adds no span, keeps each trace whole and in order, and puts it where the rule says', () => {
    fc.assert(
      fc.property(record, (parts) => {
        const bytes = encodeTracesData(parts);
        const before = readSpanViews(bytes);
        const pieces = splitByClass(bytes);
        const after = pieces.map((piece) => ({ class: piece.class, views: readSpanViews(piece.bytes) }));
        expect(pieces.map((piece) => piece.class)).toEqual([...pieces.map((piece) => piece.class)].sort());
        expect(pieces.map((piece) => piece.spanCount)).toEqual(after.map(({ views }) => views.length));
        for (const traceId of new Set(before.map((view) => view.traceId))) {
          const own = before.filter((view) => view.traceId === traceId);
          const found = after.filter(({ views }) => views.some((view) => view.traceId === traceId));
          expect(found.map((piece) => piece.class)).toEqual([wantedClass(own)]);
          expect(found[0]!.views.filter((view) => view.traceId === traceId).map(keyOf)).toEqual(own.map(keyOf));
        }
        expect(after.reduce((sum, { views }) => sum + views.length, 0)).toBe(before.length);
      }),
      { numRuns: 300 },
    );
  });

  test('a record of one class is not copied', () => {
    const bytes = recordOf({ statusCode: 2 }, { name: 'beside it' });
    expect(splitByClass(bytes)[0]!.bytes).toBe(bytes);
  });

  test('bytes that are no OTLP are malformed, and nothing else', () => {
    const good = recordOf({ statusCode: 2 }, { kind: 3, attributes: { 'url.path': '/x' } });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of changes) bytes[at] = value;
          try {
            splitByClass(bytes);
          } catch (error) {
            expect(error).toMatchObject({ code: 'malformed' });
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
