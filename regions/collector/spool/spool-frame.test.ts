import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../../global/runtime/package-root.js';
import { NOTABLE, ROUTINE, VITAL } from './spool-class.js';
import { encodeFrame, FRAME_BODY_BYTES_MAX, type Frame, frameEnd, readFrame, scanFrames } from './spool-frame.js';

const frame = (sequence: number, text = 'spans', over: Partial<Frame> = {}): Frame => ({
  class: NOTABLE,
  partition: 3,
  sequence,
  arrivedMs: 1_700_000_000_123,
  spanCount: 2,
  entry: { key: null, value: Buffer.from(text), headers: { meridian: Buffer.of(1, 2, 3) } },
  ...over,
});

const bytes = fc.uint8Array({ maxLength: 600 }).map((array) => Buffer.from(array));
const frames = fc.record({
  class: fc.constantFrom(ROUTINE, NOTABLE, VITAL),
  partition: fc.nat(0xffff_ffff),
  sequence: fc.nat(2 ** 48 - 1),
  arrivedMs: fc.nat(2 ** 48 - 1),
  spanCount: fc.nat(0xffff_ffff),
  entry: fc.record({
    key: fc.option(bytes),
    value: fc.oneof(
      bytes,
      fc.nat(5000).map((length) => Buffer.alloc(length, 7)),
    ),
    headers: fc.dictionary(
      fc.string({ maxLength: 10 }).filter((name) => name !== '__proto__'),
      bytes,
      { maxKeys: 3, noNullPrototype: true },
    ),
  }),
});

describe('a frame', () => {
  test('comes back equal, wherever it stands', () => {
    fc.assert(
      fc.property(frames, bytes, (before, ahead) => {
        const all = Buffer.concat([ahead, encodeFrame(before), Buffer.of(9)]);
        expect(frameEnd(all, ahead.length)).toBe(all.length - 1);
        const { entry, ...head } = readFrame(all, ahead.length);
        const { entry: wanted, ...wantedHead } = before;
        expect(head).toEqual(wantedHead);
        expect(Buffer.from(entry.value).equals(wanted.value)).toBe(true);
        expect(entry.key === null ? null : Buffer.from(entry.key)).toEqual(wanted.key);
        expect(Object.entries(entry.headers).map(([name, value]) => [name, Buffer.from(value)])).toEqual(
          Object.entries(wanted.headers),
        );
      }),
    );
  });

  test('of version 1 is read from the golden file', () => {
    const golden = readFileSync(join(packageRoot, 'regions/collector/spool/golden/frames-v1.bin'));
    const { frames: found, wholeBytes } = scanFrames(golden);
    expect(wholeBytes).toBe(golden.length);
    expect(found.map(({ at }) => readFrame(golden, at))).toEqual([
      frame(1),
      frame(2, 'ab'.repeat(500), {
        class: VITAL,
        entry: { key: Buffer.from('k'), value: Buffer.from('ab'.repeat(500)), headers: {} },
      }),
    ]);
  });

  test('cut anywhere is no frame, and those before it are found', () => {
    const all = Buffer.concat([encodeFrame(frame(1)), encodeFrame(frame(2, 'x'.repeat(400)))]);
    const first = encodeFrame(frame(1)).length;
    for (let length = 0; length < all.length; length++) {
      const { frames: found, wholeBytes } = scanFrames(all.subarray(0, length));
      expect([found.length, wholeBytes]).toEqual(length < first ? [0, 0] : [1, first]);
    }
  });

  test('with any byte changed is no frame of this version', () => {
    const good = encodeFrame(frame(1, 'x'.repeat(400)));
    for (let at = 0; at < good.length; at++) {
      for (const change of [1, 0x80]) {
        const bad = Buffer.from(good);
        bad[at] = bad[at]! ^ change;
        expect(scanFrames(bad).frames).toEqual([]);
        expect(() => readFrame(bad, 0)).toThrowError(expect.objectContaining({ code: 'malformed' }));
      }
    }
  });

  test('of a version that is not known is named, when it is whole', () => {
    const newer = encodeFrame(frame(1));
    newer[0] = 2;
    newer.writeUInt32LE(crc32(newer.subarray(9), crc32(newer.subarray(0, 5))), 5);
    expect(() => scanFrames(newer)).toThrowError(expect.objectContaining({ code: 'unknown-version' }));
  });

  test('whatever is in a file, scanning ends with frames or a typed error', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(bytes, frames.map(encodeFrame)), { maxLength: 5 }), (parts) => {
        const file = Buffer.concat(parts);
        const { frames: found, wholeBytes } = scanFrames(file);
        expect(wholeBytes).toBeLessThanOrEqual(file.length);
        for (const { at } of found) readFrame(file, at);
      }),
    );
  });

  test('with a sound checksum but impossible fields is malformed', () => {
    const resealed = (change: (frame: Buffer) => void) => {
      const bad = encodeFrame(frame(1));
      change(bad);
      bad.writeUInt32LE(crc32(bad.subarray(9), crc32(bad.subarray(0, 5))), 5);
      return bad;
    };
    const changes = [
      resealed((bad) => bad.writeUInt8(3, 9)),
      resealed((bad) => bad.writeUInt32LE(0xffff_ffff, 9 + 25)),
      resealed((bad) => bad.writeUInt32LE(0xffff_ffff, 9 + 21)),
      resealed((bad) => bad.writeUInt32LE(FRAME_BODY_BYTES_MAX + 1, 9 + 29)),
      resealed((bad) => bad.writeUInt32LE(4, 9 + 29)),
    ];
    for (const bad of changes)
      expect(() => readFrame(bad, 0)).toThrowError(expect.objectContaining({ code: 'malformed' }));
  });

  test('a body of the limit may be, one byte more is none', () => {
    const head = (bodyBytes: number) => {
      const file = Buffer.alloc(9 + bodyBytes);
      file[0] = 1;
      file.writeUInt32LE(bodyBytes, 1);
      file.writeUInt32LE(crc32(file.subarray(9), crc32(file.subarray(0, 5))), 5);
      return file;
    };
    expect(frameEnd(head(FRAME_BODY_BYTES_MAX), 0)).toBe(9 + FRAME_BODY_BYTES_MAX);
    expect(frameEnd(head(FRAME_BODY_BYTES_MAX + 1), 0)).toBe(null);
  });
});
