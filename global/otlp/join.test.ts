import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dedupeSpans, joinTracesData, spanCountOf } from './join.js';
import { meridianErrorOf, officialEncode, tracesDataArbitrary } from './testing/official-otlp.js';
import { rowsOf, rowText, rowTexts } from './testing/rows.js';
import { mangled } from './testing/wire-mangling.js';

const bytes = fc.tuple(tracesDataArbitrary, fc.nat()).map(([data, seed]) => mangled(officialEncode(data), seed));
const traceId = Buffer.alloc(16, 1);
const spanOf = (id: number, name = 'a', resource: object | null = null): Buffer =>
  officialEncode({
    resourceSpans: [{ resource, scopeSpans: [{ spans: [{ traceId, spanId: Buffer.alloc(8, id), name }] }] }],
  });
const names = (parts: readonly Buffer[]): string[] => parts.flatMap(rowsOf).map(({ span }) => span.name);

describe('joinTracesData', () => {
  test('a joined message has the spans of its parts, in order', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 4 }), (parts) => {
        const joined = joinTracesData(parts);
        expect(rowsOf(joined).map(rowText)).toEqual(parts.flatMap(rowsOf).map(rowText));
        expect(spanCountOf(joined)).toBe(parts.flatMap(rowsOf).length);
      }),
      { numRuns: 40 },
    );
  });

  test('one part is not copied, none is an empty message', () => {
    const part = spanOf(1);
    expect(joinTracesData([part])).toBe(part);
    expect(joinTracesData([])).toHaveLength(0);
  });

  test('the byte limit: at it the parts are joined, one past it they are refused', () => {
    const parts = [spanOf(1), spanOf(2)];
    const size = parts[0]!.length + parts[1]!.length;
    expect(joinTracesData(parts, size)).toHaveLength(size);
    expect(meridianErrorOf(() => joinTracesData(parts, size - 1))).toMatchObject({ code: 'too-large' });
  });
});

describe('dedupeSpans', () => {
  test('repeating parts, in any mixture, changes nothing', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 3 }), fc.array(fc.nat(), { maxLength: 4 }), (parts, repeats) => {
        const once = dedupeSpans(parts);
        const repeated = repeats
          .map((pick) => parts[pick % Math.max(1, parts.length)])
          .filter((part) => part !== undefined);
        const again = dedupeSpans([...parts, ...repeated]);
        expect(again.parts).toEqual(once.parts);
        expect(again.spanCount).toBe(once.spanCount);
        expect(once.spanCount + once.duplicateCount).toBe(parts.flatMap(rowsOf).length);
        expect(new Set(rowTexts(once.parts)).size).toBe(new Set(rowTexts(parts)).size);
      }),
      { numRuns: 40 },
    );
  });

  test('leaves out what is the same span under the same resource; parts that lost nothing are not copied', () => {
    const a = spanOf(1);
    const b = spanOf(2);
    const ab = joinTracesData([a, b]);
    const c = spanOf(3);
    const result = dedupeSpans([a, ab, c, b]);
    expect(result).toMatchObject({ spanCount: 3, duplicateCount: 2, conflictCount: 0, cutCount: 0 });
    expect(result.parts).toHaveLength(3);
    expect(result.parts[0]).toBe(a);
    expect(result.parts[1]).toEqual(b);
    expect(result.parts[2]).toBe(c);
    expect(result.partIndices).toEqual([0, 1, 2]);
    expect(dedupeSpans([a, a, c]).partIndices).toEqual([0, 2]);
  });

  test('the same span id with other content or another resource stays, and is counted as a conflict', () => {
    const parts = [spanOf(1, 'client'), spanOf(1, 'server'), spanOf(1, 'client', { droppedAttributesCount: 1 })];
    expect(dedupeSpans(parts)).toMatchObject({ parts, spanCount: 3, duplicateCount: 0, conflictCount: 2 });
    const twice = dedupeSpans([...parts, ...parts]);
    expect(twice).toMatchObject({ parts, spanCount: 3, duplicateCount: 3, conflictCount: 2 });
  });

  test('the same span id in two traces is two spans', () => {
    const other = officialEncode({
      resourceSpans: [
        { scopeSpans: [{ spans: [{ traceId: Buffer.alloc(16, 2), spanId: Buffer.alloc(8, 1), name: 'a' }] }] },
      ],
    });
    expect(dedupeSpans([spanOf(1), other])).toMatchObject({ spanCount: 2, duplicateCount: 0, conflictCount: 0 });
  });

  test('the span limit: at it nothing is cut, one past it one span is', () => {
    const parts = [spanOf(1, 'a'), joinTracesData([spanOf(2, 'b'), spanOf(3, 'c')])];
    const bytesMax = 1e6;
    expect(dedupeSpans(parts, { spanCountMax: 3, bytesMax })).toMatchObject({ spanCount: 3, cutCount: 0 });
    const cut = dedupeSpans(parts, { spanCountMax: 2, bytesMax });
    expect(cut).toMatchObject({ spanCount: 2, cutCount: 1 });
    expect(names(cut.parts)).toEqual(['a', 'b']);
  });

  test('the byte limit: at it nothing is cut, one below it the last span is, and all after it', () => {
    const parts = [spanOf(1, 'a'), spanOf(2, 'b'), spanOf(3, 'c')];
    // The content of one span: two ids and a name with their tags and lengths.
    const size = 18 + 10 + 3;
    expect(dedupeSpans(parts, { spanCountMax: 9, bytesMax: 3 * size }).cutCount).toBe(0);
    const cut = dedupeSpans(parts, { spanCountMax: 9, bytesMax: 2 * size - 1 });
    expect(cut).toMatchObject({ spanCount: 1, cutCount: 2 });
    expect(names(cut.parts)).toEqual(['a']);
  });

  test('many spans with one id and different content are told apart without comparing each with each', () => {
    const spans = Array.from({ length: 2000 }, (_, i) => ({ traceId, spanId: Buffer.alloc(8, 1), name: `n${i}` }));
    const part = officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
    const result = dedupeSpans([part, Buffer.from(part)]);
    expect(result).toMatchObject({ spanCount: 2000, duplicateCount: 2000, conflictCount: 1999 });
    expect(result.parts).toEqual([part]);
  });

  test('malformed bytes throw', () => {
    expect(meridianErrorOf(() => dedupeSpans([spanOf(1), Buffer.from([0x0a, 0x09])]))?.code).toBe('malformed');
  });
});
