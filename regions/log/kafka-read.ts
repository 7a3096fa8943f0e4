import type { LogRecord } from '../../global/log/span-log.js';
import type { KafkaAsker } from './kafka-asker.js';
import { kafkaErrorType } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import { countUpTo, recordsFrom } from './kafka-records.js';
import type { WireCluster } from './kafka-wire.js';

/** `READ_UNCOMMITTED`: nobody of ours uses transactions. */
export const ISOLATION_LEVEL = 0;

/** A batch on the wire is larger than its values; less than this is not worth a request, bytes. */
const FETCH_MIN_BYTES = 64 * 1024;

/**
 * Records from an offset on, without a group. What is before the start of the partition is skipped. One fetch, which answers with whole
 * batches: what lies beyond `bytesMax` is thrown away and fetched again by the next call.
 */
export async function readRecords(
  asker: KafkaAsker,
  limits: KafkaLimits,
  topic: string,
  partition: number,
  fromOffset: number,
  bytesMax: number,
): Promise<readonly LogRecord[]> {
  const attempt = `reading ${topic}/${partition} from ${fromOffset}`;
  const maxBytes = Math.min(Math.max(bytesMax, FETCH_MIN_BYTES), limits.fetchBytesMax);
  return asker.ask(attempt, [topic], async (cluster) => {
    try {
      return await fetchOnce(cluster, topic, partition, fromOffset, bytesMax, maxBytes);
    } catch (error) {
      if (kafkaErrorType(error) !== 'OFFSET_OUT_OF_RANGE') throw error;
      const [found] = await cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], fromBeginning: true }]);
      const start = Number(found?.partitions[0]?.offset ?? -1);
      return fromOffset < start ? fetchOnce(cluster, topic, partition, start, bytesMax, maxBytes) : [];
    }
  });
}

async function fetchOnce(
  cluster: WireCluster,
  topic: string,
  partition: number,
  fromOffset: number,
  bytesMax: number,
  maxBytes: number,
): Promise<readonly LogRecord[]> {
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  if (nodeId === undefined) throw new Error(`${topic}/${partition} has no leader`);
  const broker = await cluster.findBroker({ nodeId });
  const { responses } = await broker.fetch({
    isolationLevel: ISOLATION_LEVEL,
    maxWaitTime: 0,
    minBytes: 0,
    maxBytes,
    topics: [{ topic, partitions: [{ partition, fetchOffset: String(fromOffset), maxBytes }] }],
  });
  const records = recordsFrom(responses[0]?.partitions[0]?.messages ?? [], fromOffset);
  return records.slice(0, countUpTo(records, bytesMax));
}
