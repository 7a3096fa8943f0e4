import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { JSON_CONTAINERS_MAX } from './conversion.js';
import { readOtlpJson } from './otlp-json-decode.js';
import { encodeOtlpJson } from './otlp-json-encode.js';
import {
  hostileBytes,
  meridianErrorOf,
  officialDecode,
  officialEncode,
  officialSpans,
  tracesDataArbitrary,
} from './testing/official-otlp.js';
import { sdkSpans } from './testing/sdk-spans.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';
const SPAN = { traceId: TRACE_ID, spanId: SPAN_ID, name: 'op', startTimeUnixNano: '1', endTimeUnixNano: '2' };

function request(...spans: unknown[]): Buffer {
  return Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
}

function rejection(span: unknown) {
  const { rejected, spanCount } = readOtlpJson(request(SPAN, span, SPAN));
  expect(spanCount).toBe(2);
  expect(rejected).toHaveLength(1);
  expect(rejected[0]!.index).toBe(1);
  return rejected[0]!;
}

describe('what can not be a span is left out and named', () => {
  test.each<[string, unknown, string]>([
    ['no object', 5, 'malformed'],
    ['no trace id', { ...SPAN, traceId: undefined }, 'invalid'],
    ['a short trace id', { ...SPAN, traceId: 'abcd' }, 'invalid'],
    ['a zero trace id', { ...SPAN, traceId: '0'.repeat(32) }, 'invalid'],
    ['a trace id that is not hexadecimal', { ...SPAN, traceId: 'x'.repeat(32) }, 'malformed'],
    ['an odd number of characters', { ...SPAN, spanId: 'abc' }, 'malformed'],
    ['a zero span id', { ...SPAN, spanId: '0'.repeat(16) }, 'invalid'],
    ['a long span id', { ...SPAN, spanId: 'a'.repeat(18) }, 'invalid'],
    ['a short parent', { ...SPAN, parentSpanId: 'abcd' }, 'invalid'],
    ['a name of another type', { ...SPAN, name: 5 }, 'malformed'],
    ['an unknown kind', { ...SPAN, kind: 'SPAN_KIND_NONE' }, 'malformed'],
    ['a kind beyond 32 bits', { ...SPAN, kind: 2 ** 31 }, 'invalid'],
    ['a negative time', { ...SPAN, startTimeUnixNano: '-1' }, 'invalid'],
    ['a time beyond 64 bits', { ...SPAN, startTimeUnixNano: '18446744073709551616' }, 'invalid'],
    ['a very long number', { ...SPAN, startTimeUnixNano: '9'.repeat(100_000) }, 'malformed'],
    ['a fraction of a nanosecond', { ...SPAN, endTimeUnixNano: 1.5 }, 'malformed'],
    ['a count beyond 32 bits', { ...SPAN, droppedLinksCount: 2 ** 32 }, 'invalid'],
    ['attributes that are no array', { ...SPAN, attributes: {} }, 'malformed'],
    ['an attribute that is no object', { ...SPAN, attributes: [5] }, 'malformed'],
    ['a value that is no object', { ...SPAN, attributes: [{ key: 'k', value: 'v' }] }, 'malformed'],
    [
      'an int64 out of range',
      { ...SPAN, attributes: [{ key: 'k', value: { intValue: '9223372036854775808' } }] },
      'invalid',
    ],
    ['a boolean in quotes', { ...SPAN, attributes: [{ key: 'k', value: { boolValue: 'true' } }] }, 'malformed'],
    ['bad base64', { ...SPAN, attributes: [{ key: 'k', value: { bytesValue: '*' } }] }, 'malformed'],
    ['an event that is no object', { ...SPAN, events: [null] }, 'malformed'],
    ['a link with a bad id', { ...SPAN, links: [{ traceId: 'zz' }] }, 'malformed'],
    ['a status of another type', { ...SPAN, status: 'STATUS_CODE_OK' }, 'malformed'],
  ])('%s', (_, span, code) => {
    expect(rejection(span).code).toBe(code);
  });

  test('a value nested one deeper than the limit', () => {
    const nested = (levels: number): object =>
      levels === 0 ? { stringValue: 'x' } : { arrayValue: { values: [nested(levels - 1)] } };
    const span = (levels: number) => ({ ...SPAN, attributes: [{ key: 'k', value: nested(levels) }] });
    expect(readOtlpJson(request(span(LIMITS.valueDepthMax))).spanCount).toBe(1);
    expect(rejection(span(LIMITS.valueDepthMax + 1)).code).toBe('invalid');
    const lists = (levels: number): object =>
      levels === 0 ? {} : { kvlistValue: { values: [{ key: 'k', value: lists(levels - 1) }] } };
    expect(rejection({ ...SPAN, attributes: [{ key: 'k', value: lists(LIMITS.valueDepthMax + 1) }] }).code).toBe(
      'invalid',
    );
  });

  test('the others are kept in their order, and none is left half written', () => {
    const named = (name: string) => ({ ...SPAN, name });
    const bad = { ...named('bad'), attributes: [{ key: 'k', value: { stringValue: 'x'.repeat(500) } }, 5] };
    const { tracesData, rejected, spanCount } = readOtlpJson(request(bad, named('a'), bad, bad, named('b'), bad));
    expect(officialSpans(tracesData).map(({ name }) => name)).toEqual(['a', 'b']);
    expect([spanCount, rejected.map(({ index }) => index)]).toEqual([2, [0, 2, 3, 5]]);
  });

  test('where none is left there are no bytes', () => {
    expect(readOtlpJson(request(5)).tracesData).toHaveLength(0);
    expect(readOtlpJson(Buffer.from('{}'))).toMatchObject({ spanCount: 0, rejected: [] });
  });
});

describe('what can not be a request is refused', () => {
  test.each<[string, string, string]>([
    ['nothing', '', 'malformed'],
    ['no JSON', '{"resourceSpans":', 'malformed'],
    ['an array', '[]', 'malformed'],
    ['null', 'null', 'malformed'],
    ['resourceSpans of another type', '{"resourceSpans":{}}', 'malformed'],
    ['a resourceSpans that is no object', '{"resourceSpans":[1]}', 'malformed'],
    ['a bad resource', '{"resourceSpans":[{"resource":5}]}', 'malformed'],
    ['a bad scope', '{"resourceSpans":[{"scopeSpans":[{"scope":[]}]}]}', 'malformed'],
  ])('%s', (_, body, code) => {
    const error = meridianErrorOf(() => readOtlpJson(Buffer.from(body)));
    expect([error?.code, error?.retry]).toEqual([code, 'never']);
  });

  test('text that is not UTF-8', () => {
    expect(meridianErrorOf(() => readOtlpJson(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])))?.code).toBe(
      'malformed',
    );
  });

  test('one span more than a request may have', () => {
    const span = JSON.stringify({ traceId: TRACE_ID, spanId: SPAN_ID });
    const body = (count: number) =>
      Buffer.from(
        `{"resourceSpans":[{"scopeSpans":[{"spans":[${Array.from({ length: count }, () => span).join(',')}]}]}]}`,
      );
    expect(readOtlpJson(body(LIMITS.spansPerRequestMax)).spanCount).toBe(LIMITS.spansPerRequestMax);
    expect(meridianErrorOf(() => readOtlpJson(body(LIMITS.spansPerRequestMax + 1)))?.code).toBe('too-large');
  });

  test('a body larger than requests may inflate to, and one of nothing but brackets', () => {
    expect(meridianErrorOf(() => readOtlpJson(Buffer.alloc(LIMITS.requestInflatedBytesMax + 1, ' ')))?.code).toBe(
      'too-large',
    );
    const brackets = Buffer.alloc(JSON_CONTAINERS_MAX + 1, '[');
    expect(meridianErrorOf(() => readOtlpJson(brackets))?.code).toBe('too-large');
    expect(meridianErrorOf(() => readOtlpJson(brackets.subarray(1)))?.code).toBe('malformed');
  });

  test('hostile bodies throw nothing but the typed error', () => {
    const valid = [
      Buffer.from(JsonTraceSerializer.serializeRequest(sdkSpans())!),
      ...fc
        .sample(tracesDataArbitrary, { numRuns: 10, seed: 3 })
        .map((data) => Buffer.from([...encodeOtlpJson([officialEncode(data)])].join(''))),
    ];
    fc.assert(
      fc.property(hostileBytes(valid), (body) => {
        const error = meridianErrorOf(() => officialDecode(readOtlpJson(body).tracesData));
        if (error !== null) expect(['malformed', 'invalid']).toContain(error.code);
      }),
      { numRuns: 1500 },
    );
  });

  test('JSON of any shape throws nothing but the typed error', () => {
    const anything = fc.jsonValue({ maxDepth: 3 });
    const shaped = fc.record(
      {
        traceId: fc.oneof(anything, fc.constant(TRACE_ID)),
        spanId: fc.oneof(anything, fc.constant(SPAN_ID)),
        kind: anything,
        attributes: fc.oneof(
          anything,
          fc.array(fc.record({ key: anything, value: fc.oneof(anything, fc.record({ intValue: anything })) })),
        ),
        events: anything,
        links: anything,
        status: anything,
        startTimeUnixNano: anything,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.array(shaped, { maxLength: 4 }), (spans) => {
        const { tracesData, rejected, spanCount } = readOtlpJson(request(...spans));
        expect(spanCount + rejected.length).toBe(spans.length);
        expect(officialSpans(tracesData)).toHaveLength(spanCount);
      }),
      { numRuns: 1000 },
    );
  });
});
