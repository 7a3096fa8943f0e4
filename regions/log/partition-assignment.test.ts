import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assignPartitions } from './partition-assignment.js';

describe('who owns which partition', () => {
  test('examples', () => {
    const none = [null, null, null, null];
    expect(assignPartitions({ members: [], owners: ['a', 'b'] })).toEqual([null, null]);
    expect(assignPartitions({ members: ['a'], owners: none })).toEqual(['a', 'a', 'a', 'a']);
    expect(assignPartitions({ members: ['a', 'b'], owners: ['a', 'a', 'a', 'a'] })).toEqual(['a', 'a', 'b', 'b']);
    expect(assignPartitions({ members: ['b'], owners: ['a', 'a', 'b', 'b'] })).toEqual(['b', 'b', 'b', 'b']);
    expect(assignPartitions({ members: ['a', 'b', 'c'], owners: ['a'] })).toEqual(['a']);
  });

  test('everything is owned, evenly, and no more moves than must', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    fc.assert(
      fc.property(
        fc.subarray(names, { minLength: 1 }),
        fc.array(fc.constantFrom(...names, null), { minLength: 1, maxLength: 40 }),
        (members, owners) => {
          const assigned = assignPartitions({ members, owners });
          const counts = members.map((m) => assigned.filter((owner) => owner === m).length);
          expect(counts.reduce((a, b) => a + b, 0)).toBe(owners.length);
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
          // Most that can stay: each keeps up to its share, the larger shares going to those who hold most.
          const held = members.map((m) => owners.filter((owner) => owner === m).length).sort((a, b) => b - a);
          const least = Math.floor(owners.length / members.length);
          const larger = owners.length % members.length;
          const mayStay = held.reduce((sum, h, i) => sum + Math.min(h, least + (i < larger ? 1 : 0)), 0);
          const stayed = assigned.filter((owner, p) => owner === owners[p]).length;
          expect(stayed).toBe(mayStay);
          expect(assignPartitions({ members, owners: assigned })).toEqual(assigned);
        },
      ),
    );
  });
});
