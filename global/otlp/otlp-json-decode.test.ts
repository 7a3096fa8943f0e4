import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readOtlpJson } from './otlp-json-decode.js';
import { quoteLongIntegers } from './otlp-json-fields.js';
import { hexOf, officialDecode, officialSpans } from './testing/official-otlp.js';

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

function attributeValue(value: object) {
  return converted({ attributes: [{ key: 'k', value }] }).attributes[0]!.value;
}

describe('decoding is as tolerant as protobuf JSON', () => {
  test('snake case', () => {
    const { tracesData } = readOtlpJson(
      Buffer.from(
        JSON.stringify({
          resource_spans: [
            {
              schema_url: 'r',
              resource: {
                dropped_attributes_count: 3,
                entity_refs: [{ schema_url: 'e', id_keys: ['a'], description_keys: ['b'] }],
              },
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
                      links: [
                        {
                          trace_id: TRACE_ID,
                          span_id: SPAN_ID,
                          trace_state: 'c=d',
                          dropped_attributes_count: 5,
                          flags: 1,
                        },
                      ],
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
    expect(resource).toMatchObject({
      droppedAttributesCount: 3,
      entityRefs: [{ schemaUrl: 'e', idKeys: ['a'], descriptionKeys: ['b'] }],
    });
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
    expect(converted({ status: { code: 'STATUS_CODE_ERROR', message: 'm' } }).status).toMatchObject({
      code: 2,
      message: 'm',
    });
  });

  test('null is the default; unknown fields are ignored', () => {
    const span = converted({
      parentSpanId: null,
      kind: null,
      attributes: null,
      status: null,
      events: null,
      name: null,
      novel: { deep: [1] },
    });
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

describe('quoteLongIntegers', () => {
  test('quotes integers of 16 digits and more, nowhere else', () => {
    expect(quoteLongIntegers('[1234567890123456,-12345678901234567890, 123456789012345]')).toBe(
      '["1234567890123456","-12345678901234567890", 123456789012345]',
    );
    const same = [
      '[1234567890123456.5]',
      '[1234567890123456e5]',
      '["a: 1234567890123456"]',
      '["\\": 1234567890123456"]',
      '[0.1234567890123456789]',
      '[1e-1234567890123456]',
    ];
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
