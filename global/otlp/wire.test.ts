import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { meridianErrorOf } from './testing/official-otlp.js';
import {
  cursor,
  encodeBytesField,
  fixedEnd,
  isZero,
  readLengthEnd,
  readTag,
  readVarint,
  skipValue,
  uint32At,
  varintSize,
  writeVarint,
} from './wire.js';

function varintOf(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

describe('varints', () => {
  test('every 64-bit value reads back as its halves, and the position is after it', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        const bytes = Buffer.concat([Buffer.from([1]), varintOf(value), Buffer.from([1])]);
        expect(readVarint(bytes, 1, bytes.length)).toBe(bytes.length - 1);
        expect((BigInt(cursor.high) << 32n) | BigInt(cursor.low)).toBe(value);
      }),
    );
  });

  test('ten bytes are read, eleven are malformed', () => {
    const ten = Buffer.from([...new Array<number>(9).fill(0x80), 0x01]);
    expect(readVarint(ten, 0, 10)).toBe(10);
    const eleven = Buffer.from([...new Array<number>(10).fill(0x80), 0x01]);
    expect(meridianErrorOf(() => readVarint(eleven, 0, 11))).toMatchObject({ code: 'malformed', retry: 'never' });
  });

  test('one that ends with its message is malformed, and the message names the byte', () => {
    const error = meridianErrorOf(() => readVarint(Buffer.from([0, 0, 0x80, 0x01]), 2, 3));
    expect(error?.message).toBe('reading OTLP protobuf: a truncated varint at byte 2');
  });

  test('written ones read back, in the size that was foretold', () => {
    fc.assert(
      fc.property(fc.nat({ max: 0xffff_ffff }), (value) => {
        const bytes = Buffer.alloc(5);
        const end = writeVarint(bytes, 0, value);
        expect(end).toBe(varintSize(value));
        expect(readVarint(bytes, 0, end)).toBe(end);
        expect(cursor.low).toBe(value);
      }),
    );
  });
});

describe('lengths', () => {
  test('content that ends with its message is read, one byte more is malformed', () => {
    expect(readLengthEnd(Buffer.from([2, 7, 7]), 0, 3)).toBe(3);
    expect(cursor.at).toBe(1);
    expect(meridianErrorOf(() => readLengthEnd(Buffer.from([3, 7, 7, 7]), 0, 3))?.code).toBe('malformed');
  });

  test('lengths of two bytes, of more than 32 bits and negative ones', () => {
    const long = Buffer.concat([varintOf(300n), Buffer.alloc(300)]);
    expect(readLengthEnd(long, 0, long.length)).toBe(302);
    expect(meridianErrorOf(() => readLengthEnd(long, 0, 301))?.code).toBe('malformed');
    for (const value of [2n ** 32n, 2n ** 31n, -1n, 2n ** 53n]) {
      const bytes = Buffer.concat([varintOf(value), Buffer.alloc(20)]);
      expect(meridianErrorOf(() => readLengthEnd(bytes, 0, bytes.length))?.message).toContain('runs past the end');
    }
  });
});

describe('tags and values', () => {
  test('field number 0, tags beyond 32 bits and groups are refused', () => {
    for (const bytes of [[0x00], [0x07], [0x80, 0x00], [0xff, 0xff, 0xff, 0xff, 0x1f]]) {
      expect(meridianErrorOf(() => readTag(Buffer.from(bytes), 0, bytes.length))?.code).toBe('malformed');
    }
    for (const wireType of [3, 4, 6, 7]) {
      const error = meridianErrorOf(() => skipValue(Buffer.alloc(9), (5 << 3) | wireType, 1, 9));
      expect(error?.message).toContain(`wire type ${wireType} (field 5)`);
    }
  });

  test('the largest field number is read', () => {
    const tag = ((2 ** 29 - 1) * 8 + 2) >>> 0;
    const bytes = varintOf(BigInt(tag));
    expect(readTag(bytes, 0, bytes.length)).toBe(tag);
    expect(cursor.at).toBe(5);
  });

  test('fixed values end with their message or are malformed', () => {
    expect(skipValue(Buffer.alloc(8), 9, 0, 8)).toBe(8);
    expect(skipValue(Buffer.alloc(4), 13, 0, 4)).toBe(4);
    expect(meridianErrorOf(() => skipValue(Buffer.alloc(8), 9, 0, 7))?.message).toContain('fixed64');
    expect(meridianErrorOf(() => fixedEnd(1, 4, 4))?.message).toContain('fixed32');
  });

  test('helpers', () => {
    expect(uint32At(Buffer.from([0, 1, 2, 3, 0xff]), 1)).toBe(0xff030201);
    expect(isZero(Buffer.from([1, 0, 0, 1]), 1, 3)).toBe(true);
    expect(isZero(Buffer.from([1, 0, 0, 1]), 1, 4)).toBe(false);
    expect(encodeBytesField(100, Buffer.from('x'))).toEqual(Buffer.from([0xa2, 0x06, 1, 0x78]));
  });
});
