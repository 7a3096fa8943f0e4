import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { splitByTrace } from './split.js';
import { meridianErrorOf, officialEncode, tracesDataArbitrary } from './testing/official-otlp.js';
import { rowsOf, rowText } from './testing/rows.js';
import { mangled } from './testing/wire-mangling.js';

const traceIds = [1, 2, 3].map((byte) => Buffer.alloc(16, byte));

describe('splitByTrace', () => {
  test('gives each trace its spans with their resources and scopes, in order of appearance', () => {
    fc.assert(
      fc.property(tracesDataArbitrary, fc.nat(), fc.infiniteStream(fc.nat({ max: 2 })), (data, seed, picks) => {
        for (const { scopeSpans } of data.resourceSpans) {
          for (const { spans } of scopeSpans) for (const span of spans) span.traceId = traceIds[picks.next().value]!;
        }
        const batch = mangled(officialEncode(data), seed);
        const rows = rowsOf(batch);
        const order = [...new Set(rows.map(({ span }) => Buffer.from(span.traceId, 'base64').toString('hex')))];
        const fragments = splitByTrace(batch);
        expect(fragments.map(({ traceId }) => traceId as string)).toEqual(order);
        for (const { traceId, bytes, spanCount } of fragments) {
          const expected = rows.filter(({ span }) => Buffer.from(span.traceId, 'base64').toString('hex') === traceId);
          expect(rowsOf(bytes).map(rowText)).toEqual(expected.map(rowText));
          expect(spanCount).toBe(expected.length);
          expect(bytes.buffer.byteLength).toBe(bytes.length);
          expect(bytes.buffer).not.toBe(batch.buffer);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('spans without valid ids are left out, and do not keep their neighbours from being copied', () => {
    const spanId = Buffer.alloc(8, 9);
    const spans = [
      { spanId, name: 'bad' },
      { traceId: traceIds[0], spanId, name: 'good' },
    ];
    const fragments = splitByTrace(officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
    expect(fragments).toMatchObject([{ traceId: '01'.repeat(16), spanCount: 1 }]);
    expect(rowsOf(fragments[0]!.bytes).map(({ span }) => span.name)).toEqual(['good']);
  });

  test('a batch with a trace per span, and one of nothing', () => {
    const spans = Array.from({ length: 3000 }, (_, i) => {
      const traceId = Buffer.alloc(16, 5);
      traceId.writeUInt32LE(i, 4);
      return { traceId, spanId: Buffer.alloc(8, 1) };
    });
    const fragments = splitByTrace(officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
    expect(fragments).toHaveLength(3000);
    expect(fragments.every(({ spanCount }) => spanCount === 1)).toBe(true);
    expect(fragments.map(({ traceId }) => traceId)).toEqual(spans.map(({ traceId }) => traceId.toString('hex')));
    expect(splitByTrace(Buffer.alloc(0))).toEqual([]);
  });

  test('malformed bytes throw, and leave nothing behind for the next split', () => {
    const spans = [{ traceId: traceIds[0], spanId: Buffer.alloc(8, 1) }];
    const good = officialEncode({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
    const bad = Buffer.concat([good, Buffer.from([0x0a, 0x05])]);
    expect(meridianErrorOf(() => splitByTrace(bad))?.code).toBe('malformed');
    expect(splitByTrace(good)).toMatchObject([{ spanCount: 1, bytes: good }]);
  });
});
