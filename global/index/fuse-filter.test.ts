import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildFuseFilter,
  FUSE_ATTEMPTS_MAX,
  FUSE_HEADER_BYTES,
  FUSE_KEYS_MAX,
  FuseFilter,
  type FuseKeys,
  fuseBytes,
  fusePlaces,
  fuseShape,
} from './fuse-filter.js';

/** Numbers that look random, the same in each run. */
function randomWords(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let h = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
    return (h ^ (h >>> 15)) >>> 0;
  };
}

function someKeys(count: number, seed = count): FuseKeys {
  const word = randomWords(seed);
  const high = new Uint32Array(count);
  const low = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    high[i] = word();
    low[i] = word();
  }
  return { high, low, count };
}

function keysOf(pairs: readonly (readonly [number, number])[]): FuseKeys {
  return {
    high: Uint32Array.from(pairs, ([high]) => high),
    low: Uint32Array.from(pairs, ([, low]) => low),
    count: pairs.length,
  };
}

function misses(filter: FuseFilter, { high, low, count }: FuseKeys): number {
  let missed = 0;
  for (let i = 0; i < count; i++) if (!filter.mayHave(high[i]!, low[i]!)) missed++;
  return missed;
}

const word32 = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0, 1, 0xffff_ffff, 0x8000_0000));

describe('fuse filter', () => {
  test('has every key that it was built of, whatever they are and however often they come', () => {
    const someSets = fc.oneof(
      fc.array(fc.tuple(word32, word32), { minLength: 1, maxLength: 400 }),
      // Neighbours and repeats.
      fc.array(fc.tuple(fc.constant(0), fc.integer({ min: 0, max: 300 })), { minLength: 1, maxLength: 400 }),
    );
    fc.assert(
      fc.property(someSets, (pairs) => {
        const keys = keysOf(pairs);
        const bytes = buildFuseFilter(keys)!;
        expect(misses(new FuseFilter(bytes), keys)).toBe(0);
        expect(bytes.length).toBe(fuseBytes(fuseShape(pairs.length)));
      }),
      { numRuns: 400, seed: 1 },
    );
  });

  test('is wrong about one key in 256 that it does not have, whatever its size', () => {
    for (const count of [1, 7, 100, 5_000, 70_000]) {
      const keys = someKeys(count);
      const filter = new FuseFilter(buildFuseFilter(keys)!);
      expect(misses(filter, keys)).toBe(0);
      const others = someKeys(50_000, 99);
      const wrong = 50_000 - misses(filter, others);
      // 195 are expected, with a deviation of 14.
      expect(wrong).toBeGreaterThan(125);
      expect(wrong).toBeLessThan(265);
    }
  });

  test('of ten thousand keys and more it takes less than 1.24 bytes a key, of 65,536 less than 1.16, with the first seed', () => {
    expect(fuseBytes(fuseShape(10_000)) / 10_000).toBeLessThan(1.24);
    expect(fuseBytes(fuseShape(65_536)) / 65_536).toBeLessThan(1.16);
    const seeds = Array.from({ length: 20 }, (_, i) => buildFuseFilter(someKeys(20_000, i))![1]);
    expect(seeds).toEqual(seeds.map(() => 0));
  });

  test('a shape for more keys does as well', () => {
    const keys = someKeys(3_000);
    const filter = buildFuseFilter(keys, fuseShape(9_000))!;
    expect(filter.length).toBe(fuseBytes(fuseShape(9_000)));
    expect(misses(new FuseFilter(filter), keys)).toBe(0);
  });

  test('gives up where the shape is too small for the keys', () => {
    expect(buildFuseFilter(someKeys(2_000), fuseShape(1_000))).toBeNull();
  });

  test(`takes ${FUSE_KEYS_MAX} keys by its limit, refuses one more`, () => {
    const tooMany = { high: new Uint32Array(0), low: new Uint32Array(0), count: FUSE_KEYS_MAX + 1 };
    expect(() => buildFuseFilter(tooMany)).toThrowError(expect.objectContaining({ code: 'too-large' }));
    // All the same key, so that it is soon built.
    const most = { high: new Uint32Array(FUSE_KEYS_MAX), low: new Uint32Array(FUSE_KEYS_MAX), count: FUSE_KEYS_MAX };
    const filter = new FuseFilter(buildFuseFilter(most, fuseShape(10))!);
    expect(filter.mayHave(0, 0)).toBe(true);
  });

  test('places lie in four segments one behind the other, within the bytes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: FUSE_KEYS_MAX }),
        fc.nat(FUSE_ATTEMPTS_MAX - 1),
        word32,
        word32,
        (count, seed, high, low) => {
          const shape = fuseShape(count);
          const { offsets, fingerprint } = fusePlaces(shape, seed, high, low);
          const segments = offsets.map((offset) => (offset - FUSE_HEADER_BYTES) >> shape.segmentBits);
          expect(segments).toEqual([0, 1, 2, 3].map((i) => segments[0]! + i));
          expect(segments[0]).toBeLessThan(shape.segments);
          expect(Math.max(...offsets)).toBeLessThan(fuseBytes(shape));
          expect(fingerprint).toBeLessThan(256);
        },
      ),
      { numRuns: 500, seed: 2 },
    );
  });

  test('the bytes are those of version 1', () => {
    const golden = readFileSync(join(import.meta.dirname, 'golden', 'fuse-filter-v1.hex'), 'utf8').trim();
    const keys = someKeys(40, 7);
    expect(buildFuseFilter(keys)!.toString('hex')).toBe(golden);
    expect(misses(new FuseFilter(Buffer.from(golden, 'hex')), keys)).toBe(0);
  });

  test('bytes that lie about themselves are refused', () => {
    const good = buildFuseFilter(someKeys(50))!;
    const changed = (at: number, value: number) => {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      return bytes;
    };
    const codeOf = (bytes: Buffer) => {
      try {
        new FuseFilter(bytes);
        return 'none';
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(codeOf(good)).toBe('none');
    for (const version of [0, 2, 255]) expect(codeOf(changed(0, version))).toBe('unknown-version');
    const lies = [
      Buffer.alloc(0),
      good.subarray(0, FUSE_HEADER_BYTES - 1),
      good.subarray(0, FUSE_HEADER_BYTES),
      good.subarray(0, good.length - 1),
      Buffer.concat([good, Buffer.alloc(1)]),
      changed(1, FUSE_ATTEMPTS_MAX),
      changed(2, 1),
      changed(2, 17),
      changed(2, good[2]! + 1),
      changed(3, 1),
      changed(4, 255),
      changed(7, good[7]! + 1),
      Buffer.from(good).fill(0, 4, 8),
    ];
    expect(lies.map(codeOf)).toEqual(lies.map(() => 'malformed'));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(['none', 'malformed', 'unknown-version']).toContain(codeOf(Buffer.from(bytes)));
      }),
      { numRuns: 300, seed: 3 },
    );
  });
});
