import type { Kafka } from 'kafkajs';
import type { Registry } from 'prom-client';
import type { LogEntry, LogRecord, LogSubscription, SpanLog, TopicSpec } from '../../global/log/span-log.js';
import { TOPICS } from '../../global/log/topics.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { KafkaAsker } from './kafka-asker.js';
import { type KafkaConnection, kafkaClient, retryWithin } from './kafka-client.js';
import { KafkaConsumer } from './kafka-consumer.js';
import { fromKafka } from './kafka-errors.js';
import { KAFKA_LIMITS, type KafkaLimits, type KafkaTopicSettings } from './kafka-limits.js';
import { committedOf, commitWithoutMembers, endsOf, offsetAtTime, startsOf } from './kafka-offsets.js';
import { KafkaProducer } from './kafka-producer.js';
import { readRecords } from './kafka-read.js';
import { KafkaSender } from './kafka-sender.js';
import { KafkaTopics } from './kafka-topics.js';
import { wireCluster } from './kafka-wire.js';
import { LogMetrics } from './log-metrics.js';

export interface KafkaSpanLogOptions extends KafkaConnection, Partial<KafkaLimits>, Partial<KafkaTopicSettings> {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Topics whose values come compressed. Default: `segments`. */
  readonly uncompressedTopics?: readonly string[];
}

/**
 * The log on a Kafka cluster. An append is durable when all replicas in sync have it (`min.insync.replicas` says how many these are at
 * least). Each subscription has connections of its own, so that a group that waits does not hold up appends. Rejects with `unavailable` where no
 * broker answers within `askBudgetMs`.
 */
export async function openKafkaSpanLog(options: KafkaSpanLogOptions): Promise<SpanLog> {
  const limits: KafkaLimits = { ...KAFKA_LIMITS, ...definedOf(options) };
  const kafka = kafkaClient(options, limits, options.logger);
  const log = new KafkaSpanLog(options, limits, kafka);
  try {
    await log.connect();
    return log;
  } catch (error) {
    await log.close();
    throw fromKafka(`opening the log on Kafka at ${options.brokers.join(', ')}`, error);
  }
}

function definedOf(options: KafkaSpanLogOptions): Partial<KafkaLimits> {
  const given = Object.entries(options).filter(([name, value]) => name in KAFKA_LIMITS && value !== undefined);
  return Object.fromEntries(given);
}

class KafkaSpanLog implements SpanLog {
  readonly #admin;
  readonly #producer: KafkaProducer;
  readonly #topics: KafkaTopics;
  readonly #asker: KafkaAsker;
  /** With connections of its own, so that no question holds up an append. */
  readonly #appendAsker: KafkaAsker;
  readonly #consumers = new Set<KafkaConsumer>();
  readonly #metrics: LogMetrics;
  #closed: Promise<void> | null = null;
  #handlersClosed = false;

  constructor(
    private readonly options: KafkaSpanLogOptions,
    private readonly limits: KafkaLimits,
    private readonly kafka: Kafka,
  ) {
    const { clock, registry } = options;
    this.#metrics = new LogMetrics(registry, {
      lag: () => this.#lag(),
      members: () => this.#members(),
      queuedBytes: () => this.#producer.queuedBytes,
    });
    this.#admin = kafka.admin({ retry: retryWithin(limits, limits.askBudgetMs) });
    const { replicationFactor = 1, minInsyncReplicas = 1 } = options;
    this.#topics = new KafkaTopics(this.#admin, { replicationFactor, minInsyncReplicas }, limits, clock);
    this.#asker = this.#newAsker();
    this.#appendAsker = this.#newAsker();
    this.#producer = new KafkaProducer({
      sender: new KafkaSender({
        asker: this.#appendAsker,
        limits,
        clock,
        answered: (ms, bytes, records) => this.#metrics.round(ms, bytes, records),
      }),
      topics: this.#topics,
      limits,
      clock,
      uncompressed: new Set(options.uncompressedTopics ?? [TOPICS.segments]),
      observer: {
        appended: (topic, records, bytes) => this.#metrics.appended(topic, records, bytes),
      },
    });
  }

  async connect(): Promise<void> {
    // The first question is asked until a broker answers; connecting tries no more than twice.
    await Promise.all([
      this.#asker.ask('connecting', [], () => this.#admin.connect()),
      this.#appendAsker.ask('connecting', [], async () => {}),
    ]);
  }

  async append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    if (this.#handlersClosed) this.#checkOpen(`appending to ${topic}/${partition}`);
    if (entries.length === 0) return { firstOffset: 0 };
    return this.#producer.append(topic, partition, entries);
  }

  async subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    this.#checkOpen(`joining group ${subscription.group}`);
    for (const topic of subscription.topics) await this.#topics.partitions(topic);
    const { clock, logger } = this.options;
    const consumer = new KafkaConsumer({
      subscription,
      asker: this.#newAsker(),
      partitions: (topic) => this.#topics.partitions(topic),
      limits: this.limits,
      clock,
      logger,
    });
    this.#checkOpen(`joining group ${subscription.group}`);
    this.#consumers.add(consumer);
    consumer.start();
    return {
      stop: async () => {
        await consumer.stop();
        this.#consumers.delete(consumer);
      },
    };
  }

  async ends(topic: string): Promise<readonly number[]> {
    return endsOf(this.#asker, topic, await this.#topics.partitions(topic));
  }

  async starts(topic: string): Promise<readonly number[]> {
    return startsOf(this.#asker, topic, await this.#topics.partitions(topic));
  }

  async committed(group: string, topic: string): Promise<readonly (number | null)[]> {
    return committedOf(this.#asker, group, topic, await this.#topics.partitions(topic));
  }

  async offsetAt(topic: string, partition: number, timeMs: number): Promise<number> {
    await this.#topics.check(topic, partition);
    return offsetAtTime(this.#asker, topic, partition, timeMs);
  }

  async rewind(group: string, topic: string, partition: number, nextOffset: number): Promise<void> {
    await this.#topics.check(topic, partition);
    if (!Number.isSafeInteger(nextOffset) || nextOffset < 0) {
      throw new MeridianError('invalid', `offset ${nextOffset} is not a whole number from 0 on`, 'never');
    }
    await commitWithoutMembers(this.#asker, group, topic, partition, nextOffset);
  }

  async read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]> {
    this.#checkOpen(`reading ${topic}/${partition}`);
    await this.#topics.check(topic, partition);
    return readRecords(this.#asker, this.limits, topic, partition, fromOffset, bytesMax);
  }

  async ensure(topics: readonly TopicSpec[]): Promise<void> {
    this.#checkOpen('ensuring topics');
    await this.#topics.ensure(topics);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Handlers may append and commit while they are closed; nothing is taken afterwards. */
  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.stop()));
    this.#handlersClosed = true;
    await this.#producer.drained();
    this.#metrics.remove();
    await Promise.all([this.#appendAsker.close(), this.#admin.disconnect(), this.#asker.close()]);
  }

  #newAsker(): KafkaAsker {
    return new KafkaAsker(wireCluster(this.kafka), this.limits, this.options.clock);
  }

  #members() {
    const members = new Map<string, number>();
    for (const { group } of this.#consumers) members.set(group, (members.get(group) ?? 0) + 1);
    return [...members].map(([group, count]) => ({ group, members: count }));
  }

  /** Of the partitions that members in this process own. */
  #lag() {
    return [...this.#consumers].flatMap((consumer) =>
      [...consumer.lag()].map(([topic, records]) => ({ group: consumer.group, topic, records })),
    );
  }

  #checkOpen(attempt: string): void {
    if (this.#closed) throw new MeridianError('unavailable', `${attempt}: the log is closed`, 'later');
  }
}
