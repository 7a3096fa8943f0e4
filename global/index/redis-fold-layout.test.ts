import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuseBytes } from './fuse-filter.js';
import {
  allocatedBytes,
  bucketsOfPiece,
  type FoldView,
  foldField,
  overlappingPieces,
  PIECE_KEYS_MAX,
  PIECES_MAX,
  parseFold,
  pieceOf,
  planFold,
  sameFolds,
} from './redis-fold-layout.js';

const mixed = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0, 0xffff_ffff, 0x8000_0000));
const pieceCount = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: PIECES_MAX }));

describe('folds in Redis', () => {
  test('every id is in one piece, and in one of the piece’s buckets', () => {
    fc.assert(
      fc.property(mixed, pieceCount, fc.integer({ min: 4, max: 24 }), (id, pieces, bits) => {
        const piece = pieceOf(id, pieces);
        expect(piece).toBeGreaterThanOrEqual(0);
        expect(piece).toBeLessThan(pieces);
        const { first, last } = bucketsOfPiece(piece, pieces, bits);
        const bucket = id >>> (32 - bits);
        expect(first <= bucket && bucket <= last).toBe(true);
        expect(last).toBeLessThan(2 ** bits);
      }),
      { numRuns: 3000, seed: 1 },
    );
  });

  test('the pieces of another fold that an id of this one may be in are named', () => {
    fc.assert(
      fc.property(mixed, fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 300 }), (id, pieces, others) => {
        expect(overlappingPieces(pieceOf(id, pieces), pieces, others)).toContain(pieceOf(id, others));
      }),
      { numRuns: 3000, seed: 2 },
    );
  });

  test('what is planned has room for the records, in pieces of bounded size, and from 20,000 on takes at most 1.26 bytes each', () => {
    for (const records of [1, 2, 10, 999, 10_000, 20_000, 65_536, 65_537, 123_456, 1e6, 3_333_333, 1.4e9]) {
      const { pieces, shape, keysMax } = planFold(records);
      expect(pieces * keysMax).toBeGreaterThanOrEqual(records);
      expect(records / pieces).toBeLessThanOrEqual(PIECE_KEYS_MAX);
      expect(pieces).toBeLessThanOrEqual(PIECES_MAX);
      if (records < 20_000) continue;
      expect((pieces * (allocatedBytes(fuseBytes(shape)) + 130)) / records).toBeLessThan(1.26);
    }
  });

  test('strings take what jemalloc has', () => {
    expect([10, 44, 100, 255, 1000, 16_378, 16_379, 65_530, 65_531, 81_910, 81_911].map(allocatedBytes)).toEqual([
      16, 48, 112, 320, 1024, 16_384, 20_480, 65_536, 81_920, 81_920, 98_304,
    ]);
  });

  test('a fold is read back from its field; what is none is refused', () => {
    const fold: FoldView = {
      day: '20412',
      number: 3,
      ...planFold(5000),
      next: 1,
      records: 4999,
      endUnixNanoMax: 0xffff_ffff_ffff_fff0n,
    };
    const [field, value] = foldField(fold);
    expect(parseFold(field, value)).toEqual(fold);
    for (const [f, v] of [
      [`${field}x`, value],
      ['f20412', value],
      [field, `${value} 1`],
      [field, value.replace(' ', ' -')],
      [field, ''],
    ] as const) {
      expect(() => parseFold(f, v)).toThrowError(expect.objectContaining({ code: 'malformed' }));
    }
    expect(sameFolds([fold], [{ ...fold, next: 2, records: 5000, endUnixNanoMax: 9n }])).toBe(true);
    expect(sameFolds([fold], [{ ...fold, pieces: fold.pieces + 1 }])).toBe(false);
    expect(sameFolds([fold], [])).toBe(false);
    expect(sameFolds([fold], [{ ...fold, number: 4 }])).toBe(false);
  });
});
