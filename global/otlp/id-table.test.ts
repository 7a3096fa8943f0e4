import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IdTable } from './id-table.js';

describe('IdTable', () => {
  test('numbers ids like a Map does, through growth and after clearing', () => {
    const ids = fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 3 })), { maxLength: 1500 });
    const table = new IdTable(8);
    fc.assert(
      fc.property(ids, (pairs) => {
        table.clear();
        const model = new Map<string, number>();
        for (const [a, b] of pairs) {
          const id = Buffer.alloc(10);
          id.writeUInt32LE(a, 1);
          id.writeUInt32BE(b, 5);
          const key = id.toString('hex');
          const expected = model.get(key) ?? model.size;
          model.set(key, expected);
          expect(table.add(id, 1, expected)).toBe(expected);
          expect(table.add(id, 1, 99_999)).toBe(expected);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('ids chosen to collide go to the overflow, and are still found', () => {
    const table = new IdTable(16);
    const buckets = new Map<number, Buffer[]>();
    // All ids whose place in the smallest table is one and the same: found by looking for full neighbourhoods.
    const ids: Buffer[] = [];
    for (let i = 0; i < 60_000; i++) {
      const id = Buffer.alloc(16);
      id.writeUInt32LE(i, 0);
      id.writeUInt32LE(1, 12);
      ids.push(id);
    }
    const place = (id: Buffer): number => placeOf(id, 256);
    for (const id of ids) buckets.set(place(id), [...(buckets.get(place(id)) ?? []), id]);
    const colliding = [...buckets.values()].sort((a, b) => b.length - a.length)[0]!.slice(0, 100);
    expect(colliding).toHaveLength(100);
    for (const [i, id] of colliding.entries()) expect(table.add(id, 0, i)).toBe(i);
    expect(table.overflowSize).toBeGreaterThan(0);
    for (const [i, id] of colliding.entries()) expect(table.add(id, 0, 7777)).toBe(i);
    // Growing makes room near them; what is in the overflow must not get a second number.
    for (const [i, id] of ids.slice(0, 2000).entries()) table.add(id, 0, 1000 + i);
    for (const [i, id] of colliding.entries()) expect(table.add(id, 0, 7777)).toBe(i);
  });
});

/** The slot at which the table looks first, found from outside: the same steps of murmur3. */
function placeOf(id: Buffer, capacity: number): number {
  let hash = 0;
  for (let at = 0; at < 16; at += 4) {
    const k = Math.imul(id.readInt32LE(at), 0xcc9e2d51);
    const h = hash ^ Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    hash = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) & (capacity - 1);
}
