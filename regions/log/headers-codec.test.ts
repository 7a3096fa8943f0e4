import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeHeaders, encodeHeaders, headersBytes } from './headers-codec.js';

const headers = fc.dictionary(fc.string({ unit: 'binary', maxLength: 20 }), fc.uint8Array({ maxLength: 40 }));

describe('headers of a record', () => {
  test('golden: version, then name and value with their lengths', () => {
    const bytes = encodeHeaders({ meridian: Uint8Array.of(1, 2, 3), é: Uint8Array.of() });
    expect(bytes.toString('hex')).toBe(
      '01' + '0800' + '6d6572696469616e' + '03000000' + '010203' + '0200' + 'c3a9' + '00000000',
    );
    expect(decodeHeaders(bytes)).toEqual({ meridian: Buffer.from([1, 2, 3]), é: Buffer.alloc(0) });
  });

  test('none are no bytes', () => {
    expect(encodeHeaders({})).toHaveLength(0);
    expect(decodeHeaders(Buffer.alloc(0))).toEqual({});
  });

  test('an unknown version is named', () => {
    expect(() => decodeHeaders(Buffer.from('02', 'hex'))).toThrow(expect.objectContaining({ code: 'unknown-version' }));
  });

  test('what was encoded comes back, and its size was known', () => {
    fc.assert(
      fc.property(headers, (given) => {
        const bytes = encodeHeaders(given);
        expect(bytes.length).toBe(headersBytes(given));
        const back = decodeHeaders(bytes);
        expect(Object.keys(back).sort()).toEqual(Object.keys(given).sort());
        for (const name of Object.keys(given)) expect(Buffer.compare(back[name]!, given[name]!)).toBe(0);
      }),
    );
  });

  test('a header may be called __proto__', () => {
    const given = Object.fromEntries([['__proto__', Uint8Array.of(7)]]);
    expect(Object.keys(decodeHeaders(encodeHeaders(given)))).toEqual(['__proto__']);
  });

  test('cut or garbled bytes are malformed, nothing else', () => {
    fc.assert(
      fc.property(headers, fc.nat(), fc.uint8Array({ maxLength: 8 }), (given, cut, noise) => {
        const bytes = encodeHeaders(given);
        const garbled = Buffer.concat([bytes.subarray(0, cut % (bytes.length + 1)), noise]);
        try {
          decodeHeaders(garbled);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(malformed|unknown-version)$/) });
        }
      }),
    );
  });
});
