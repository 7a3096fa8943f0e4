import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crc32c } from './kafka-crc32c.js';

/** A bit at a time. */
function slowly(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

describe('CRC-32C', () => {
  /** RFC 3720, B.4, and the check value of the CRC catalogue. */
  test.each([
    ['', 0],
    [Buffer.from('123456789').toString('hex'), 0xe3069283],
    ['00'.repeat(32), 0x8a9136aa],
    ['ff'.repeat(32), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('hex'), 0x46dd794e],
  ])('of %s', (hex, expected) => {
    expect(crc32c([Buffer.from(hex, 'hex')])).toBe(expected);
  });

  test('does not depend on how the bytes are cut, and is what the polynomial says', () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(chunks, (given) => {
        expect(crc32c(given)).toBe(slowly(Buffer.concat(given)));
      }),
    );
  });
});
