import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  assignGroup,
  decodeAssignment,
  decodeTopics,
  encodeAssignment,
  encodeTopics,
  type GroupMember,
} from './kafka-assignment.js';

const TOPICS = ['spans', 'segments', 'trace-metadata'];

const members = fc.uniqueArray(
  fc.record({ memberId: fc.string({ minLength: 1, maxLength: 8 }), topics: fc.subarray(TOPICS) }),
  { maxLength: 6, selector: (member: GroupMember) => member.memberId },
);
const partitions = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...TOPICS), fc.nat(20)), { selector: ([topic]) => topic })
  .map((pairs) => new Map(pairs));

describe('the assignment of a group', () => {
  test('each partition has one owner that wants it, and the shares of a topic differ by at most one', () => {
    fc.assert(
      fc.property(members, partitions, (group, counts) => {
        const assigned = assignGroup(group, counts);
        expect([...assigned.keys()].sort()).toEqual(group.map((m) => m.memberId).sort());
        for (const [topic, count] of counts) {
          const wanting = group.filter(({ topics }) => topics.includes(topic));
          const shares = wanting.map(({ memberId }) => assigned.get(memberId)![topic] ?? []);
          const owned = shares.flat().sort((a, b) => a - b);
          expect(owned).toEqual(wanting.length === 0 ? [] : Array.from({ length: count }, (_, p) => p));
          const sizes = shares.map((share) => share.length);
          if (sizes.length > 0) expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
          for (const { memberId, topics } of group) {
            if (!topics.includes(topic)) expect(assigned.get(memberId)![topic]).toBeUndefined();
          }
        }
      }),
    );
  });

  test('is the same whichever way the members are listed', () => {
    fc.assert(
      fc.property(members, partitions, (group, counts) => {
        expect(assignGroup([...group].reverse(), counts)).toEqual(assignGroup(group, counts));
      }),
    );
  });

  test('travels in Kafka’s form', () => {
    const assignment = { spans: [0, 2, 63], segments: [1] };
    expect(decodeAssignment(encodeAssignment(assignment))).toEqual(assignment);
    expect(decodeTopics(encodeTopics(TOPICS))).toEqual(TOPICS);
    expect(decodeAssignment(Buffer.alloc(0))).toEqual({});
    // Version, count, length and name of the topic, count, partition, user data.
    expect(encodeAssignment({ spans: [3] }).toString('hex')).toBe(
      `0001000000010005${Buffer.from('spans').toString('hex')}000000010000000300000000`,
    );
  });
});
