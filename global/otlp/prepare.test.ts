import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../model/limits.js';
import { type PreparedBatch, type PrepareOptions, prepareBatch, REJECTED_NAMED_MAX } from './prepare.js';
import { createRedactor } from './redact.js';
import { meridianErrorOf, officialEncode, tracesDataArbitrary } from './testing/official-otlp.js';
import { type Row, rowsOf, rowText, rowTexts } from './testing/rows.js';
import { mangled } from './testing/wire-mangling.js';
import { LONG_VALUE_BYTES_MAX } from './verdict.js';
import { encodeBytesField } from './wire.js';

const redactor = createRedactor({ dropKeys: [], patterns: [], maskKeys: [], maskSecret: Buffer.alloc(0) });
const PARTITIONS = 3;

function prepare(body: Buffer, options: Partial<PrepareOptions> = {}): PreparedBatch {
  const partitionOf = (bytes: Buffer, at: number): number => bytes[at + 15]! % PARTITIONS;
  return prepareBatch(body, { partitionCount: PARTITIONS, partitionOf, redactor, spanCountMax: 1000, ...options });
}

const traceId = Buffer.alloc(16, 1);
const spanId = Buffer.from('0102030405060708', 'hex');

function spansOf(...spans: object[]): Buffer {
  return officialEncode({
    resourceSpans: [{ scopeSpans: [{ spans: spans.map((span) => ({ traceId, spanId, ...span })) }] }],
  });
}

const string = (length: number): string => 'x'.repeat(length);
const nested = (depth: number, leaf: object): object =>
  depth === 0
    ? leaf
    : depth % 2 === 0
      ? { arrayValue: { values: [nested(depth - 1, leaf)] } }
      : { kvlistValue: { values: [{ key: 'k', value: nested(depth - 1, leaf) }] } };
const times = (count: number, item: object): object[] => new Array<object>(count).fill(item);
const attribute = (key: string, value: object): object => ({ attributes: [{ key, value }] });

function isLegal({ span, resource, scope }: Row): boolean {
  const keysOf = (value: unknown): string[] => {
    if (Array.isArray(value)) return value.flatMap(keysOf);
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([name, inner]) => (name === 'key' ? [String(inner)] : keysOf(inner)));
  };
  return keysOf([span, resource?.attributes, scope]).every((key) => Buffer.byteLength(key) <= 256);
}

describe('prepareBatch', () => {
  test('deals all legal spans out to their partitions, with their resources and scopes, in order', () => {
    fc.assert(
      fc.property(tracesDataArbitrary, fc.nat(), (data, seed) => {
        const body = mangled(officialEncode(data), seed);
        const rows = rowsOf(body);
        const legal = rows.filter(isLegal);
        const prepared = prepare(body);
        expect(prepared.spanCount).toBe(rows.length);
        expect(prepared.acceptedCount).toBe(legal.length);
        expect(prepared.rejectedCount).toBe(rows.length - legal.length);
        expect(prepared.rejected.map(({ index }) => index)).toEqual(
          rows.flatMap((row, index) => (isLegal(row) ? [] : [index])),
        );
        for (let partition = 0; partition < PARTITIONS; partition++) {
          const expected = legal.filter(
            ({ span }) => Buffer.from(span.traceId, 'base64')[15]! % PARTITIONS === partition,
          );
          const own = prepared.partitions.find((part) => part.partition === partition);
          expect(own?.spanCount ?? 0).toBe(expected.length);
          expect(rowsOf(own?.bytes ?? Buffer.alloc(0)).map(rowText)).toEqual(expected.map(rowText));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('what goes to one partition is copied as it is: unknown fields, odd encodings and all', () => {
    const data = fc.tuple(tracesDataArbitrary, fc.nat()).map(([given, seed]) => mangled(officialEncode(given), seed));
    fc.assert(
      fc.property(data, (body) => {
        const prepared = prepare(body, { partitionOf: () => 2 });
        if (prepared.rejectedCount > 0 || prepared.acceptedCount === 0) return;
        const { bytes } = prepared.partitions[0]!;
        // Top-level unknown fields belong to no span and are left behind; nothing else is.
        expect(body.includes(bytes) || rowTexts([bytes]).join() === rowTexts([body]).join()).toBe(true);
        expect(bytes.length).toBeLessThanOrEqual(body.length);
      }),
    );
    const plain = spansOf({}, { name: 'b' });
    expect(prepare(plain).partitions).toEqual([{ partition: 1, bytes: plain, spanCount: 2 }]);
  });

  test('unknown fields of resource spans, scope spans and spans go with each span', () => {
    const own = Buffer.concat([
      encodeBytesField(1, traceId),
      encodeBytesField(2, spanId),
      encodeBytesField(99, Buffer.from('in-span')),
    ]);
    const other = Buffer.concat([encodeBytesField(1, Buffer.alloc(16, 2)), encodeBytesField(2, spanId)]);
    const scopeSpans = Buffer.concat([
      encodeBytesField(2, own),
      encodeBytesField(98, Buffer.from('in-scope')),
      encodeBytesField(2, other),
    ]);
    const resourceSpans = Buffer.concat([
      encodeBytesField(2, scopeSpans),
      encodeBytesField(97, Buffer.from('in-resource')),
    ]);
    const { partitions } = prepare(encodeBytesField(1, resourceSpans));
    expect(partitions.map(({ partition }) => partition)).toEqual([1, 2]);
    for (const { bytes } of partitions) {
      expect(bytes.includes('in-scope')).toBe(true);
      expect(bytes.includes('in-resource')).toBe(true);
    }
    expect(partitions.map(({ bytes }) => bytes.includes('in-span'))).toEqual([true, false]);
  });

  test('the bytes of a partition are their own memory, of just their size', () => {
    const body = spansOf({ traceId: Buffer.alloc(16, 1) }, { traceId: Buffer.alloc(16, 2) });
    for (const { bytes } of prepare(body).partitions) {
      expect(bytes.buffer.byteLength).toBe(bytes.length);
      expect(bytes.buffer).not.toBe(body.buffer);
    }
  });

  test('one bad span rejects itself alone, and is named', () => {
    const prepared = prepare(spansOf({ name: 'a' }, { name: string(LIMITS.nameBytesMax + 1) }, { name: 'c' }));
    expect(prepared).toMatchObject({ spanCount: 3, acceptedCount: 2, rejectedCount: 1 });
    expect(prepared.rejected).toEqual([
      {
        index: 1,
        spanIdHex: '0102030405060708',
        code: 'name',
        message: 'a name of 4097 bytes, at most 4096',
      },
    ]);
    expect(rowsOf(prepared.partitions[0]!.bytes).map(({ span }) => span.name)).toEqual(['a', 'c']);
  });

  const atLimit: [string, string, object, object][] = [
    [
      'attributes',
      'attribute-count',
      { attributes: times(100, { key: 'k' }) },
      { attributes: times(101, { key: 'k' }) },
    ],
    ['key', 'attribute-key', attribute(string(256), { boolValue: true }), attribute(string(257), { boolValue: true })],
    [
      'value',
      'attribute-value',
      attribute('k', { stringValue: string(4096) }),
      attribute('k', { stringValue: string(4097) }),
    ],
    [
      'bytes value',
      'attribute-value',
      attribute('k', { bytesValue: Buffer.alloc(4096) }),
      attribute('k', { bytesValue: Buffer.alloc(4097) }),
    ],
    [
      'value in a list',
      'attribute-value',
      attribute('k', nested(3, { stringValue: string(4096) })),
      attribute('k', nested(3, { stringValue: string(4097) })),
    ],
    [
      'key in a list',
      'attribute-key',
      attribute('k', { kvlistValue: { values: [{ key: string(256) }] } }),
      attribute('k', { kvlistValue: { values: [{ key: string(257) }] } }),
    ],
    ['depth', 'value-depth', attribute('k', nested(16, { intValue: 1 })), attribute('k', nested(17, { intValue: 1 }))],
    ['name', 'name', { name: string(4096) }, { name: string(4097) }],
    ['events', 'event-count', { events: times(1024, {}) }, { events: times(1025, {}) }],
    ['links', 'link-count', { links: times(1024, {}) }, { links: times(1025, {}) }],
    ['event name', 'name', { events: [{ name: string(4096) }] }, { events: [{ name: string(4097) }] }],
    [
      'event attributes',
      'attribute-count',
      { events: [{ attributes: times(100, {}) }] },
      { events: [{ attributes: times(101, {}) }] },
    ],
    [
      'link attributes',
      'attribute-count',
      { links: [{ attributes: times(100, {}) }] },
      { links: [{ attributes: times(101, {}) }] },
    ],
    [
      'event value',
      'attribute-value',
      { events: [attribute('k', { stringValue: string(LONG_VALUE_BYTES_MAX) })] },
      { events: [attribute('k', { stringValue: string(LONG_VALUE_BYTES_MAX + 1) })] },
    ],
    [
      'event depth',
      'value-depth',
      { events: [attribute('k', nested(16, {}))] },
      { events: [attribute('k', nested(17, {}))] },
    ],
    [
      'link value',
      'attribute-value',
      { links: [attribute('k', { stringValue: string(4096) })] },
      { links: [attribute('k', { stringValue: string(4097) })] },
    ],
    [
      'status message',
      'attribute-value',
      { status: { message: string(LONG_VALUE_BYTES_MAX) } },
      { status: { message: string(LONG_VALUE_BYTES_MAX + 1) } },
    ],
    ['trace state', 'attribute-value', { traceState: string(4096) }, { traceState: string(4097) }],
    ['trace id', 'trace-id', { traceId }, { traceId: Buffer.alloc(17, 1) }],
    ['short trace id', 'trace-id', { traceId: Buffer.alloc(8, 1) }, { traceId: Buffer.alloc(7, 1) }],
    ['zero trace id', 'trace-id', { traceId: Buffer.from([...Buffer.alloc(15), 1]) }, { traceId: Buffer.alloc(16) }],
    [
      'zero short trace id',
      'trace-id',
      { traceId: Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]) },
      { traceId: Buffer.alloc(8) },
    ],
    ['no trace id', 'trace-id', { traceId }, { traceId: Buffer.alloc(0) }],
    ['span id', 'span-id', { spanId }, { spanId: Buffer.alloc(9, 1) }],
    ['zero span id', 'span-id', { spanId: Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]) }, { spanId: Buffer.alloc(8) }],
    ['parent', 'parent-span-id', { parentSpanId: spanId }, { parentSpanId: Buffer.alloc(7, 1) }],
    ['no parent', 'parent-span-id', { parentSpanId: Buffer.alloc(8) }, { parentSpanId: Buffer.alloc(9, 1) }],
  ];

  test.each(atLimit)('%s: the limit is accepted, one past it is %s', (_name, code, good, bad) => {
    const prepared = prepare(spansOf(good, bad, { name: 'after' }), { partitionOf: () => 0 });
    expect(prepared.rejected.map((rejected) => [rejected.index, rejected.code])).toEqual([[1, code]]);
    expect(prepared.acceptedCount).toBe(2);
    expect(rowsOf(prepared.partitions[0]!.bytes)).toHaveLength(2);
  });

  test('a string that is not UTF-8 rejects its span, in a name, a key, a value, short or long', () => {
    const bad = Buffer.from([0x61, 0xff, 0x62]);
    const long = Buffer.concat([Buffer.alloc(200, 0x61), bad]);
    const keyValue = (key: Buffer, value: Buffer): Buffer =>
      encodeBytesField(9, Buffer.concat([encodeBytesField(1, key), encodeBytesField(2, encodeBytesField(1, value))]));
    const key = Buffer.from('key');
    const ids = [encodeBytesField(1, traceId), encodeBytesField(2, spanId)];
    for (const broken of [bad, long]) {
      for (const field of [encodeBytesField(5, broken), keyValue(broken, key), keyValue(key, broken)]) {
        const good = encodeBytesField(
          2,
          Buffer.concat([...ids, keyValue(Buffer.from('schlüssel'), Buffer.from('wert €'))]),
        );
        const span = encodeBytesField(2, Buffer.concat([...ids, field]));
        const prepared = prepare(encodeBytesField(1, encodeBytesField(2, Buffer.concat([good, span, good]))));
        expect(prepared.rejected).toMatchObject([{ index: 1, code: 'utf8' }]);
      }
    }
  });

  test('a bad resource or scope rejects the spans under it and no others', () => {
    const spans = [
      { traceId, spanId },
      { traceId, spanId },
    ];
    const deep = attribute('k', nested(17, {}));
    const long = attribute('k', { stringValue: string(LONG_VALUE_BYTES_MAX + 1) });
    const prepared = prepare(
      officialEncode({
        resourceSpans: [
          { resource: deep, scopeSpans: [{ spans }, { spans }] },
          { scopeSpans: [{ spans }, { scope: long, spans }] },
          { resource: attribute('k', { stringValue: string(LONG_VALUE_BYTES_MAX) }), scopeSpans: [{ spans }] },
        ],
      }),
    );
    expect(prepared.rejected.map(({ index, code }) => [index, code])).toEqual([
      [0, 'value-depth'],
      [1, 'value-depth'],
      [2, 'value-depth'],
      [3, 'value-depth'],
      [6, 'attribute-value'],
      [7, 'attribute-value'],
    ]);
    expect(prepared.rejected[0]!.message).toContain('its resource has a value nested deeper');
    expect(prepared.rejected[4]!.message).toContain('its scope has a value of 65537 bytes');
    expect(prepared.acceptedCount).toBe(4);
  });

  test('8-byte trace ids are padded on the left, wherever they stand in the span', () => {
    const short = Buffer.from('1112131415161718', 'hex');
    const padded = Buffer.concat([Buffer.alloc(8), short]);
    for (const seed of [1, 2, 3, 4, 5]) {
      const body = mangled(spansOf({ traceId: short, name: 'short' }, { traceId: padded, name: 'long' }), seed);
      const { partitions, redactedCount } = prepare(body);
      expect(redactedCount).toBe(0);
      const rows = rowsOf(partitions[0]!.bytes);
      expect(rows.map(({ span }) => [span.name, span.traceId])).toEqual([
        ['short', padded.toString('base64')],
        ['long', padded.toString('base64')],
      ]);
    }
  });

  test('resources and scopes multiply by their spans: at the limit, and one byte past it', () => {
    const resource = { attributes: [{ key: 'k', value: { stringValue: string(50) } }] };
    const spans = times(4, { traceId, spanId });
    const body = officialEncode({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'ab' }, spans }] }] });
    const header = officialEncode({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'ab' } }] }] });
    // Without the tags and lengths of ResourceSpans and ScopeSpans, two bytes each.
    const headerBytesMax = 4 * (header.length - 4);
    expect(prepare(body, { headerBytesMax }).acceptedCount).toBe(4);
    expect(meridianErrorOf(() => prepare(body, { headerBytesMax: headerBytesMax - 1 }))).toMatchObject({
      code: 'too-large',
      retry: 'never',
    });
  });

  test('the span limit: at it all is taken, one past it the batch is refused', () => {
    const body = spansOf(...times(5, {}));
    expect(prepare(body, { spanCountMax: 5 }).acceptedCount).toBe(5);
    expect(meridianErrorOf(() => prepare(body, { spanCountMax: 4 }))).toMatchObject({
      code: 'too-large',
      retry: 'never',
    });
    // A refused batch leaves nothing behind for the next.
    expect(prepare(spansOf({})).partitions[0]!.spanCount).toBe(1);
  });

  test('100 rejected spans are named, the 101st is only counted', () => {
    const prepared = prepare(spansOf(...times(REJECTED_NAMED_MAX + 1, { spanId: Buffer.alloc(3) })));
    expect(prepared.rejectedCount).toBe(101);
    expect(prepared.rejected).toHaveLength(100);
    expect(prepared.rejected[0]).toEqual({
      index: 0,
      code: 'span-id',
      message: 'span id of 3 bytes, expected 8',
    });
    expect(prepared.partitions).toEqual([]);
  });

  test('starts far from now are counted, not rejected', () => {
    const nowMs = 1_795_176_000_000;
    const nano = (ms: number): string => `${ms}000000`;
    const starts = [
      nowMs,
      nowMs + LIMITS.startAheadMsMax,
      nowMs + LIMITS.startAheadMsMax + 1,
      nowMs - LIMITS.startBehindMsMax,
      nowMs - LIMITS.startBehindMsMax - 1,
    ];
    const body = spansOf(...starts.map((ms) => ({ startTimeUnixNano: nano(ms) })), {});
    expect(prepare(body, { nowMs })).toMatchObject({ acceptedCount: 6, implausibleTimeCount: 3 });
    expect(prepare(body)).toMatchObject({ implausibleTimeCount: 0 });
  });

  test('an end before the start is stored as it is', () => {
    const body = spansOf({ startTimeUnixNano: 10, endTimeUnixNano: 5 });
    expect(prepare(body).partitions[0]!.bytes).toEqual(body);
  });

  test('an empty body, and one with resources only, is a batch of nothing', () => {
    const none = { spanCount: 0, acceptedCount: 0, rejectedCount: 0, rejected: [], partitions: [] };
    expect(prepare(Buffer.alloc(0))).toMatchObject(none);
    expect(prepare(officialEncode({ resourceSpans: [{ resource: {}, scopeSpans: [{ scope: {} }] }] }))).toMatchObject(
      none,
    );
  });

  test('a known field of another wire type is malformed, at every level: strict readers of the log would refuse it', () => {
    const varint = (fieldNumber: number): Buffer => Buffer.from([fieldNumber << 3, 1]);
    const ids = [encodeBytesField(1, traceId), encodeBytesField(2, spanId)];
    const inSpan = (...fields: Buffer[]): Buffer =>
      encodeBytesField(1, encodeBytesField(2, encodeBytesField(2, Buffer.concat([...ids, ...fields]))));
    const inValue = (field: Buffer): Buffer => inSpan(encodeBytesField(9, encodeBytesField(2, field)));
    const bad = [
      varint(1),
      encodeBytesField(1, varint(1)),
      encodeBytesField(1, encodeBytesField(2, varint(2))),
      encodeBytesField(1, encodeBytesField(1, varint(1))),
      encodeBytesField(1, encodeBytesField(1, encodeBytesField(3, varint(1)))),
      inSpan(varint(1)),
      inSpan(encodeBytesField(6, Buffer.alloc(1))),
      inSpan(encodeBytesField(11, varint(1))),
      inSpan(encodeBytesField(13, varint(1))),
      inSpan(encodeBytesField(15, encodeBytesField(3, Buffer.alloc(1)))),
      inSpan(encodeBytesField(9, varint(1))),
      inValue(varint(1)),
      inValue(encodeBytesField(2, Buffer.alloc(1))),
      inValue(encodeBytesField(5, varint(1))),
      inValue(encodeBytesField(6, varint(1))),
    ];
    for (const body of bad) expect(meridianErrorOf(() => prepare(body))?.message).toContain('wire type');
    expect(prepare(inSpan(varint(14), Buffer.from([((17 << 3) & 0x7f) | 0x80, 0x01, 1]))).acceptedCount).toBe(1);
  });

  test('malformed bytes anywhere fail the batch', () => {
    const good = spansOf(attribute('k', { stringValue: 'v' }));
    for (let length = 1; length < good.length; length++) {
      expect(meridianErrorOf(() => prepare(good.subarray(0, length)))?.code).toBe('malformed');
    }
  });
});
