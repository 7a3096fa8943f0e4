import { MeridianError } from '../../global/runtime/errors.js';
import type { KafkaAsker } from './kafka-asker.js';
import { isMembershipLost, kafkaErrorType } from './kafka-errors.js';
import type { WireCluster } from './kafka-wire.js';

/** Per partition, the offset after the last record that all replicas in sync have. */
export function endsOf(asker: KafkaAsker, topic: string, partitions: number): Promise<number[]> {
  return asker.ask(`asking for the ends of topic ${topic}`, [topic], (cluster) =>
    listOffsets(cluster, topic, all(partitions), { fromBeginning: false }),
  );
}

/** Per partition, the offset of the oldest record that is retained; the end where there is none. */
export function startsOf(asker: KafkaAsker, topic: string, partitions: number): Promise<number[]> {
  return asker.ask(`asking for the starts of topic ${topic}`, [topic], (cluster) =>
    listOffsets(cluster, topic, all(partitions), { fromBeginning: true }),
  );
}

/** The first offset that the broker took at or after a time; the end where there is none. */
export async function offsetAtTime(
  asker: KafkaAsker,
  topic: string,
  partition: number,
  timeMs: number,
): Promise<number> {
  const attempt = `asking for the offset of ${topic}/${partition} at ${timeMs}`;
  return asker.ask(attempt, [topic], async (cluster) => {
    // Negative times mean something else to Kafka.
    const fromTimestamp = Math.max(0, Math.ceil(timeMs));
    const [offset] = await listOffsets(cluster, topic, [partition], { fromTimestamp });
    if (offset! >= 0) return offset!;
    const [end] = await listOffsets(cluster, topic, [partition], { fromBeginning: false });
    return end!;
  });
}

/** The group's commits per partition; null where it has none. */
export function committedOf(
  asker: KafkaAsker,
  group: string,
  topic: string,
  partitions: number,
): Promise<(number | null)[]> {
  return asker.askGroup(`asking for the commits of group ${group} on ${topic}`, group, async (coordinator) => {
    const topics = [{ topic, partitions: all(partitions).map((partition) => ({ partition })) }];
    const { responses } = await coordinator.offsetFetch({ groupId: group, topics });
    const found = new Map(responses.flatMap((r) => r.partitions).map((p) => [p.partition, Number(p.offset)]));
    return all(partitions).map((partition) => {
      const offset = found.get(partition) ?? -1;
      return offset < 0 ? null : offset;
    });
  });
}

/** Commits for a group that has no members; the coordinator itself refuses it for one that has. */
export async function commitWithoutMembers(
  asker: KafkaAsker,
  group: string,
  topic: string,
  partition: number,
  nextOffset: number,
): Promise<void> {
  const attempt = `rewinding group ${group} on ${topic}/${partition}`;
  try {
    await asker.askGroup(attempt, group, (coordinator) =>
      coordinator.offsetCommit({
        groupId: group,
        memberId: '',
        groupGenerationId: -1,
        topics: [{ topic, partitions: [{ partition, offset: String(nextOffset) }] }],
      }),
    );
  } catch (error) {
    if (isMembershipLost(error) || kafkaErrorType(error) === 'REBALANCE_IN_PROGRESS') {
      throw new MeridianError('refused', `${attempt}: it has members`, 'later', { cause: error });
    }
    throw error;
  }
}

async function listOffsets(
  cluster: WireCluster,
  topic: string,
  partitions: readonly number[],
  where: { readonly fromBeginning: boolean } | { readonly fromTimestamp: number },
): Promise<number[]> {
  const wanted = partitions.map((partition) => ({ partition }));
  const [found] = await cluster.fetchTopicsOffset([{ topic, partitions: wanted, ...where }]);
  const offsets = new Map(found?.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
  return partitions.map((partition) => {
    const offset = offsets.get(partition);
    // A partition without a leader is in nobody's answer.
    if (offset === undefined) {
      throw Object.assign(new Error(`${topic}/${partition} has no leader`), { type: 'LEADER_NOT_AVAILABLE' });
    }
    return offset;
  });
}

function all(partitions: number): number[] {
  return Array.from({ length: partitions }, (_, partition) => partition);
}
