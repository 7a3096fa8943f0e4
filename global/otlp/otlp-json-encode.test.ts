import { JsonTraceSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readOtlpJson } from './otlp-json-decode.js';
import { encodeOtlpJson, JSON_CHUNK_CHARACTERS } from './otlp-json-encode.js';
import {
  meridianErrorOf,
  normalized,
  officialDecode,
  officialEncode,
  officialSpans,
  tracesDataArbitrary,
} from './testing/official-otlp.js';
import { sdkSpans } from './testing/sdk-spans.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';

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
      { numRuns: 100 },
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
      { numRuns: 20 },
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
    expect(server).toMatchObject({
      droppedAttributesCount: 1,
      droppedEventsCount: 1,
      traceState: 'vendor=value,other=1',
      flags: 0x301,
    });
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
