import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tracePartition } from './partition.js';

/**
 * Kafka's murmur2 for any length, written out from org.apache.kafka.common.utils.Utils for comparison, with 64-bit integers so that
 * it shares no arithmetic with the one under test.
 */
function murmur2(bytes: Uint8Array): number {
  const mask = 0xffff_ffffn;
  const m = 0x5bd1e995n;
  let h = 0x9747b28cn ^ BigInt(bytes.length);
  const whole = bytes.length - (bytes.length % 4);
  for (let i = 0; i < whole; i += 4) {
    let k = BigInt(new DataView(bytes.buffer, bytes.byteOffset).getUint32(i, true));
    k = (k * m) & mask;
    k ^= k >> 24n;
    k = (k * m) & mask;
    h = ((h * m) & mask) ^ k;
  }
  for (let i = bytes.length - 1; i >= whole; i--) h ^= BigInt(bytes[i]!) << BigInt(8 * (i - whole));
  if (bytes.length > whole) h = (h * m) & mask;
  h ^= h >> 13n;
  h = (h * m) & mask;
  h ^= h >> 15n;
  return Number(BigInt.asIntN(32, h));
}

describe('the partition of a trace', () => {
  /** From Kafka's own UtilsTest.testMurmur2. */
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('the comparison gives what Kafka gives for %s', (text, expected) => {
    expect(murmur2(Buffer.from(text))).toBe(expected);
  });

  test('agrees with Kafka’s default partitioner on every 16 bytes, wherever they lie', () => {
    const id = fc.uint8Array({ minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(id, fc.nat(9), fc.integer({ min: 1, max: 1024 }), (bytes, at, partitions) => {
        const buffer = new Uint8Array(at + 20).fill(0xaa);
        buffer.set(bytes, at);
        expect(tracePartition(buffer, at, partitions)).toBe((murmur2(bytes) & 0x7fff_ffff) % partitions);
      }),
      { numRuns: 1000 },
    );
  });

  test('golden', () => {
    const id = Buffer.from('0af7651916cd43dd8448eb211c80319c', 'hex');
    expect(murmur2(id)).toBe(GOLDEN_HASH);
    expect([1, 64, 100].map((partitions) => tracePartition(id, 0, partitions))).toEqual(
      [1, 64, 100].map((partitions) => (GOLDEN_HASH & 0x7fff_ffff) % partitions),
    );
  });

  test('ids spread evenly', () => {
    const partitions = 16;
    const counts = new Array<number>(partitions).fill(0);
    const id = Buffer.alloc(16);
    for (let i = 0; i < 16_000; i++) {
      id.writeUInt32BE(i, 12);
      counts[tracePartition(id, 0, partitions)]!++;
    }
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1150);
  });
});

const GOLDEN_HASH = 1_927_916_612;
