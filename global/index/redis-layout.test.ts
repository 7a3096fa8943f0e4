import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TraceId } from '../model/ids.js';
import { anyTraceId } from './metadata.arbitrary.js';
import {
  BUCKET_BITS_MAX,
  BUCKET_BITS_MIN,
  BUCKET_FILL_MAX,
  bucketBitsFor,
  bucketNumber,
  dayOf,
  dayStartNano,
  fieldBytes,
  fieldOf,
  keysOf,
  placeId,
  shardOf,
  unplace,
} from './redis-layout.js';

describe('redis layout', () => {
  test('an id comes back from its bucket and field, whatever the bits', () => {
    const bits = fc.integer({ min: BUCKET_BITS_MIN, max: BUCKET_BITS_MAX });
    fc.assert(
      fc.property(anyTraceId, bits, fc.integer({ min: 1, max: 255 }), (traceId, b, regionNumber) => {
        const placed = placeId(traceId);
        const bucket = bucketNumber(placed, b);
        const field = fieldOf(placed, regionNumber, b);
        expect(bucket).toBeLessThan(2 ** b);
        expect(field).toHaveLength(fieldBytes(b));
        expect(unplace(field, bucket, b)).toEqual({ traceId, regionNumber });
      }),
    );
  });

  test.each([
    ['counting up', (n: number) => n.toString(16).padStart(32, '0')],
    ['of 8 bytes', (n: number) => Math.imul(n, 0x9e3779b1).toString(16).replace('-', 'f').padStart(32, '0')],
    ['with a time in front', (n: number) => (0x65000000 + n).toString(16) + '7'.repeat(24)],
    ['counting in the middle', (n: number) => `${'a'.repeat(12)}${n.toString(16).padStart(8, '0')}${'b'.repeat(12)}`],
  ])('ids %s fill buckets and shards evenly', (_, idOf) => {
    const perBucket = new Map<number, number>();
    const perShard = [0, 0, 0, 0];
    for (let n = 1; n <= 64_000; n++) {
      const placed = placeId(idOf(n) as TraceId);
      const bucket = bucketNumber(placed, 10);
      perBucket.set(bucket, (perBucket.get(bucket) ?? 0) + 1);
      perShard[shardOf(placed, 4)]!++;
    }
    // 62.5 in the mean; a Poisson distribution goes beyond 110 once in ten million buckets.
    expect(Math.max(...perBucket.values())).toBeLessThan(110);
    for (const count of perShard) expect(Math.abs(count - 16_000)).toBeLessThan(1000);
  });

  test('a field of another length is malformed', () => {
    const field = fieldOf(placeId('1'.repeat(32) as TraceId), 1, 16);
    expect(() => unplace(field.subarray(1), 0, 16)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });

  test('buckets are as many as a day’s records need', () => {
    expect(bucketBitsFor(0, 1)).toBe(BUCKET_BITS_MIN);
    expect(bucketBitsFor(BUCKET_FILL_MAX * 2 ** 10, 1)).toBe(10);
    expect(bucketBitsFor(BUCKET_FILL_MAX * 2 ** 10 + 1, 1)).toBe(11);
    expect(bucketBitsFor(BUCKET_FILL_MAX * 2 ** 10, 16)).toBe(6);
    expect(bucketBitsFor(475_000_000 * 3, 1)).toBe(24);
    expect(bucketBitsFor(1e12, 1)).toBe(BUCKET_BITS_MAX);
  });

  test('keys and days', () => {
    const keys = keysOf('meridian:', 3);
    expect(dayOf(1_763_697_600_000_000_000n)).toBe('20413');
    expect(dayOf(1_763_683_200_000_000_000n - 1n)).toBe('20412');
    expect(dayStartNano('20413')).toBe(1_763_683_200_000_000_000n);
    expect(keys.bucket('20413', 255)).toBe('meridian:m:20413:{3}:ff');
    expect([keys.meta, keys.names('odd'), keys.digests('7'), keys.watermarks]).toEqual([
      'meridian:meta:{3}',
      'meridian:n:odd:{3}',
      'meridian:d:7:{3}',
      'meridian:w:{3}',
    ]);
  });
});
