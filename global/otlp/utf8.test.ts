import { isUtf8 as nodeIsUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AsciiScan, isUtf8 } from './utf8.js';

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 12 }),
  fc.array(fc.constantFrom(0x41, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xf5, 0xc1), {
    maxLength: 8,
  }),
  fc.string({ unit: 'binary', maxLength: 6 }).map((text) => Buffer.from(text)),
);

describe('isUtf8', () => {
  test("agrees with Node's", () => {
    fc.assert(
      fc.property(bytes, (input) => {
        const buffer = Buffer.from([0xff, ...input, 0xff]);
        expect(isUtf8(buffer, 1, buffer.length - 1)).toBe(nodeIsUtf8(Buffer.from(input)));
      }),
      { numRuns: 3000 },
    );
  });

  test('a sequence that goes on past the range is not one', () => {
    expect(isUtf8(Buffer.from('€'), 0, 2)).toBe(false);
    expect(isUtf8(Buffer.from('€'), 0, 3)).toBe(true);
  });
});

describe('AsciiScan', () => {
  test('tells of any ranges in any order whether they are ASCII, wherever the buffer stands in memory', () => {
    const sparse = fc.array(
      fc.oneof({ weight: 12, arbitrary: fc.nat({ max: 127 }) }, fc.integer({ min: 128, max: 255 })),
      {
        maxLength: 90,
      },
    );
    const ranges = fc.array(fc.tuple(fc.nat({ max: 90 }), fc.nat({ max: 90 })), { maxLength: 12 });
    fc.assert(
      fc.property(sparse, ranges, fc.nat({ max: 7 }), fc.boolean(), (input, pairs, shift, ascending) => {
        const memory = Buffer.alloc(input.length + shift + 5, 0xff);
        memory.set(input, shift);
        const buffer = memory.subarray(shift, shift + input.length);
        const scan = new AsciiScan(buffer);
        const sorted = ascending ? [...pairs].sort((a, b) => Math.min(...a) - Math.min(...b)) : pairs;
        for (const [a, b] of sorted) {
          const from = Math.min(a, b, input.length);
          const to = Math.min(Math.max(a, b), input.length);
          expect(scan.isAscii(from, to)).toBe(input.slice(from, to).every((byte) => byte < 128));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
