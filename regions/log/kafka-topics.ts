import kafkajs, { type Admin } from 'kafkajs';
import type { TopicSpec } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { fromKafka } from './kafka-errors.js';
import { type KafkaLimits, type KafkaTopicSettings, topicConfig } from './kafka-limits.js';
import { isTopicName } from './log-limits.js';

/** The topics of a cluster: how many partitions each has, and whether they are as they are to be. */
export class KafkaTopics {
  readonly #partitions = new Map<string, number>();
  #loading: Promise<void> | null = null;

  constructor(
    private readonly admin: Admin,
    private readonly settings: KafkaTopicSettings,
    private readonly limits: KafkaLimits,
  ) {}

  /** Null where nobody has asked for the topic yet. */
  known(topic: string): number | null {
    return this.#partitions.get(topic) ?? null;
  }

  /** Rejects with `not-found` naming the topic. A topic that was seen once counts as there for good. */
  async partitions(topic: string): Promise<number> {
    if (!this.#partitions.has(topic)) await this.#load();
    const count = this.#partitions.get(topic);
    if (count === undefined) throw new MeridianError('not-found', `topic ${topic}: there is none`, 'never');
    return count;
  }

  /** Rejects with `not-found` naming the topic or partition. */
  async check(topic: string, partition: number): Promise<void> {
    checkPartition(topic, partition, await this.partitions(topic));
  }

  /**
   * Makes what is missing. Where a topic exists, compares it: `configuration` naming every topic and setting that differs. Other members of the
   * fleet may make the same topics at the same time.
   */
  async ensure(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) checkSpec(spec);
    await this.#load();
    const missing = specs.filter(({ name }) => !this.#partitions.has(name));
    if (missing.length > 0) {
      await this.#create(missing);
      await this.#load();
    }
    const problems = [...this.#partitionProblems(specs), ...(await this.#configProblems(specs))];
    if (problems.length > 0) {
      throw new MeridianError('configuration', `topics are not as they are to be: ${problems.join('; ')}`, 'never');
    }
  }

  async #create(specs: readonly TopicSpec[]): Promise<void> {
    const topics = specs.map((spec) => ({
      topic: spec.name,
      numPartitions: spec.partitions,
      replicationFactor: this.settings.replicationFactor,
      configEntries: Object.entries(topicConfig(spec, this.settings, this.limits)).map(([name, value]) => ({
        name,
        value,
      })),
    }));
    try {
      // One after the other, so that one that somebody else has just made does not hide what is wrong with the rest.
      for (const topic of topics) await this.admin.createTopics({ topics: [topic], waitForLeaders: true });
    } catch (error) {
      throw fromKafka(`making topics ${specs.map((s) => s.name).join(', ')}${reasonsOf(error)}`, error);
    }
  }

  #partitionProblems(specs: readonly TopicSpec[]): string[] {
    return specs.flatMap(({ name, partitions }) => {
      const count = this.#partitions.get(name);
      if (count === undefined) return [`${name} was made, but cannot be seen yet`];
      return count === partitions ? [] : [`${name} has ${count} partitions, not ${partitions}`];
    });
  }

  async #configProblems(specs: readonly TopicSpec[]): Promise<string[]> {
    if (specs.length === 0) return [];
    try {
      const { resources } = await this.admin.describeConfigs({
        includeSynonyms: false,
        resources: specs.map(({ name }) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name })),
      });
      return resources.flatMap(({ resourceName, configEntries }) => {
        const spec = specs.find(({ name }) => name === resourceName);
        if (!spec) return [];
        const actual = new Map(configEntries.map(({ configName, configValue }) => [configName, configValue]));
        return Object.entries(topicConfig(spec, this.settings, this.limits))
          .filter(([name, wanted]) => !isMet(name, actual.get(name), wanted))
          .map(([name, wanted]) => `${resourceName} has ${name}=${actual.get(name)}, not ${wanted}`);
      });
    } catch (error) {
      throw fromKafka(`asking for the settings of topics ${specs.map((s) => s.name).join(', ')}`, error);
    }
  }

  #load(): Promise<void> {
    this.#loading ??= this.#fetch().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #fetch(): Promise<void> {
    try {
      const { topics } = await this.admin.fetchTopicMetadata();
      for (const { name, partitions } of topics) this.#partitions.set(name, partitions.length);
    } catch (error) {
      throw fromKafka('asking for the topics of the cluster', error);
    }
  }
}

/** Larger entries, more replicas in sync and a longer retention do no harm; the rest has to be exactly so. */
function isMet(name: string, actual: string | undefined, wanted: string): boolean {
  if (name === 'retention.ms') return actual === '-1' || Number(actual) >= Number(wanted);
  if (name === 'max.message.bytes' || name === 'min.insync.replicas') return Number(actual) >= Number(wanted);
  return actual === wanted;
}

/** What an aggregate error of kafkajs is made of. */
function reasonsOf(error: unknown): string {
  const { errors } = error as { errors?: unknown };
  if (!Array.isArray(errors)) return '';
  return ` (${errors.map((e: unknown) => (e instanceof Error ? e.message : String(e))).join('; ')})`;
}

export function checkPartition(topic: string, partition: number, count: number): void {
  if (!Number.isInteger(partition) || partition < 0 || partition >= count) {
    throw new MeridianError('not-found', `topic ${topic} has ${count} partitions, no ${partition}`, 'never');
  }
}

function checkSpec({ name, partitions, retentionMs }: TopicSpec): void {
  if (!isTopicName(name)) {
    const rule = "1 to 249 of letters, digits, '.', '_', '-'";
    throw new MeridianError('invalid', `topic name ${JSON.stringify(name)}: ${rule}`, 'never');
  }
  if (!Number.isInteger(partitions) || partitions < 1) {
    throw new MeridianError('invalid', `topic ${name}: ${partitions} partitions`, 'never');
  }
  if (!Number.isSafeInteger(retentionMs) || retentionMs < 1) {
    throw new MeridianError('invalid', `topic ${name}: a retention of ${retentionMs} ms`, 'never');
  }
}
