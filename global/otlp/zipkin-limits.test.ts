import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { readSpanViews } from './span-view.js';
import { hostileBytes, meridianErrorOf, officialSpans } from './testing/official-otlp.js';
import { readZipkinJson } from './zipkin.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN = { traceId: TRACE_ID, id: 'b7ad6b7169203331', timestamp: 1_700_000_000_000_001, duration: 5 };

/** The example of Zipkin's own API definition (zipkin2-api.yaml), with what it leaves out. */
const RECORDED = Buffer.from(
  `[{"id":"352bff9a74ca9ad2","traceId":"5af7183fb1d4cf5f","parentId":"6b221d5bc9e6496c","name":"get /api","timestamp":1556604172355737,
    "duration":1431,"kind":"SERVER","localEndpoint":{"serviceName":"backend","ipv4":"192.168.99.1","port":3306},
    "remoteEndpoint":{"serviceName":"frontend","ipv6":"2001:db8::c001","port":58648},
    "tags":{"http.method":"GET","http.path":"/api"},"annotations":[{"timestamp":1556604172355800,"value":"ws"}],"shared":true,"debug":true}]`,
);

function body(...spans: unknown[]): Buffer {
  return Buffer.from(JSON.stringify(spans));
}

describe('what can not be a span is left out and named', () => {
  test.each<[string, unknown, string]>([
    ['no object', null, 'malformed'],
    ['no trace id', { id: '1' }, 'invalid'],
    ['a zero trace id', { ...SPAN, traceId: '00' }, 'invalid'],
    ['a trace id that is too long', { ...SPAN, traceId: 'a'.repeat(33) }, 'malformed'],
    ['no id', { traceId: '1' }, 'invalid'],
    ['an id that is a number', { ...SPAN, id: 5 }, 'malformed'],
    ['an unknown kind', { ...SPAN, kind: 'OTHER' }, 'invalid'],
    ['a negative duration', { ...SPAN, duration: -1 }, 'invalid'],
    ['a timestamp beyond 2^53', { ...SPAN, timestamp: 2 ** 53 }, 'invalid'],
    ['a timestamp that is none', { ...SPAN, timestamp: 'yesterday' }, 'malformed'],
    ['tags that are no object', { ...SPAN, tags: [] }, 'malformed'],
    ['a tag that is an object', { ...SPAN, tags: { a: {} } }, 'malformed'],
    ['an endpoint that is none', { ...SPAN, localEndpoint: 'a' }, 'malformed'],
    ['annotations that are no array', { ...SPAN, annotations: {} }, 'malformed'],
    [
      'an event nested too deeply',
      { ...SPAN, annotations: [{ value: `e|{"a":${'['.repeat(17)}${']'.repeat(17)}}|0` }] },
      'invalid',
    ],
  ])('%s', (_, span, code) => {
    const { tracesData, rejected, spanCount } = readZipkinJson(body(SPAN, span, { ...SPAN, name: 'last' }));
    expect([spanCount, rejected.map((one) => [one.index, one.code])]).toEqual([2, [[1, code]]]);
    expect(officialSpans(tracesData).map(({ name }) => name)).toEqual(['', 'last']);
  });
});

describe('what can not be a request is refused', () => {
  test.each(['', '{}', 'null', '[', '"x"'])('%j', (text) => {
    expect(meridianErrorOf(() => readZipkinJson(Buffer.from(text)))?.code).toBe('malformed');
  });

  test('one span more than a request may have', () => {
    const spans = (count: number) =>
      Buffer.from(`[${Array.from({ length: count }, () => '{"traceId":"1","id":"1"}').join(',')}]`);
    expect(readZipkinJson(spans(LIMITS.spansPerRequestMax)).spanCount).toBe(LIMITS.spansPerRequestMax);
    expect(meridianErrorOf(() => readZipkinJson(spans(LIMITS.spansPerRequestMax + 1)))?.code).toBe('too-large');
  });

  test('an empty array is no spans', () => {
    expect(readZipkinJson(Buffer.from('[]'))).toEqual({ tracesData: Buffer.alloc(0), rejected: [], spanCount: 0 });
  });

  test('hostile bodies throw nothing but the typed error', () => {
    const link = `${TRACE_ID}|b7ad6b7169203331||{"a":1}|0`;
    const valid = [
      RECORDED,
      body({
        ...SPAN,
        tags: { 'otlp.link.0': link, error: 'x' },
        annotations: [{ timestamp: 1, value: 'e|{"a":1}|0' }],
      }),
    ];
    fc.assert(
      fc.property(hostileBytes(valid), (bytes) => {
        const error = meridianErrorOf(() => readSpanViews(readZipkinJson(bytes).tracesData));
        if (error !== null) expect(error.code).toBe('malformed');
      }),
      { numRuns: 1500 },
    );
  });

  test('JSON of any shape throws nothing but the typed error', () => {
    const anything = fc.jsonValue({ maxDepth: 2 });
    const span = fc.record(
      {
        traceId: fc.constant(TRACE_ID),
        id: fc.constant('1'),
        name: anything,
        kind: anything,
        timestamp: anything,
        duration: anything,
        tags: fc.oneof(
          anything,
          fc.dictionary(fc.constantFrom('error', 'otlp.link.0', 'host.name', '__proto__', 'x'), anything),
        ),
        annotations: fc.oneof(anything, fc.array(fc.record({ timestamp: anything, value: anything }))),
        localEndpoint: anything,
        remoteEndpoint: anything,
      },
      { requiredKeys: ['traceId', 'id'] },
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(span, anything), { maxLength: 3 }), (spans) => {
        const { tracesData, rejected, spanCount } = readZipkinJson(body(...spans));
        expect(spanCount + rejected.length).toBe(spans.length);
        expect(readSpanViews(tracesData)).toHaveLength(spanCount);
      }),
      { numRuns: 1000 },
    );
  });
});
