import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { plainRecord } from './any-value.js';
import { readNativeJson } from './native-json.js';
import { readSpanViews, type SpanView } from './span-view.js';
import { hostileBytes, meridianErrorOf, officialDecode } from './testing/official-otlp.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN = {
  trace_id: TRACE_ID,
  span_id: 'b7ad6b7169203331',
  service_name: 'checkout',
  operation_name: 'pay',
  start_time: 1_700_000_000_000_001,
  duration: 5,
};

const RECORDED = JSON.stringify({
  spans: [
    {
      ...SPAN,
      parent_span_id: '00F067AA0BA902B7',
      operation_name: 'zählen 😀',
      kind: 'server',
      status: 'error',
      tags: {
        text: 'ü',
        int: 5,
        double: 0.5,
        yes: true,
        none: null,
        list: [1, 'a', [false]],
        record: { a: { b: 1 } },
        '': 'empty key',
      },
      logs: [
        { timestamp: 1_700_000_000_000_002, fields: { event: 'retry', attempt: 2 } },
        { timestamp: 1_700_000_000_000_003, fields: { message: 'hello', deep: { a: [1] } } },
        { timestamp: 0 },
      ],
    },
  ],
});

function body(...spans: unknown[]): Buffer {
  return Buffer.from(JSON.stringify({ spans }));
}

function converted(span: object): SpanView {
  const { tracesData, rejected } = readNativeJson(body({ ...SPAN, ...span }));
  expect(rejected).toEqual([]);
  return readSpanViews(tracesData)[0]!;
}

describe('a recorded body', () => {
  test('comes out field by field', () => {
    const { tracesData, rejected, spanCount } = readNativeJson(Buffer.from(RECORDED));
    expect([rejected, spanCount]).toEqual([[], 1]);
    const span = readSpanViews(tracesData)[0]!;
    expect(span).toMatchObject({
      traceId: TRACE_ID,
      spanId: 'b7ad6b7169203331',
      parentSpanId: '00f067aa0ba902b7',
      name: 'zählen 😀',
      kind: 2,
      startUnixNano: 1_700_000_000_000_001_000n,
      endUnixNano: 1_700_000_000_000_006_000n,
      status: { code: 2, message: '' },
      service: 'checkout',
      attributes: [
        { key: 'text', value: { type: 'string', value: 'ü' } },
        { key: 'int', value: { type: 'int', value: 5 } },
        { key: 'double', value: { type: 'double', value: 0.5 } },
        { key: 'yes', value: { type: 'bool', value: true } },
        { key: 'none', value: { type: 'empty', value: null } },
        { key: 'list', value: { type: 'array' } },
        { key: 'record', value: { type: 'kvlist' } },
        { key: '', value: { type: 'string', value: 'empty key' } },
      ],
    });
    expect(JSON.stringify(plainRecord(span.attributes))).toBe(
      '{"text":"ü","int":5,"double":0.5,"yes":true,"none":null,"list":[1,"a",[false]],"record":{"a":{"b":1}},"":"empty key"}',
    );
    expect(
      span.events.map(({ timeUnixNano, name, attributes }) => [
        timeUnixNano,
        name,
        JSON.stringify(plainRecord(attributes)),
      ]),
    ).toEqual([
      [1_700_000_000_000_002_000n, 'retry', '{"attempt":2}'],
      [1_700_000_000_000_003_000n, 'hello', '{"message":"hello","deep":{"a":[1]}}'],
      [0n, '', '{}'],
    ]);
  });

  test('is, byte for byte, what it was before (golden)', () => {
    expect(readNativeJson(Buffer.from(RECORDED)).tracesData.toString('base64')).toMatchInlineSnapshot(
      `"CuwCChwKGgoMc2VydmljZS5uYW1lEgoKCGNoZWNrb3V0EssCEsgCChAK92UZFs1D3YRI6yEcgDGcEgi3rWtxaSAzMSIIAPBnqgupArcqDHrDpGhsZW4g8J+YgDACOegDKjb+nJcXQXAXKjb+nJcXSgwKBHRleHQSBAoCw7xKCQoDaW50EgIYBUoTCgZkb3VibGUSCSEAAAAAAADgP0oJCgN5ZXMSAhABSggKBG5vbmUSAEobCgRsaXN0EhMqEQoCGAEKAwoBYQoGKgQKAhAASh4KBnJlY29yZBIUMhIKEAoBYRILMgkKBwoBYhICGAFKDwoAEgsKCWVtcHR5IGtleVofCdAHKjb+nJcXEgVyZXRyeRoNCgdhdHRlbXB0EgIYAlo9CbgLKjb+nJcXEgVoZWxsbxoSCgdtZXNzYWdlEgcKBWhlbGxvGhcKBGRlZXASDzINCgsKAWESBioECgIYAVoJCQAAAAAAAAAAegIYAg=="`,
    );
  });

  test('may be a bare array, too', () => {
    const bare = Buffer.from(JSON.stringify(JSON.parse(RECORDED).spans));
    expect(readNativeJson(bare)).toEqual(readNativeJson(Buffer.from(RECORDED)));
  });
});

describe('a span', () => {
  test('with just what it must have', () => {
    expect(converted({})).toMatchObject({
      parentSpanId: null,
      kind: 0,
      status: { code: 0 },
      attributes: [],
      events: [],
      links: [],
    });
  });

  test('may have null for what it lacks, and properties that are not known', () => {
    const nothing = { parent_span_id: null, kind: null, status: null, tags: null, logs: null, novel: { a: 1 } };
    expect(converted(nothing)).toEqual(converted({}));
  });

  test('a trace id of 16 characters is padded, a zero parent is none', () => {
    const span = converted({ trace_id: '8448EB211C80319C', parent_span_id: '0000000000000000' });
    expect([span.traceId, span.parentSpanId]).toEqual(['00000000000000008448eb211c80319c', null]);
  });

  test.each<[unknown, number]>([
    ['internal', 1],
    ['SERVER', 2],
    ['SPAN_KIND_CLIENT', 3],
    ['producer', 4],
    ['consumer', 5],
    ['unspecified', 0],
    ['', 0],
    [3, 3],
  ])('of kind %j', (kind, expected) => {
    expect(converted({ kind }).kind).toBe(expected);
  });

  test.each<[unknown, object, number]>([
    ['ok', {}, 1],
    ['error', {}, 2],
    ['unset', { error: true }, 0],
    ['ok', { error: true }, 1],
    [undefined, { error: true }, 2],
    [undefined, { error: 'true' }, 0],
  ])('of status %j with tags %j', (status, tags, code) => {
    const span = converted({ status, tags });
    expect([span.status.code, span.attributes.length]).toEqual([code, Object.keys(tags).length]);
  });

  test('whole numbers up to 2^53 are integers, others doubles', () => {
    const values = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 53, 1e300, 0.5];
    const span = converted({ tags: Object.fromEntries(values.map((value, index) => [`k${index}`, value])) });
    expect(span.attributes.map(({ value }) => value)).toEqual(
      values.map((value) => ({ type: Number.isSafeInteger(value) ? 'int' : 'double', value })),
    );
    const zero = readNativeJson(Buffer.from(JSON.stringify([{ ...SPAN, tags: { z: 7 } }]).replace('"z":7', '"z":-0')));
    expect(readSpanViews(zero.tracesData)[0]!.attributes[0]!.value).toEqual({ type: 'double', value: -0 });
  });

  test('a tag named __proto__ is a tag', () => {
    const text = JSON.stringify([{ ...SPAN, tags: { x: { y: 1 } } }])
      .replaceAll('"x"', '"__proto__"')
      .replaceAll('"y"', '"constructor"');
    const span = readSpanViews(readNativeJson(Buffer.from(text)).tracesData)[0]!;
    expect(JSON.stringify(plainRecord(span.attributes))).toBe('{"__proto__":{"constructor":1}}');
  });

  test('any JSON that is a tag comes back', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const back = plainRecord(converted({ tags: { value } }).attributes).value;
        // Through text, as JSON.parse makes a -0 that JSON.stringify does not write.
        expect(JSON.parse(JSON.stringify(back))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe('services', () => {
  test('have a resource each; spans keep their order', () => {
    const named = (service_name: string, operation_name: string) => ({ ...SPAN, service_name, operation_name });
    const { tracesData } = readNativeJson(body(named('a', '1'), named('a', '2'), named('b', '3'), named('a', '4')));
    expect(readSpanViews(tracesData).map(({ service, name }) => service + name)).toEqual(['a1', 'a2', 'b3', 'a4']);
    expect(officialDecode(tracesData).resourceSpans).toHaveLength(3);
  });
});

describe('what can not be a span is left out and named', () => {
  const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);
  const logs = (count: number) => Array.from({ length: count }, () => ({ timestamp: 1 }));

  test.each<[string, unknown, string, string]>([
    ['no object', 'span', 'malformed', 'no object'],
    ['no trace id', { ...SPAN, trace_id: undefined }, 'invalid', 'trace_id'],
    ['a trace id of another type', { ...SPAN, trace_id: 5 }, 'malformed', 'trace_id'],
    ['a short trace id', { ...SPAN, trace_id: 'abc' }, 'invalid', 'trace_id'],
    ['a zero trace id', { ...SPAN, trace_id: '0'.repeat(32) }, 'invalid', 'trace_id'],
    ['no span id', { ...SPAN, span_id: null }, 'invalid', 'span_id'],
    ['a zero span id', { ...SPAN, span_id: '0'.repeat(16) }, 'invalid', 'span_id'],
    ['a bad parent', { ...SPAN, parent_span_id: 'parent' }, 'invalid', 'parent_span_id'],
    ['no service', { ...SPAN, service_name: '' }, 'invalid', 'service_name'],
    ['no operation', { ...SPAN, operation_name: undefined }, 'invalid', 'operation_name'],
    ['no start', { ...SPAN, start_time: undefined }, 'invalid', 'start_time'],
    ['a start in quotes', { ...SPAN, start_time: '5' }, 'malformed', 'start_time'],
    ['a fraction of a microsecond', { ...SPAN, start_time: 1.5 }, 'invalid', 'start_time'],
    ['a start beyond 2^53', { ...SPAN, start_time: 2 ** 53 }, 'invalid', 'start_time'],
    ['no duration', { ...SPAN, duration: undefined }, 'invalid', 'duration'],
    ['a negative duration', { ...SPAN, duration: -1 }, 'invalid', 'duration'],
    ['an unknown kind', { ...SPAN, kind: 'remote' }, 'invalid', 'kind'],
    ['a kind beyond the names', { ...SPAN, kind: 6 }, 'invalid', 'kind'],
    ['a kind of another type', { ...SPAN, kind: {} }, 'malformed', 'kind'],
    ['an unknown status', { ...SPAN, status: 'bad' }, 'invalid', 'status'],
    ['tags that are no object', { ...SPAN, tags: [] }, 'malformed', 'tags'],
    ['a tag nested too deeply', { ...SPAN, tags: { a: nested(LIMITS.valueDepthMax + 1) } }, 'invalid', 'nested'],
    ['logs that are no array', { ...SPAN, logs: {} }, 'malformed', 'logs'],
    ['a log that is no object', { ...SPAN, logs: [5] }, 'malformed', 'log'],
    ['a log without a time', { ...SPAN, logs: [{}] }, 'invalid', 'timestamp'],
    ['fields that are no object', { ...SPAN, logs: [{ timestamp: 1, fields: 5 }] }, 'malformed', 'fields'],
    ['one log too many', { ...SPAN, logs: logs(LIMITS.eventsPerSpanMax + 1) }, 'invalid', 'logs'],
  ])('%s', (_, span, code, named) => {
    const { tracesData, rejected, spanCount } = readNativeJson(body(SPAN, span, { ...SPAN, operation_name: 'last' }));
    expect([spanCount, rejected.map((one) => [one.index, one.code])]).toEqual([2, [[1, code]]]);
    expect(rejected[0]!.message).toContain(named);
    expect(readSpanViews(tracesData).map(({ name }) => name)).toEqual(['pay', 'last']);
  });

  test('at the limits it is kept', () => {
    const span = converted({
      tags: { a: nested(LIMITS.valueDepthMax) },
      logs: logs(LIMITS.eventsPerSpanMax),
      start_time: Number.MAX_SAFE_INTEGER,
    });
    expect([span.attributes.length, span.events.length]).toEqual([1, LIMITS.eventsPerSpanMax]);
  });

  test('all of them may be', () => {
    expect(readNativeJson(body(1, 2))).toMatchObject({
      tracesData: Buffer.alloc(0),
      spanCount: 0,
      rejected: [{ index: 0 }, { index: 1 }],
    });
  });
});

describe('what can not be a request is refused', () => {
  test.each(['', '{}', 'null', '5', '{"spans":5}', '{"span":[]}', '{"spans":[}'])('%j', (text) => {
    const error = meridianErrorOf(() => readNativeJson(Buffer.from(text)));
    expect([error?.code, error?.retry]).toEqual(['malformed', 'never']);
  });

  test('one span more than a request may have', () => {
    const spans = (count: number) => Buffer.from(`[${Array.from({ length: count }, () => '1').join(',')}]`);
    expect(readNativeJson(spans(LIMITS.spansPerRequestMax)).rejected).toHaveLength(LIMITS.spansPerRequestMax);
    expect(meridianErrorOf(() => readNativeJson(spans(LIMITS.spansPerRequestMax + 1)))?.code).toBe('too-large');
  });

  test('hostile bodies throw nothing but the typed error', () => {
    fc.assert(
      fc.property(hostileBytes([Buffer.from(RECORDED)]), (bytes) => {
        const error = meridianErrorOf(() => readSpanViews(readNativeJson(bytes).tracesData));
        if (error !== null) expect(error.code).toBe('malformed');
      }),
      { numRuns: 1500 },
    );
  });

  test('JSON of any shape throws nothing but the typed error', () => {
    const anything = fc.jsonValue({ maxDepth: 2 });
    const names = [
      'parent_span_id',
      'kind',
      'status',
      'tags',
      'logs',
      'start_time',
      'duration',
      'service_name',
    ] as const;
    const changed = fc.dictionary(fc.constantFrom(...names), anything).map((change) => ({ ...SPAN, ...change }));
    fc.assert(
      fc.property(fc.array(fc.oneof(changed, anything), { maxLength: 3 }), (spans) => {
        const { tracesData, rejected, spanCount } = readNativeJson(body(...spans));
        expect(spanCount + rejected.length).toBe(spans.length);
        expect(readSpanViews(tracesData)).toHaveLength(spanCount);
      }),
      { numRuns: 1000 },
    );
  });
});
