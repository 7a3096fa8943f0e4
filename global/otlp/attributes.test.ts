import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AttributeField,
  attributeEquals,
  attributeValueText,
  findAttribute,
  forEachAttribute,
  foundValue,
  valueMatcher,
} from './attributes.js';
import { forEachSpan } from './scan.js';
import {
  attributesArbitrary,
  meridianErrorOf,
  type OfficialAnyValue,
  officialDecode,
  officialEncode,
} from './testing/official-otlp.js';
import { mangled } from './testing/wire-mangling.js';

/** Key and value text of each attribute, of a span and of its resource, as the walk gives them. */
function walked(tracesData: Buffer, of: 'span' | 'resource'): [string, string | null][] {
  const found: [string, string | null][] = [];
  forEachSpan(tracesData, (span) => {
    const start = of === 'span' ? span.spanStart : span.resourceStart;
    const end = of === 'span' ? span.spanEnd : span.resourceEnd;
    forEachAttribute(tracesData, start, end, AttributeField[of], (keyStart, keyEnd, valueStart, valueEnd) => {
      const key = tracesData.toString('utf8', keyStart, keyEnd);
      found.push([key, attributeValueText(tracesData, valueStart, valueEnd)]);
      return true;
    });
    return true;
  });
  return found;
}

function textOf(value: OfficialAnyValue | null): string | null {
  switch (value?.value) {
    case 'stringValue':
      return value.stringValue!;
    case 'boolValue':
      return String(value.boolValue);
    case 'intValue':
      return value.intValue!;
    case 'doubleValue':
      return String(value.doubleValue);
    default:
      return null;
  }
}

function withAttributes(attributes: readonly object[]): Buffer {
  const span = { traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 1), attributes };
  return officialEncode({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [span] }] }] });
}

/** A batch with this one attribute value, and the value's range. */
function single(value: object): { buffer: Buffer; start: number; end: number } {
  const buffer = withAttributes([{ key: 'k', value }]);
  let range = { start: 0, end: 0 };
  forEachSpan(buffer, (span) => {
    expect(findAttribute(buffer, span.spanStart, span.spanEnd, AttributeField.span, Buffer.from('k'))).toBe(true);
    range = { ...foundValue };
    return true;
  });
  return { buffer, ...range };
}

describe('walking attributes', () => {
  test('keys and values are those of the official decoder, for spans and resources, in any order of fields', () => {
    fc.assert(
      fc.property(attributesArbitrary, fc.nat(), (attributes, seed) => {
        const bytes = mangled(withAttributes(attributes), seed);
        const decoded = officialDecode(bytes).resourceSpans[0]!.scopeSpans[0]!.spans[0]!.attributes;
        const expected = decoded.map(({ key, value }) => [key, textOf(value)]);
        expect(walked(bytes, 'span')).toEqual(expected);
        expect(walked(bytes, 'resource')).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  test('returning false ends the walk; the first of two equal keys is found; what is not there is not', () => {
    const buffer = withAttributes([
      { key: 'k', value: { stringValue: 'first' } },
      { key: 'k', value: { stringValue: 'second' } },
    ]);
    forEachSpan(buffer, (span) => {
      let visits = 0;
      forEachAttribute(buffer, span.spanStart, span.spanEnd, AttributeField.span, () => {
        visits++;
        return false;
      });
      expect(visits).toBe(1);
      expect(findAttribute(buffer, span.spanStart, span.spanEnd, AttributeField.span, Buffer.from('k'))).toBe(true);
      expect(attributeValueText(buffer, foundValue.start, foundValue.end)).toBe('first');
      expect(findAttribute(buffer, span.spanStart, span.spanEnd, AttributeField.span, Buffer.from('kk'))).toBe(false);
      return true;
    });
  });

  test('of several values in one AnyValue the last counts', () => {
    const value = Buffer.concat([Buffer.from([0x0a, 1, 0x61]), Buffer.from([0x18, 5])]);
    expect(attributeValueText(value, 0, 5)).toBe('5');
    expect(attributeValueText(value, 0, 3)).toBe('a');
    expect(attributeValueText(value, 0, 0)).toBeNull();
    expect(meridianErrorOf(() => attributeValueText(value, 0, 4))?.code).toBe('malformed');
  });
});

describe('comparing values', () => {
  const scalar = fc.oneof(
    fc.record({ stringValue: fc.string({ maxLength: 8 }) }),
    fc.record({ stringValue: fc.constantFrom('true', '5', '1.5', '-0', '') }),
    fc.record({ boolValue: fc.boolean() }),
    fc.record({ intValue: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String) }),
    fc.record({ intValue: fc.integer({ min: -3, max: 6 }) }),
    fc.record({ doubleValue: fc.oneof(fc.double(), fc.constantFrom(1.5, 5, -0, Number.NaN, 1e21)) }),
    fc.record({ bytesValue: fc.uint8Array({ maxLength: 3 }) }),
    fc.constant({}),
  );

  test('a value equals exactly the text that it has', () => {
    const wanted = fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom('true', 'false', '5', '05', '1.5', '1.50', '-0', '0', 'NaN', '', '1e+21'),
    );
    fc.assert(
      fc.property(scalar, wanted, (value, text) => {
        const { buffer, start, end } = single(value);
        const own = attributeValueText(buffer, start, end);
        expect(attributeEquals(buffer, start, end, valueMatcher(text))).toBe(own === text);
        if (own !== null) expect(attributeEquals(buffer, start, end, valueMatcher(own))).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('the ends of int64, and one past them', () => {
    for (const text of ['9223372036854775807', '-9223372036854775808', '9007199254740993', '-1']) {
      const { buffer, start, end } = single({ intValue: text });
      expect(attributeValueText(buffer, start, end)).toBe(text);
      expect(attributeEquals(buffer, start, end, valueMatcher(text))).toBe(true);
    }
    expect(valueMatcher('9223372036854775808').int).toBeNull();
    expect(valueMatcher('-9223372036854775809').int).toBeNull();
    expect(valueMatcher('007').int).toBeNull();
  });
});
