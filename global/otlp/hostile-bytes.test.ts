import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributeValueText, forEachAttribute } from './attributes.js';
import { dedupeSpans, spanCountOf } from './join.js';
import { prepareBatch } from './prepare.js';
import { createRedactor, DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from './redact.js';
import { PATTERN_NAMES } from './redact-text.js';
import { forEachSpan } from './scan.js';
import { splitByTrace } from './split.js';
import { hostileBytes, meridianErrorOf, officialEncode } from './testing/official-otlp.js';
import { rowsOf } from './testing/rows.js';
import { countingBuffer } from './testing/wire-mangling.js';
import { encodeBytesField } from './wire.js';

const redactor = createRedactor({
  dropKeys: DROP_KEYS_DEFAULT,
  patterns: PATTERN_NAMES,
  maskKeys: MASK_KEYS_DEFAULT,
  maskSecret: Buffer.alloc(32, 1),
});
const options = {
  partitionCount: 4,
  partitionOf: (bytes: Buffer, at: number): number => bytes[at]! % 4,
  redactor,
  spanCountMax: 1e6,
};

const traceId = Buffer.alloc(16, 1);
const spanId = Buffer.alloc(8, 2);
const value = { kvlistValue: { values: [{ key: 'user.id', value: { stringValue: 'bob@example.com' } }] } };
const attributes = [
  { key: 'user.password', value: { stringValue: 'x' } },
  { key: 'list', value: { arrayValue: { values: [value, { intValue: -5 }, { doubleValue: 2.5 }] } } },
  { key: 'card', value: { stringValue: '4111 1111 1111 1111' } },
  { key: 'b', value: { boolValue: true } },
];
const span = {
  traceId,
  spanId,
  parentSpanId: spanId,
  name: 'GET Bearer abc',
  kind: 2,
  startTimeUnixNano: 1,
  attributes,
  events: [{ name: 'e', attributes }],
  links: [{ traceId, spanId, attributes }],
  status: { code: 2, message: 'm' },
  flags: 257,
};
const scopeSpans = [{ scope: { name: 's', attributes }, spans: [span, { ...span, traceId: Buffer.alloc(16, 3) }] }];
const valid = officialEncode({ resourceSpans: [{ resource: { attributes }, scopeSpans, schemaUrl: 'u' }] });

/** Everything that reads bytes from outside. */
const readers: [string, (bytes: Buffer) => unknown][] = [
  ['forEachSpan', (bytes) => forEachSpan(bytes, () => true)],
  ['prepareBatch', (bytes) => prepareBatch(bytes, options)],
  ['splitByTrace', splitByTrace],
  ['dedupeSpans', (bytes) => dedupeSpans([bytes, bytes])],
  ['spanCountOf', spanCountOf],
  ['forEachAttribute', (bytes) => forEachAttribute(bytes, 0, bytes.length, 1, () => true)],
  ['attributeValueText', (bytes) => attributeValueText(bytes, 0, bytes.length)],
];

describe.each(readers)('%s on hostile bytes', (_name, read) => {
  test('throws nothing but the typed error, and reads nothing outside', () => {
    fc.assert(
      fc.property(hostileBytes([valid]), (bytes) => {
        const { buffer } = countingBuffer(bytes);
        const error = meridianErrorOf(() => read(buffer));
        if (error !== null) expect(error).toMatchObject({ code: 'malformed', retry: 'never' });
      }),
      { numRuns: 300 },
    );
  });

  test('every cut of a valid message is malformed or a shorter valid message', () => {
    for (let length = 0; length <= valid.length; length++) {
      const error = meridianErrorOf(() => read(valid.subarray(0, length)));
      if (error !== null) expect(error.code).toBe('malformed');
    }
  });
});

test('what prepareBatch lets through, everybody can read, and it holds nothing that was to go', () => {
  let accepted = 0;
  fc.assert(
    fc.property(hostileBytes([valid]), (bytes) => {
      let prepared: ReturnType<typeof prepareBatch> | null = null;
      if (meridianErrorOf(() => (prepared = prepareBatch(bytes, options))) !== null || prepared === null) return;
      for (const part of (prepared as ReturnType<typeof prepareBatch>).partitions) {
        accepted += part.spanCount;
        expect(spanCountOf(part.bytes)).toBe(part.spanCount);
        expect(rowsOf(part.bytes)).toHaveLength(part.spanCount);
        let seen = 0;
        forEachSpan(part.bytes, () => {
          seen++;
          return true;
        });
        expect(seen).toBe(part.spanCount);
        expect(splitByTrace(part.bytes).reduce((sum, fragment) => sum + fragment.spanCount, 0)).toBe(part.spanCount);
        // Passing through once more changes nothing.
        const again = prepareBatch(part.bytes, { ...options, partitionCount: 1, partitionOf: () => 0 });
        expect(again.rejected).toEqual([]);
        expect(again.redactedCount).toBe(0);
      }
    }),
    { numRuns: 500 },
  );
  expect(accepted).toBeGreaterThan(0);
});

describe('cost is linear', () => {
  const inSpan = (field: Buffer): Buffer => {
    const ids = [encodeBytesField(1, traceId), encodeBytesField(2, spanId)];
    return encodeBytesField(1, encodeBytesField(2, encodeBytesField(2, Buffer.concat([...ids, field]))));
  };
  const attribute = (anyValue: Buffer): Buffer =>
    inSpan(encodeBytesField(9, Buffer.concat([encodeBytesField(1, Buffer.from('k')), encodeBytesField(2, anyValue)])));
  const nested = (depth: number): Buffer => {
    let inner: Buffer = Buffer.alloc(0);
    for (let i = 0; i < depth; i++) inner = encodeBytesField(5, encodeBytesField(1, inner));
    return inner;
  };
  const repeated = (piece: Buffer, count: number): Buffer =>
    Buffer.concat(new Array<Buffer>(Math.floor(count)).fill(piece));
  const texts =
    (piece: string) =>
    (n: number): Buffer => {
      const text = Buffer.from(piece.repeat(Math.floor(4000 / piece.length)));
      return repeated(attribute(encodeBytesField(1, text)), Math.max(1, Math.floor(n / 4000)));
    };
  const oneSpan = inSpan(encodeBytesField(5, Buffer.from('n')));

  /** Each makes a message of about n bytes. */
  const bombs: [string, (n: number) => Buffer][] = [
    ['empty resource spans', (n) => repeated(Buffer.from([0x0a, 0x00]), n / 2)],
    ['empty scope spans', (n) => encodeBytesField(1, repeated(Buffer.from([0x12, 0x00]), n / 2))],
    ['empty spans', (n) => encodeBytesField(1, encodeBytesField(2, repeated(Buffer.from([0x12, 0x00]), n / 2)))],
    ['empty resources', (n) => encodeBytesField(1, repeated(Buffer.from([0x0a, 0x00]), n / 2))],
    ['empty attributes', (n) => inSpan(repeated(Buffer.from([0x4a, 0x00]), n / 2))],
    ['empty array elements', (n) => attribute(encodeBytesField(5, repeated(Buffer.from([0x0a, 0x00]), n / 2)))],
    ['spans in resource spans of their own', (n) => repeated(oneSpan, n / oneSpan.length)],
    ['a depth bomb', (n) => attribute(nested(n / 8))],
    ['depth at the limit, many times', (n) => repeated(attribute(nested(16)), n / 120)],
    ['varints', (n) => repeated(Buffer.from([0x80, 0x01, 0x80, 0x01]), n / 4)],
    ...['@', 'a@', 'a@b.', 'x%40', '%', '1', '1 ', '-', 'be', 'bearer', 'é', 'a1'].map(
      (piece): [string, (n: number) => Buffer] => [`strings of ${JSON.stringify(piece)}`, texts(piece)],
    ),
  ];

  test.each(bombs)('%s', (_name, bomb) => {
    for (const [, read] of readers.slice(0, 5)) {
      const steps = [8_000, 32_000].map((n) => {
        const { buffer, reads } = countingBuffer(bomb(n));
        meridianErrorOf(() => read(buffer));
        return reads();
      });
      // Four times the bytes: four times the steps, and a constant. A quadratic reader would take sixteen times.
      expect(steps[1]!).toBeLessThan(steps[0]! * 5 + 2000);
      expect(steps[1]!).toBeLessThan(40 * 32_000);
    }
  });

  test('100,000 spans without ids are rejected one by one, the first 100 named', () => {
    const body = encodeBytesField(1, encodeBytesField(2, repeated(Buffer.from([0x12, 0x00]), 100_000)));
    const prepared = prepareBatch(body, options);
    expect(prepared).toMatchObject({ spanCount: 100_000, rejectedCount: 100_000 });
    expect(prepared.rejected).toHaveLength(100);
  });
});
