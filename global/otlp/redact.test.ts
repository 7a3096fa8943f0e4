import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { prepareBatch } from './prepare.js';
import { createRedactor, DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT, type RedactorOptions } from './redact.js';
import { PATTERN_NAMES } from './redact-text.js';
import { type OfficialAnyValue, officialDecode, officialEncode } from './testing/official-otlp.js';
import { redactRow } from './testing/redaction-reference.js';
import { suspiciousText } from './testing/redaction-texts.js';
import { rowsOf, rowText } from './testing/rows.js';
import { mangled } from './testing/wire-mangling.js';
import { encodeBytesField } from './wire.js';

const maskSecret = Buffer.from('0123456789abcdef0123456789abcdef');
const defaults: RedactorOptions = {
  dropKeys: DROP_KEYS_DEFAULT,
  patterns: PATTERN_NAMES,
  maskKeys: MASK_KEYS_DEFAULT,
  maskSecret,
};

function redactBatch(batch: Buffer, options: Partial<RedactorOptions> = {}): { bytes: Buffer; redactedCount: number } {
  const redactor = createRedactor({ ...defaults, ...options });
  const prepared = prepareBatch(batch, { partitionCount: 1, partitionOf: () => 0, redactor, spanCountMax: 1000 });
  expect(prepared.rejected).toEqual([]);
  return { bytes: prepared.partitions[0]!.bytes, redactedCount: prepared.redactedCount };
}

const ids = { traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2) };

function batchOf(span: object, resource: object = {}): Buffer {
  return officialEncode({ resourceSpans: [{ resource, scopeSpans: [{ spans: [{ ...ids, ...span }] }] }] });
}

function attributesAfter(attributes: readonly object[], options: Partial<RedactorOptions> = {}): object {
  const { bytes } = redactBatch(batchOf({ attributes }), options);
  const decoded = officialDecode(bytes).resourceSpans[0]!.scopeSpans[0]!.spans[0]!.attributes;
  return Object.fromEntries(decoded.map(({ key, value }) => [key, plain(value)]));
}

function plain(value: OfficialAnyValue | null): unknown {
  if (value?.value === 'kvlistValue') return value.kvlistValue!.values.map((entry) => [entry.key, plain(entry.value)]);
  if (value?.value === 'arrayValue') return value.arrayValue!.values.map(plain);
  return value?.stringValue ?? value?.intValue ?? value?.boolValue ?? value?.doubleValue ?? null;
}

const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const maskOf = (id: string): string => `hmac:${createHmac('sha256', maskSecret).update(id).digest('hex').slice(0, 32)}`;

const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('http.url', 'note', 'user', 'password', 'enduser', 'a') },
  { weight: 3, arbitrary: fc.constantFrom('user.id', 'user.password', 'user.token', 'id') },
  { weight: 1, arbitrary: suspiciousText },
);
/** A masked array or list is hashed by its bytes, which a reference on objects cannot know. */
const isMaskable = ({ key: name, value }: { key: string; value: object }): boolean =>
  !(/user\.id$|^id$/.test(name) && ('arrayValue' in value || 'kvlistValue' in value));
const { anyValue } = fc.letrec<{ anyValue: object; keyValue: object }>((tie) => ({
  anyValue: fc.oneof(
    { maxDepth: 4 },
    fc.record({ stringValue: suspiciousText }),
    fc.record({ intValue: fc.integer() }),
    fc.record({ boolValue: fc.boolean() }),
    fc.record({ doubleValue: fc.integer().map((n) => n / 4) }),
    fc.record({ arrayValue: fc.record({ values: fc.array(tie('anyValue'), { maxLength: 3 }) }) }),
    fc.record({ kvlistValue: fc.record({ values: fc.array(tie('keyValue'), { maxLength: 3 }) }) }),
  ),
  keyValue: fc.record({ key, value: tie('anyValue') }).filter(isMaskable),
}));
const attributes = fc.array(fc.record({ key, value: anyValue }).filter(isMaskable), { maxLength: 4 });
const span = fc.record({
  name: suspiciousText,
  attributes,
  traceState: suspiciousText,
  events: fc.array(fc.record({ name: suspiciousText, attributes }), { maxLength: 2 }),
  links: fc.array(fc.record({ traceId: fc.constant(ids.traceId), traceState: suspiciousText, attributes }), {
    maxLength: 2,
  }),
  status: fc.option(fc.record({ message: suspiciousText, code: fc.nat({ max: 2 }) })),
});
const data = fc.record({
  resourceSpans: fc.array(
    fc.record({
      resource: fc.option(fc.record({ attributes })),
      schemaUrl: suspiciousText,
      scopeSpans: fc.array(
        fc.record({
          scope: fc.option(fc.record({ name: suspiciousText, version: suspiciousText, attributes })),
          schemaUrl: suspiciousText,
          spans: fc.array(
            span.map((own) => ({ ...ids, ...own })),
            { minLength: 1, maxLength: 3 },
          ),
        }),
        { minLength: 1, maxLength: 2 },
      ),
    }),
    { minLength: 1, maxLength: 2 },
  ),
});

describe('redaction', () => {
  test('is that of a plain implementation on objects, whatever the order of the fields', () => {
    fc.assert(
      fc.property(data, fc.nat(), (given, seed) => {
        const batch = mangled(officialEncode(given), seed);
        const expected = rowsOf(batch).map((row) => rowText(redactRow(row, defaults)));
        expect(rowsOf(redactBatch(batch).bytes).map(rowText)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test('drops keys, also nested ones and those that nesting spells', () => {
    const list = (name: string, values: readonly object[]): object => ({
      key: name,
      value: { kvlistValue: { values } },
    });
    expect(
      attributesAfter([
        text('user.password', 'x'),
        text('user.passwords', 'stays'),
        text('user.token', 'x'),
        list('user', [text('password', 'x'), text('name', 'ann')]),
        list('form', [text('user.token', 'x'), text('token', 'stays')]),
        { key: 'rows', value: { arrayValue: { values: [{ kvlistValue: { values: [text('user.password', 'x')] } }] } } },
      ]),
    ).toEqual({
      'user.passwords': 'stays',
      user: [['name', 'ann']],
      form: [['token', 'stays']],
      rows: [[]],
    });
  });

  test('drops configured keys, and none by default where none are configured', () => {
    expect(
      attributesAfter([text('secret', 'x'), text('ß', 'x'), text('k', 'v')], { dropKeys: ['secret', 'ß'] }),
    ).toEqual({
      k: 'v',
    });
    expect(attributesAfter([text('user.password', 'x')], { dropKeys: [] })).toEqual({ 'user.password': 'x' });
  });

  test('masks ids of every type by their text, joinably', () => {
    expect(attributesAfter([text('user.id', 'alice@example.com')])).toEqual({ 'user.id': maskOf('alice@example.com') });
    expect(attributesAfter([{ key: 'user.id', value: { intValue: '-7' } }])).toEqual({ 'user.id': maskOf('-7') });
    expect(attributesAfter([{ key: 'user.id', value: { doubleValue: 1.5 } }])).toEqual({ 'user.id': maskOf('1.5') });
    expect(attributesAfter([{ key: 'user.id', value: { boolValue: true } }])).toEqual({ 'user.id': maskOf('true') });
    const bytes = attributesAfter([{ key: 'user.id', value: { bytesValue: Buffer.from('raw') } }]);
    expect(bytes).toEqual({ 'user.id': expect.stringMatching(/^hmac:[0-9a-f]{32}$/) });
    expect(attributesAfter([text('user.id', maskOf('x'))])).toEqual({ 'user.id': maskOf('x') });
    expect(attributesAfter([{ key: 'user.id', value: {} }])).toEqual({ 'user.id': null });
  });

  test('does not let a second value of an attribute hide behind a mask', () => {
    const masked = encodeBytesField(2, encodeBytesField(1, Buffer.from(maskOf('x'))));
    const hidden = encodeBytesField(2, encodeBytesField(1, Buffer.from('alice')));
    const attribute = Buffer.concat([encodeBytesField(1, Buffer.from('user.id')), hidden, masked]);
    const own = Buffer.concat([
      encodeBytesField(1, ids.traceId),
      encodeBytesField(2, ids.spanId),
      encodeBytesField(9, attribute),
    ]);
    const { bytes } = redactBatch(encodeBytesField(1, encodeBytesField(2, encodeBytesField(2, own))));
    expect(bytes.includes('alice')).toBe(false);
    expect(bytes.includes(maskOf(maskOf('x')))).toBe(true);
  });

  test('a clean batch comes out byte for byte; a span is rewritten only where it has to be', () => {
    const clean = batchOf({ name: 'a', attributes: [text('k', 'v')] });
    expect(redactBatch(clean)).toEqual({ bytes: clean, redactedCount: 0 });
    const dirty = batchOf({ name: 'bob@example.com' });
    const both = redactBatch(Buffer.concat([clean, dirty]));
    expect(both.redactedCount).toBe(1);
    expect(both.bytes.subarray(0, clean.length)).toEqual(clean);
    expect(both.bytes.includes('bob@')).toBe(false);
  });

  test('a dirty resource is rewritten, its spans are not counted', () => {
    const { bytes, redactedCount } = redactBatch(
      batchOf({ name: 'a' }, { attributes: [text('owner', 'bob@example.com')] }),
    );
    expect(redactedCount).toBe(0);
    expect(rowsOf(bytes)[0]!.resource!.attributes).toMatchObject([{ value: { stringValue: '[redacted:email]' } }]);
  });

  test('ids and trace states stay, whatever they look like', () => {
    const traceId = Buffer.from('bob@example.com!');
    const traceState = 'mail=bob@example.com';
    const { bytes } = redactBatch(
      officialEncode({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...ids, traceId, traceState }] }] }] }),
    );
    expect(rowsOf(bytes)[0]!.span).toMatchObject({ traceId: traceId.toString('base64'), traceState });
  });

  test('further patterns apply to every string, after the others', () => {
    const extraPatterns = [/ssn-\d+/, /[äé]+/g];
    const after = attributesAfter([text('k', 'ssn-12 and ssn-34 äé bob@example.com'), text('clean', 'x')], {
      extraPatterns,
    });
    expect(after).toEqual({
      k: '[redacted:pattern] and [redacted:pattern] [redacted:pattern] [redacted:email]',
      clean: 'x',
    });
  });

  test('more masked users than the cache holds still get their own masks', () => {
    const redactor = createRedactor(defaults);
    for (const round of [1, 2]) {
      const spans = Array.from({ length: 5000 }, (_, i) => ({ ...ids, attributes: [text('user.id', `u${i}`)] }));
      const batch = officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
      const prepared = prepareBatch(batch, { partitionCount: 1, partitionOf: () => 0, redactor, spanCountMax: 5000 });
      const masks = rowsOf(prepared.partitions[0]!.bytes).map((row) => row.span.attributes[0]!.value!.stringValue);
      expect(new Set(masks).size, `round ${round}`).toBe(5000);
      expect(masks[4999]).toBe(maskOf('u4999'));
    }
  });

  test('a secret of 16 bytes is enough, one of 15 is not, unless nothing is masked', () => {
    expect(() => createRedactor({ ...defaults, maskSecret: Buffer.alloc(16) })).not.toThrow();
    expect(() => createRedactor({ ...defaults, maskSecret: Buffer.alloc(15) })).toThrow(RangeError);
    expect(() => createRedactor({ ...defaults, maskSecret: Buffer.alloc(0), maskKeys: [] })).not.toThrow();
  });
});
