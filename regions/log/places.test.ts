import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Places } from './places.js';

describe('places of a partition’s records', () => {
  test('golden: row, bytes, time, little-endian', () => {
    const places = new Places(10);
    places.push(1, 300, 1_700_000_000_000);
    expect(places.encode().toString('hex')).toBe('010000002c010000' + '00008056febc7842');
    const back = Places.decode(10, places.encode());
    expect([back.endOffset, back.rowAt(10), back.bytesAt(10), back.timeAt(10)]).toEqual([
      11, 1, 300, 1_700_000_000_000,
    ]);
  });

  test('holes are skipped', () => {
    const places = new Places(5);
    places.pushAt(5, 1, 1, 1);
    places.pushAt(8, 2, 1, 1);
    places.pushAt(9, 3, 1, 1);
    expect([places.nextPresent(0), places.nextPresent(6), places.nextPresent(9), places.nextPresent(20)]).toEqual([
      5, 8, 9, 10,
    ]);
    places.remove(5);
    expect(places.nextPresent(0)).toBe(8);
    expect(() => places.pushAt(9, 4, 1, 1)).toThrow('broken invariant');
  });

  test('an empty partition begins at its end', () => {
    const places = new Places(7);
    expect([places.endOffset, places.nextPresent(0), places.encode().length]).toEqual([7, 7, 0]);
  });

  test('what was pushed comes back, whatever its number; truncation takes back', () => {
    const place = fc.record({ row: fc.integer({ min: 1, max: 2 ** 32 - 1 }), bytes: fc.nat(2 ** 31), ms: fc.nat() });
    fc.assert(
      fc.property(fc.array(place, { maxLength: 60 }), fc.nat(), (given, keep) => {
        const places = new Places(3);
        for (const { row, bytes, ms } of given) places.push(row, bytes, ms);
        const kept = given.slice(0, keep % (given.length + 1));
        places.truncate(3 + kept.length);
        const back = Places.decode(3, places.encode());
        expect(back.endOffset).toBe(3 + kept.length);
        for (const [i, { row, bytes, ms }] of kept.entries()) {
          expect([back.rowAt(3 + i), back.bytesAt(3 + i), back.timeAt(3 + i)]).toEqual([row, bytes, ms]);
        }
      }),
    );
  });
});
