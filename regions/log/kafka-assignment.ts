import kafkajs from 'kafkajs';
import { assignPartitions } from './partition-assignment.js';

/** The name under which members agree on this assignment; a group does not mix it with others. */
export const ASSIGNMENT_PROTOCOL = 'meridian-balanced';
const VERSION = 1;

export interface GroupMember {
  readonly memberId: string;
  readonly topics: readonly string[];
}

/** What a member tells the group's leader. */
export function encodeTopics(topics: readonly string[]): Buffer {
  return kafkajs.AssignerProtocol.MemberMetadata.encode({
    version: VERSION,
    topics: [...topics],
    userData: Buffer.alloc(0),
  });
}

export function decodeTopics(metadata: Buffer): readonly string[] {
  return kafkajs.AssignerProtocol.MemberMetadata.decode(metadata)?.topics ?? [];
}

/** What the leader tells a member: its partitions by topic. */
export type MemberAssignment = Readonly<Record<string, readonly number[]>>;

export function encodeAssignment(assignment: MemberAssignment): Buffer {
  const mutable = Object.fromEntries(Object.entries(assignment).map(([topic, of]) => [topic, [...of]]));
  return kafkajs.AssignerProtocol.MemberAssignment.encode({
    version: VERSION,
    assignment: mutable,
    userData: Buffer.alloc(0),
  });
}

/** Nothing at all is what a member gets whom the leader left out. */
export function decodeAssignment(bytes: Buffer): MemberAssignment {
  return kafkajs.AssignerProtocol.MemberAssignment.decode(bytes)?.assignment ?? {};
}

/**
 * Shares out each topic's partitions among the members that want it; counts per topic differ by at most one. The same members get the same
 * partitions again, whoever is the leader. Pure.
 */
export function assignGroup(
  members: readonly GroupMember[],
  partitions: ReadonlyMap<string, number>,
): Map<string, MemberAssignment> {
  const assignments = new Map<string, Record<string, number[]>>(members.map(({ memberId }) => [memberId, {}]));
  const inOrder = [...members].sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
  for (const [topic, count] of partitions) {
    const wanting = inOrder.filter(({ topics }) => topics.includes(topic));
    const owners = assignPartitions({ members: wanting, owners: new Array<GroupMember | null>(count).fill(null) });
    for (const [partition, owner] of owners.entries()) {
      if (!owner) continue;
      const own = assignments.get(owner.memberId)!;
      own[topic] = [...(own[topic] ?? []), partition];
    }
  }
  return assignments;
}
