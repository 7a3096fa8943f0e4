import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LEAF_BYTES, packValue } from './leaf-packing.js';

describe('cutting values into rows', () => {
  test('a value that fits stays whole', () => {
    expect(packValue(1000, 20, LEAF_BYTES)).toEqual({ chunks: [1000], freeBytes: LEAF_BYTES - 1076 });
    expect(packValue(0, 0, 0).chunks).toEqual([0]);
  });

  test('a large value fills what is left of a leaf first', () => {
    const { chunks } = packValue(40_000, 0, 10_000);
    expect(chunks).toEqual([10_000 - 56, 40_000 - (10_000 - 56)]);
  });

  test('little free space is left alone', () => {
    expect(packValue(10_000, 0, 4000).chunks).toEqual([10_000]);
  });

  test('all bytes are in some row, and no row but one beside large headers is larger than a leaf', () => {
    fc.assert(
      fc.property(fc.nat(20_000_000), fc.nat(70_000), fc.nat(LEAF_BYTES), (value, beside, free) => {
        const { chunks, freeBytes } = packValue(value, beside, free);
        expect(chunks.reduce((a, b) => a + b, 0)).toBe(value);
        expect(Math.max(...chunks)).toBeLessThanOrEqual(LEAF_BYTES);
        expect(value === 0 || chunks.every((c) => c > 0)).toBe(true);
        expect(freeBytes).toBeGreaterThanOrEqual(0);
        expect(freeBytes).toBeLessThanOrEqual(LEAF_BYTES);
      }),
    );
  });

  test('records of 40 kB leave less than a tenth of the pages empty', () => {
    let free = 0;
    let leaves = 0;
    const records = 200;
    for (let i = 0; i < records; i++) {
      const { chunks, freeBytes } = packValue(40_000, 24, free);
      // A row goes to a new leaf unless it is the first and fits.
      leaves += chunks.length - (chunks[0]! + 80 <= free ? 1 : 0);
      free = freeBytes;
    }
    expect(leaves * LEAF_BYTES).toBeLessThan(records * 40_000 * 1.1);
  });
});
