import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { packageRoot } from '../../../global/runtime/package-root.js';
import { decodePosition, encodePosition } from './spool-position.js';

const position = {
  generation: 7,
  next: new Map([
    [0, 12],
    [63, 2 ** 40],
  ]),
};

test('a position comes back, also before bytes of an earlier one', () => {
  fc.assert(
    fc.property(
      fc.nat(0xffff_ffff),
      fc.array(fc.tuple(fc.nat(1000), fc.nat(2 ** 48 - 1)), { maxLength: 20 }),
      (generation, pairs) => {
        const before = { generation, next: new Map(pairs) };
        expect(decodePosition(encodePosition(before))).toEqual(before);
        expect(decodePosition(Buffer.concat([encodePosition(before), Buffer.alloc(30, 1)]))).toEqual(before);
      },
    ),
  );
});

test('of version 1 is read from the golden file', () => {
  const golden = readFileSync(join(packageRoot, 'regions/collector/spool/golden/position-v1.bin'));
  expect(decodePosition(golden)).toEqual(position);
});

test('cut or changed anywhere it is none', () => {
  const good = encodePosition(position);
  for (let at = 0; at < good.length; at++) {
    expect(decodePosition(good.subarray(0, at))).toBe(null);
    const bad = Buffer.from(good);
    bad[at] = bad[at]! ^ 4;
    expect(decodePosition(bad)).toBe(null);
  }
});

test('a version that is not known is named, when it is whole', () => {
  const newer = encodePosition(position);
  newer[0] = 2;
  newer.writeUInt32LE(crc32(newer.subarray(5), crc32(newer.subarray(0, 1))), 1);
  expect(() => decodePosition(newer)).toThrowError(expect.objectContaining({ code: 'unknown-version' }));
});
