/** A member of a group, as far as the assignment of one topic's partitions goes. */
export interface TopicOwnership<Member> {
  /** In the order in which they joined. */
  readonly members: readonly Member[];
  /** By partition; null or somebody who has left: nobody. */
  readonly owners: readonly (Member | null)[];
}

/**
 * Who is to own each partition of a topic: counts differ by at most one, and no partition moves that need not. Null where
 * there are no members. Pure.
 */
export function assignPartitions<Member>({ members, owners }: TopicOwnership<Member>): (Member | null)[] {
  const assigned: (Member | null)[] = owners.map(() => null);
  if (members.length === 0) return assigned;
  const held = new Map<Member, number[]>(members.map((member) => [member, []]));
  for (const [partition, owner] of owners.entries()) {
    if (owner !== null) held.get(owner)?.push(partition);
  }
  const least = Math.floor(owners.length / members.length);
  let larger = owners.length % members.length;
  // Those who hold most keep the larger shares; the sort is stable, so joining earlier breaks ties.
  const byHolding = [...members].sort((a, b) => held.get(b)!.length - held.get(a)!.length);
  const wanting: Member[] = [];
  for (const member of byHolding) {
    const share = least + (larger-- > 0 ? 1 : 0);
    const kept = held.get(member)!.slice(0, share);
    for (const partition of kept) assigned[partition] = member;
    for (let missing = share - kept.length; missing > 0; missing--) wanting.push(member);
  }
  return assigned.map((owner) => owner ?? wanting.shift()!);
}
