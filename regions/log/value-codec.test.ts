import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contentOf, storedForm } from './value-codec.js';

describe('value codec', () => {
  test('every value comes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat({ max: 40 }), (bytes, repeats) => {
        const value = Buffer.concat(new Array<Uint8Array>(repeats + 1).fill(bytes));
        expect(Buffer.from(contentOf(storedForm(value), value.length)).equals(value)).toBe(true);
      }),
    );
  });

  test('what repeats gets shorter, what does not stays as it is', () => {
    expect(storedForm(Buffer.alloc(100_000, 'span')).length).toBeLessThan(1000);
    const noise = randomBytes(100_000);
    expect(storedForm(noise)).toBe(noise);
    const short = Buffer.alloc(255);
    expect(storedForm(short)).toBe(short);
    expect(storedForm(Buffer.alloc(256)).length).toBeLessThan(256);
  });

  test('a view into a larger buffer is taken for what it shows', () => {
    const all = Buffer.alloc(3000, 'ab');
    const view = new Uint8Array(all.buffer, all.byteOffset + 100, 1000);
    expect(Buffer.from(contentOf(storedForm(view), 1000)).equals(all.subarray(100, 1100))).toBe(true);
  });

  test('a damaged block is malformed', () => {
    const block = storedForm(Buffer.alloc(1000, 'x'));
    for (const broken of [
      block.subarray(0, 3),
      block.subarray(0, -2),
      Buffer.concat([Buffer.from([9, 9, 9, 9]), block]),
    ]) {
      expect(() => contentOf(broken, 1000)).toThrow(expect.objectContaining({ code: 'malformed' }));
    }
    expect(() => contentOf(block, 1001)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
