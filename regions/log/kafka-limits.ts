import type { TopicSpec } from '../../global/log/span-log.js';

/** The named limits of the log on Kafka. */
export interface KafkaLimits {
  /** Key, headers and value of one entry together, bytes. Topics are made with room for it. */
  readonly entryBytesMax: number;
  readonly headersMax: number;
  /** Names and values of all headers of an entry, bytes. */
  readonly headersBytesMax: number;
  /** Entries that wait for their acknowledgement, bytes; beyond it `append` rejects with `overloaded`. */
  readonly queuedBytesMax: number;
  /** What one request appends to one partition, bytes; a single larger entry goes alone. */
  readonly partitionRequestBytesMax: number;
  /** What one request appends to all of its partitions, bytes; a single larger entry goes alone. */
  readonly requestBytesMax: number;
  /**
   * Time for a request with appends, its repetitions over a leader change or a broker's restart included, before they reject with
   * `unavailable`. Those that come while it is under way begin with the next.
   */
  readonly appendBudgetMs: number;
  /** The same for every other question to the cluster: offsets, commits, reads, topics. */
  readonly askBudgetMs: number;
  /** How often an append is sent to a leader that does not know the topic, as one may that has just become leader. */
  readonly unknownTopicAttemptsMax: number;
  /** What a consumer holds of one partition beyond the batch that is being handled, bytes, plus at most one fetch. */
  readonly bufferedBytesMax: number;
  /** What one fetch answers for one partition and in all, bytes as sent; but at least one batch. */
  readonly fetchPartitionBytesMax: number;
  readonly fetchBytesMax: number;
  /** How long a broker holds a fetch that has nothing to answer. A rebalance waits for it. */
  readonly fetchWaitMs: number;
  /** A member that is silent for this long loses its partitions. A broker takes no less than its `group.min.session.timeout.ms`, 6 s by default. */
  readonly sessionMs: number;
  readonly heartbeatMs: number;
  /** How long a rebalance waits for members to let go of their partitions: longer than any handler takes for a batch and its close. */
  readonly rebalanceMs: number;
  /** Wait before a failing consumer gets its batch a second time, doubling up to `redeliveryMaxMs`; the first redelivery comes at once. */
  readonly redeliveryMs: number;
  readonly redeliveryMaxMs: number;
  /** Wait after a broker did not answer, doubling up to `retryMaxMs`. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
}

const MIB = 1024 * 1024;

export const KAFKA_LIMITS: KafkaLimits = {
  entryBytesMax: 16 * MIB,
  headersMax: 64,
  headersBytesMax: 64 * 1024,
  queuedBytesMax: 256 * MIB,
  partitionRequestBytesMax: 4 * MIB,
  requestBytesMax: 16 * MIB,
  appendBudgetMs: 10_000,
  askBudgetMs: 10_000,
  unknownTopicAttemptsMax: 5,
  bufferedBytesMax: 4 * MIB,
  fetchPartitionBytesMax: MIB,
  fetchBytesMax: 16 * MIB,
  fetchWaitMs: 250,
  sessionMs: 6_000,
  heartbeatMs: 500,
  rebalanceMs: 60_000,
  redeliveryMs: 100,
  redeliveryMaxMs: 5_000,
  retryMs: 100,
  retryMaxMs: 1_000,
};

/** How topics are made and what they are checked against. Of the cluster, so not part of a `TopicSpec`. */
export interface KafkaTopicSettings {
  /** 3 in production. */
  readonly replicationFactor: number;
  /** 2 in production: what `acks=all` waits for. */
  readonly minInsyncReplicas: number;
}

/** What Kafka adds to the entries of one record batch, bytes: its header, and lz4 on what cannot be compressed. */
const BATCH_OVERHEAD_BYTES = 128 * 1024;

/**
 * The configuration of a topic. `LogAppendTime` makes `appendedMs` the broker's clock, so that it does not step back when several
 * collectors append; whoever produces with Kafka's own clients cannot change that. Mirrored topics keep the source's.
 */
export function topicConfig(
  spec: TopicSpec,
  settings: KafkaTopicSettings,
  limits: KafkaLimits,
): Readonly<Record<string, string>> {
  return {
    'cleanup.policy': spec.compacted ? 'compact' : 'delete',
    'retention.ms': String(spec.retentionMs),
    'min.insync.replicas': String(settings.minInsyncReplicas),
    'max.message.bytes': String(Math.ceil(limits.entryBytesMax * 1.01) + BATCH_OVERHEAD_BYTES),
    'message.timestamp.type': spec.mirrored ? 'CreateTime' : 'LogAppendTime',
  };
}
