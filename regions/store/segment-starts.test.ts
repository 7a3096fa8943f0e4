import fc from 'fast-check';
import { expect, test } from 'vitest';
import { maxNano, minNano } from '../../global/model/time.js';
import { encodeStarts, extentLevel, latestStartUpTo } from './segment-starts.js';

const time = fc.oneof(
  fc.bigInt(0n, 1000n),
  fc.bigInt(0n, (1n << 64n) - 1n),
  fc.bigInt(1_767_225_600_000_000_000n, 1_767_225_660_000_000_000n),
);

test('bounds the latest start at or below a limit from above, and not by much', () => {
  fc.assert(
    fc.property(fc.array(time, { minLength: 1, maxLength: 100 }), time, (starts, anyLimit) => {
      const min = starts.reduce(minNano);
      const max = starts.reduce(maxNano);
      const limit = maxNano(anyLimit, min);
      const latest = starts.filter((start) => start <= limit).reduce(maxNano);
      const bound = latestStartUpTo(limit, encodeStarts(starts, min, max), min, max);
      expect(bound >= latest).toBe(true);
      expect(bound <= limit).toBe(true);
      // Starts that lie less than a step above the limit cannot be told from it.
      const step = (max - min) / 65_535n + 1n;
      const near = starts.some((start) => start > limit && start - limit < step);
      expect(near || bound - latest < step).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

test('a level is the least power of two above the extent', () => {
  expect([0n, 1n, 2n, 3n, 4n, 255n, 256n].map((extent) => extentLevel(5n, 5n + extent))).toEqual([0, 1, 2, 2, 3, 8, 9]);
  expect(extentLevel(0n, (1n << 64n) - 1n)).toBe(64);
});
