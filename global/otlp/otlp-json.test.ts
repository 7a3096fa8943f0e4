import { JsonTraceSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { JSON_CONTAINERS_MAX } from './conversion.js';
import {
  hexOf,
  hostileBytes,
  meridianErrorOf,
  normalized,
  officialDecode,
  officialEncode,
  officialSpans,
  tracesDataArbitrary,
} from './official-otlp-for-tests.js';
import { readOtlpJson } from './otlp-json-decode.js';
import { encodeOtlpJson, JSON_CHUNK_CHARACTERS } from './otlp-json-encode.js';
import { quoteLongIntegers } from './otlp-json-fields.js';
import { sdkSpans } from './sdk-spans-for-tests.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';
const SPAN = { traceId: TRACE_ID, spanId: SPAN_ID, name: 'op', startTimeUnixNano: '1', endTimeUnixNano: '2' };

function request(...spans: unknown[]): Buffer {
  return Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
}

/** The one span of a request, as the official decoder reads what was made of it. */
function converted(span: object) {
  const { tracesData, rejected } = readOtlpJson(request({ ...SPAN, ...span }));
  expect(rejected).toEqual([]);
  return officialSpans(tracesData)[0]!;
}

function rejection(span: unknown) {
  const { rejected, spanCount } = readOtlpJson(request(SPAN, span, SPAN));
  expect(spanCount).toBe(2);
  expect(rejected).toHaveLength(1);
  expect(rejected[0]!.index).toBe(1);
  return rejected[0]!;
}

function attributeValue(value: object) {
  return converted({ attributes: [{ key: 'k', value }] }).attributes[0]!.value;
}

describe('round trip', () => {
  test('bytes to JSON to bytes keeps every field', () => {
    fc.assert(
      fc.property(tracesDataArbitrary, (data) => {
        const bytes = officialEncode({ resourceSpans: data.resourceSpans });
        const json = [...encodeOtlpJson([bytes])].join('');
        const { tracesData, rejected } = readOtlpJson(Buffer.from(json));
        expect(rejected).toEqual([]);
        expect(normalized(officialDecode(tracesData))).toEqual(normalized(officialDecode(bytes)));
      }),
      { numRuns: 300 },
    );
  });

  test('several parts become one document, also where some are empty', () => {
    fc.assert(
      fc.property(fc.array(tracesDataArbitrary, { maxLength: 3 }), (parts) => {
        const encoded = parts.map((part) => officialEncode(part));
        const json = [...encodeOtlpJson([Buffer.alloc(0), ...encoded])].join('');
        const { tracesData } = readOtlpJson(Buffer.from(json));
        expect(normalized(officialDecode(tracesData))).toEqual(normalized(officialDecode(Buffer.concat(encoded))));
      }),
      { numRuns: 50 },
    );
  });

  test('nothing is an empty document', () => {
    expect([...encodeOtlpJson([])].join('')).toBe('{"resourceSpans":[]}');
  });
});

describe('the official exporter', () => {
  test('its JSON means what its protobuf means', () => {
    const spans = sdkSpans();
    expect(spans).toHaveLength(5);
    const { tracesData, rejected, spanCount } = readOtlpJson(Buffer.from(JsonTraceSerializer.serializeRequest(spans)!));
    expect([rejected, spanCount]).toEqual([[], 5]);
    const protobuf = Buffer.from(ProtobufTraceSerializer.serializeRequest(spans)!);
    expect(normalized(officialDecode(tracesData))).toEqual(normalized(officialDecode(protobuf)));
    const server = officialSpans(tracesData).find(({ kind }) => kind === 2)!;
    expect(server).toMatchObject({ droppedAttributesCount: 1, droppedEventsCount: 1, traceState: 'vendor=value,other=1', flags: 0x301 });
    expect(server.attributes).toHaveLength(12);
  });

  test('its protobuf written as JSON is what its JSON says', () => {
    const spans = sdkSpans();
    const protobuf = Buffer.from(ProtobufTraceSerializer.serializeRequest(spans)!);
    const ours: unknown = JSON.parse([...encodeOtlpJson([protobuf])].join(''));
    const again = officialDecode(readOtlpJson(Buffer.from(JSON.stringify(ours))).tracesData);
    expect(normalized(again)).toEqual(normalized(officialDecode(protobuf)));
  });
});

describe('encoding', () => {
  const golden = officialEncode({
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'a"b' } }] },
        schemaUrl: 'r',
        scopeSpans: [
          {
            scope: { name: 's', version: '1' },
            spans: [
              {
                traceId: Buffer.from(TRACE_ID, 'hex'),
                spanId: Buffer.from(SPAN_ID, 'hex'),
                name: 'op',
                kind: 2,
                startTimeUnixNano: '18446744073709551615',
                flags: 257,
                attributes: [
                  { key: 'i', value: { intValue: '-9223372036854775808' } },
                  { key: 'd', value: { doubleValue: -0 } },
                  { key: 'n', value: { doubleValue: Number.NEGATIVE_INFINITY } },
                  { key: 'b', value: { bytesValue: Buffer.from([255, 0]) } },
                  { key: 'l', value: { arrayValue: { values: [{ boolValue: false }, {}] } } },
                  { key: 'm', value: { kvlistValue: { values: [{ key: 'x', value: { stringValue: '' } }] } } },
                ],
                status: { code: 2, message: 'no' },
              },
            ],
          },
        ],
      },
    ],
  });

  test('has the form of the specification', () => {
    expect([...encodeOtlpJson([golden])].join('')).toBe(
      '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a\\"b"}}]},"schemaUrl":"r",' +
        '"scopeSpans":[{"scope":{"name":"s","version":"1"},"spans":[' +
        '{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","flags":257,"name":"op","kind":2,' +
        '"startTimeUnixNano":"18446744073709551615","endTimeUnixNano":"0","attributes":[' +
        '{"key":"i","value":{"intValue":"-9223372036854775808"}},{"key":"d","value":{"doubleValue":-0}},' +
        '{"key":"n","value":{"doubleValue":"-Infinity"}},{"key":"b","value":{"bytesValue":"/wA="}},' +
        '{"key":"l","value":{"arrayValue":{"values":[{"boolValue":false},{}]}}},' +
        '{"key":"m","value":{"kvlistValue":{"values":[{"key":"x","value":{"stringValue":""}}]}}}],' +
        '"status":{"message":"no","code":2}}]}]}]}',
    );
  });

  test('comes in chunks, made as they are asked for', () => {
    const part = officialEncode({
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: Array.from({ length: 100 }, () => ({
                traceId: Buffer.alloc(16, 1),
                spanId: Buffer.alloc(8, 1),
                name: 'x'.repeat(4000),
              })),
            },
          ],
        },
      ],
    });
    const chunks = [...encodeOtlpJson([part, part])];
    expect(chunks.length).toBeGreaterThan(10);
    for (const chunk of chunks) expect(chunk.length).toBeLessThan(JSON_CHUNK_CHARACTERS + 5000);
    expect(officialSpans(readOtlpJson(Buffer.from(chunks.join(''))).tracesData)).toHaveLength(200);
    const half = encodeOtlpJson([part, Buffer.from('garbage')]);
    expect(half.next().done).toBe(false);
    expect(meridianErrorOf(() => [...half])?.code).toBe('malformed');
  });
});

describe('decoding is as tolerant as protobuf JSON', () => {
  test('snake case', () => {
    const { tracesData } = readOtlpJson(
      Buffer.from(
        JSON.stringify({
          resource_spans: [
            {
              schema_url: 'r',
              resource: { dropped_attributes_count: 3, entity_refs: [{ schema_url: 'e', id_keys: ['a'], description_keys: ['b'] }] },
              scope_spans: [
                {
                  schema_url: 's',
                  spans: [
                    {
                      trace_id: TRACE_ID.toUpperCase(),
                      span_id: SPAN_ID,
                      parent_span_id: '00f067aa0ba902b7',
                      trace_state: 'a=b',
                      start_time_unix_nano: '5',
                      end_time_unix_nano: '6',
                      dropped_attributes_count: 1,
                      dropped_events_count: 2,
                      dropped_links_count: 3,
                      attributes: [
                        { key: 's', value: { string_value: 's' } },
                        { key: 'b', value: { bool_value: true } },
                        { key: 'i', value: { int_value: '1' } },
                        { key: 'd', value: { double_value: 1 } },
                        { key: 'a', value: { array_value: { values: [{ bytes_value: 'AQ' }] } } },
                        { key: 'k', value: { kvlist_value: { values: [] } } },
                      ],
                      events: [{ time_unix_nano: 7, dropped_attributes_count: 4 }],
                      links: [{ trace_id: TRACE_ID, span_id: SPAN_ID, trace_state: 'c=d', dropped_attributes_count: 5, flags: 1 }],
                    },
                  ],
                },
              ],
            },
          ],
        }),
      ),
    );
    const { resource, scopeSpans, schemaUrl } = officialDecode(tracesData).resourceSpans[0]!;
    expect(schemaUrl).toBe('r');
    expect(resource).toMatchObject({ droppedAttributesCount: 3, entityRefs: [{ schemaUrl: 'e', idKeys: ['a'], descriptionKeys: ['b'] }] });
    expect(scopeSpans[0]!.schemaUrl).toBe('s');
    const span = scopeSpans[0]!.spans[0]!;
    expect(span).toMatchObject({
      traceState: 'a=b',
      startTimeUnixNano: '5',
      endTimeUnixNano: '6',
      droppedAttributesCount: 1,
      droppedEventsCount: 2,
      droppedLinksCount: 3,
      events: [{ timeUnixNano: '7', droppedAttributesCount: 4 }],
      links: [{ traceState: 'c=d', droppedAttributesCount: 5, flags: 1 }],
    });
    expect([hexOf(span.traceId), hexOf(span.parentSpanId)]).toEqual([TRACE_ID, '00f067aa0ba902b7']);
    expect(span.attributes.map(({ value }) => value!.value)).toEqual([
      'stringValue',
      'boolValue',
      'intValue',
      'doubleValue',
      'arrayValue',
      'kvlistValue',
    ]);
  });

  test('64-bit integers as strings and as numbers, exact in both', () => {
    const raw = (value: string) =>
      officialSpans(
        readOtlpJson(
          Buffer.from(
            `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${TRACE_ID}","spanId":"${SPAN_ID}",` +
              `"startTimeUnixNano":1700000000000000001,"attributes":[{"key":"k","value":{"intValue":${value}}}]}]}]}]}`,
          ),
        ).tracesData,
      )[0]!;
    for (const value of ['9223372036854775807', '-9223372036854775808', '9007199254740993', '0', '-1']) {
      expect(raw(value).attributes[0]!.value!.intValue).toBe(value);
      expect(raw(`"${value}"`).attributes[0]!.value!.intValue).toBe(value);
      expect(raw(value).startTimeUnixNano).toBe('1700000000000000001');
    }
    expect(raw('1e3').attributes[0]!.value!.intValue).toBe('1000');
    expect(raw('"1.0"').attributes[0]!.value!.intValue).toBe('1');
  });

  test('enums by number and name, unknown numbers kept', () => {
    expect(converted({ kind: 'SPAN_KIND_PRODUCER' }).kind).toBe(4);
    expect(converted({ kind: 5 }).kind).toBe(5);
    expect(converted({ kind: '3' }).kind).toBe(3);
    expect(converted({ kind: 77 }).kind).toBe(77);
    expect(converted({ status: { code: 'STATUS_CODE_ERROR', message: 'm' } }).status).toMatchObject({ code: 2, message: 'm' });
  });

  test('null is the default; unknown fields are ignored', () => {
    const span = converted({ parentSpanId: null, kind: null, attributes: null, status: null, events: null, name: null, novel: { deep: [1] } });
    expect(span).toMatchObject({ parentSpanId: '', kind: 0, attributes: [], status: null, events: [], name: '' });
  });

  test('doubles by name and in quotes, either base64 alphabet', () => {
    for (const [written, read] of [
      ['NaN', Number.NaN],
      ['Infinity', Number.POSITIVE_INFINITY],
      ['-Infinity', Number.NEGATIVE_INFINITY],
      ['1.5e3', 1500],
      ['-0', -0],
      [3, 3],
    ] as const) {
      expect(Object.is(attributeValue({ doubleValue: written })!.doubleValue, read)).toBe(true);
    }
    for (const bytes of ['+/8=', '-_8=', '-_8', '+/8']) {
      expect(attributeValue({ bytesValue: bytes })!.bytesValue).toBe('+/8=');
    }
  });

  test('a trace id of 8 bytes is padded, a zero parent is none', () => {
    const span = converted({ traceId: '8448eb211c80319c', parentSpanId: '0000000000000000' });
    expect([hexOf(span.traceId), span.parentSpanId]).toEqual(['00000000000000008448eb211c80319c', '']);
  });

  test('a byte order mark is passed over', () => {
    const body = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), request(SPAN)]);
    expect(readOtlpJson(body).spanCount).toBe(1);
  });
});

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
    ['an int64 out of range', { ...SPAN, attributes: [{ key: 'k', value: { intValue: '9223372036854775808' } }] }, 'invalid'],
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
    expect(rejection({ ...SPAN, attributes: [{ key: 'k', value: lists(LIMITS.valueDepthMax + 1) }] }).code).toBe('invalid');
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
    expect(meridianErrorOf(() => readOtlpJson(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])))?.code).toBe('malformed');
  });

  test('one span more than a request may have', () => {
    const span = JSON.stringify({ traceId: TRACE_ID, spanId: SPAN_ID });
    const body = (count: number) =>
      Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[${Array.from({ length: count }, () => span).join(',')}]}]}]}`);
    expect(readOtlpJson(body(LIMITS.spansPerRequestMax)).spanCount).toBe(LIMITS.spansPerRequestMax);
    expect(meridianErrorOf(() => readOtlpJson(body(LIMITS.spansPerRequestMax + 1)))?.code).toBe('too-large');
  });

  test('a body larger than requests may inflate to, and one of nothing but brackets', () => {
    expect(meridianErrorOf(() => readOtlpJson(Buffer.alloc(LIMITS.requestInflatedBytesMax + 1, ' ')))?.code).toBe('too-large');
    const brackets = Buffer.alloc(JSON_CONTAINERS_MAX + 1, '[');
    expect(meridianErrorOf(() => readOtlpJson(brackets))?.code).toBe('too-large');
    expect(meridianErrorOf(() => readOtlpJson(brackets.subarray(1)))?.code).toBe('malformed');
  });

  test('hostile bodies throw nothing but the typed error', () => {
    const valid = [
      Buffer.from(JsonTraceSerializer.serializeRequest(sdkSpans())!),
      ...fc.sample(tracesDataArbitrary, { numRuns: 10, seed: 3 }).map((data) => Buffer.from([...encodeOtlpJson([officialEncode(data)])].join(''))),
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
        attributes: fc.oneof(anything, fc.array(fc.record({ key: anything, value: fc.oneof(anything, fc.record({ intValue: anything })) }))),
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

describe('quoteLongIntegers', () => {
  test('quotes integers of 16 digits and more, nowhere else', () => {
    expect(quoteLongIntegers('[1234567890123456,-12345678901234567890, 123456789012345]')).toBe(
      '["1234567890123456","-12345678901234567890", 123456789012345]',
    );
    const same = ['[1234567890123456.5]', '[1234567890123456e5]', '["a: 1234567890123456"]', '["\\": 1234567890123456"]', '[0.1234567890123456789]', '[1e-1234567890123456]'];
    for (const text of same) expect(quoteLongIntegers(text)).toBe(text);
    expect(quoteLongIntegers('["\\\\",1234567890123456')).toBe('["\\\\","1234567890123456"');
  });

  test('changes no value of any JSON but long integers', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.boolean(), (value, spaced) => {
        const text = JSON.stringify([value, 1234567890123456], null, spaced ? 1 : 0);
        const [same, quoted]: unknown[] = JSON.parse(quoteLongIntegers(text));
        expect(quoted).toBe('1234567890123456');
        const longInteger = (_: string, part: unknown) =>
          typeof part === 'number' && /^-?[0-9]{16,}$/.test(JSON.stringify(part)) ? JSON.stringify(part) : part;
        expect(JSON.stringify(same)).toBe(JSON.stringify(value, longInteger));
      }),
      { numRuns: 500 },
    );
  });
});
