import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { decompressFrameSync } from 'lz4-napi';
import { describe, expect, test } from 'vitest';
import { LZ4_BLOCK_BYTES_MAX, Lz4Frame } from './kafka-lz4-frame.js';

const NOISE = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(300_000));

function frameOf(...pieces: readonly Buffer[]): Buffer {
  const frame = new Lz4Frame();
  for (const piece of pieces) frame.write(piece);
  return Buffer.concat(frame.end());
}

/** Content length and whether it is compressed, of each block. */
function blocksOf(frame: Buffer): { stored: boolean; bytes: number }[] {
  const blocks = [];
  let at = 7;
  for (let size = frame.readUInt32LE(at); size !== 0; size = frame.readUInt32LE(at)) {
    const bytes = size & 0x7fff_ffff;
    blocks.push({ stored: size >>> 31 === 1, bytes });
    at += 4 + bytes;
  }
  expect(at + 4).toBe(frame.length);
  return blocks;
}

describe('an LZ4 frame', () => {
  test('golden: start, a stored block, a compressed one, end', () => {
    const frame = frameOf(Buffer.from('abc'), Buffer.alloc(200, 'x'));
    expect(frame.toString('hex')).toBe(
      '04224d18604082' + '03000080616263' + '0c000000' + '1f780100ae60787878787878' + '00000000',
    );
  });

  test('of nothing is a start and an end', () => {
    expect(frameOf().length).toBe(11);
    expect(frameOf(Buffer.alloc(0)).length).toBe(11);
    expect(decompressFrameSync(frameOf())).toHaveLength(0);
  });

  test.each([
    [LZ4_BLOCK_BYTES_MAX, [LZ4_BLOCK_BYTES_MAX]],
    [LZ4_BLOCK_BYTES_MAX + 1, [LZ4_BLOCK_BYTES_MAX / 2 + 1, LZ4_BLOCK_BYTES_MAX / 2]],
    [150_000, [50_000, 50_000, 50_000]],
  ])('%i bytes that do not shrink are stored in blocks of %j', (bytes, expected) => {
    const frame = frameOf(NOISE.subarray(0, bytes));
    expect(blocksOf(frame)).toEqual(expected.map((size) => ({ stored: true, bytes: size })));
    expect(decompressFrameSync(frame)).toEqual(NOISE.subarray(0, bytes));
  });

  test('gives back what was written, however it was cut', () => {
    const text = fc.string({ maxLength: 50 }).map((unit) => Buffer.from(unit.repeat(2_000)));
    const noise = fc.nat(100_000).map((bytes) => NOISE.subarray(0, bytes));
    fc.assert(
      fc.property(fc.array(fc.oneof(text, noise), { maxLength: 5 }), (pieces) => {
        expect(decompressFrameSync(frameOf(...pieces)).equals(Buffer.concat(pieces))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});
