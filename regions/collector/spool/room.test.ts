import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planRoom } from './room.js';
import { NOTABLE, ROUTINE, type SpoolClass, VITAL } from './spool-class.js';

const segment = (id: number, spoolClass: SpoolClass, bytes: number, isPinned = false) => ({
  id,
  class: spoolClass,
  bytes,
  isPinned,
});
const piece = (spoolClass: SpoolClass, bytes: number) => ({ class: spoolClass, bytes });

describe('room for a record', () => {
  test('exactly what is left is room, one byte more is not', () => {
    expect(planRoom(100, 90, [], [piece(VITAL, 10)])).toEqual({ evict: [], keep: [true] });
    expect(planRoom(100, 90, [], [piece(VITAL, 11)])).toEqual({ evict: [], keep: [false] });
  });

  test('lowest class first, oldest first, and no more than needed', () => {
    const stored = [segment(1, NOTABLE, 20), segment(2, ROUTINE, 20), segment(3, ROUTINE, 20), segment(4, VITAL, 40)];
    expect(planRoom(100, 100, stored, [piece(VITAL, 20)]).evict).toEqual([2]);
    expect(planRoom(100, 100, stored, [piece(VITAL, 21)]).evict).toEqual([2, 3]);
    expect(planRoom(100, 100, stored, [piece(VITAL, 41)]).evict).toEqual([2, 3, 1]);
    expect(planRoom(100, 100, stored, [piece(VITAL, 61)])).toEqual({ evict: [], keep: [false] });
  });

  test('nothing is given up for its own class, nor for a lower one', () => {
    const stored = [segment(1, NOTABLE, 100)];
    expect(planRoom(100, 100, stored, [piece(NOTABLE, 1)])).toEqual({ evict: [], keep: [false] });
    expect(planRoom(100, 100, stored, [piece(ROUTINE, 1)])).toEqual({ evict: [], keep: [false] });
  });

  test('where the highest piece finds room and a lower does not, the lower is left out', () => {
    const stored = [segment(1, ROUTINE, 30), segment(2, NOTABLE, 70)];
    const plan = planRoom(100, 100, stored, [piece(ROUTINE, 25), piece(NOTABLE, 10), piece(VITAL, 15)]);
    expect(plan).toEqual({ evict: [1], keep: [false, true, true] });
  });

  test('what is being replayed stays', () => {
    expect(planRoom(100, 100, [segment(1, ROUTINE, 100, true)], [piece(VITAL, 1)])).toEqual({
      evict: [],
      keep: [false],
    });
  });

  test('the bound holds, and classes are given up for higher ones only', () => {
    const classes = fc.constantFrom(ROUTINE, NOTABLE, VITAL);
    const stored = fc.array(
      fc.record({ class: classes, bytes: fc.integer({ min: 1, max: 50 }), isPinned: fc.boolean() }),
      { maxLength: 12 },
    );
    const pieces = fc.uniqueArray(fc.record({ class: classes, bytes: fc.integer({ min: 1, max: 60 }) }), {
      minLength: 1,
      maxLength: 3,
      selector: (p) => p.class,
    });
    fc.assert(
      fc.property(stored, pieces, fc.nat(60), (kept, wanted, spare) => {
        const segments = kept.map((s, i) => ({ ...s, id: i + 1 }));
        const used = segments.reduce((sum, s) => sum + s.bytes, 0);
        const { evict, keep } = planRoom(used + spare, used, segments, wanted);
        const given = evict.map((id) => segments.find((s) => s.id === id)!);
        const taken = wanted.filter((_, i) => keep[i]);
        const after = used - given.reduce((sum, s) => sum + s.bytes, 0) + taken.reduce((sum, p) => sum + p.bytes, 0);
        expect(after).toBeLessThanOrEqual(used + spare);
        expect(new Set(evict).size).toBe(evict.length);
        expect(given.some((s) => s.isPinned)).toBe(false);
        const highest = Math.max(...taken.map((p) => p.class), -1);
        for (const s of given) expect(s.class).toBeLessThan(highest);
        // A refusal keeps nothing and gives nothing up; else the highest piece is among those that are kept.
        if (taken.length === 0) expect(evict).toEqual([]);
        else expect(highest).toBe(Math.max(...wanted.map((p) => p.class)));
        // No lower one stays where a higher one was given up.
        const worst = Math.max(...given.map((s) => s.class), -1);
        expect(segments.some((s) => s.class < worst && !s.isPinned && !evict.includes(s.id))).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });
});
