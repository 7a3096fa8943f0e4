import kafkajs, { type Admin } from 'kafkajs';
import type { TopicSpec } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { fromKafka } from './kafka-errors.js';
import { type KafkaLimits, type KafkaTopicSettings, topicConfig } from './kafka-limits.js';
import { isTopicName } from './log-limits.js';

/** The topics of a cluster: how many partitions each has, and whether they are as they are to be. */
export class KafkaTopics {
  readonly #partitions = new Map<string, number>();
  /** Those of which every partition has been seen with a leader. */
  readonly #led = new Set<string>();
  #loading: Promise<void> | null = null;

  constructor(
    private readonly admin: Admin,
    private readonly settings: KafkaTopicSettings,
    private readonly limits: KafkaLimits,
    private readonly clock: Clock,
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
   * fleet may make the same topics at the same time; mirrored ones that MirrorMaker was faster with are given our settings.
   */
  async ensure(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) checkSpec(spec);
    await this.#load();
    const missing = specs.filter(({ name }) => !this.#partitions.has(name));
    if (missing.length > 0) {
      await this.#create(missing);
      await this.#untilSeen(missing);
    }
    await this.#adopt(specs.filter(({ mirrored }) => mirrored));
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
      for (const topic of topics) await this.admin.createTopics({ topics: [topic], waitForLeaders: false });
    } catch (error) {
      throw fromKafka(`making topics ${specs.map((s) => s.name).join(', ')}${reasonsOf(error)}`, error);
    }
  }

  /** A topic that was made is not known to the brokers at once, nor are its leaders; until then they say that there is no such topic. */
  async #untilSeen(specs: readonly TopicSpec[]): Promise<void> {
    const names = () => specs.map(({ name }) => name).filter((name) => !this.#led.has(name));
    const seen = await this.#until(async () => {
      await this.#load();
      return names().length === 0;
    });
    if (seen) return;
    throw new MeridianError('unavailable', `topics ${names().join(', ')} were made, but have no leaders yet`, 'later');
  }

  /** Asks again and again; false where it did not become true within the budget. */
  async #until(holds: () => Promise<boolean>): Promise<boolean> {
    const deadlineMs = this.clock.monotonicMs() + this.limits.askBudgetMs;
    for (;;) {
      if (await holds()) return true;
      if (this.clock.monotonicMs() >= deadlineMs) return false;
      await this.clock.sleep(this.limits.retryMs);
    }
  }

  #partitionProblems(specs: readonly TopicSpec[]): string[] {
    return specs.flatMap(({ name, partitions }) => {
      const count = this.#partitions.get(name);
      if (count === undefined) return [];
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

  /** Gives mirrored topics that MirrorMaker made, with the settings of the source, those that they are to have here. */
  async #adopt(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) {
      const isRight = async () => (await this.#configProblems([spec])).length === 0;
      if (await isRight()) continue;
      const configEntries = Object.entries(topicConfig(spec, this.settings, this.limits));
      try {
        await this.admin.alterConfigs({
          validateOnly: false,
          resources: [
            {
              type: kafkajs.ConfigResourceTypes.TOPIC,
              name: spec.name,
              configEntries: configEntries.map(([name, value]) => ({ name, value })),
            },
          ],
        });
      } catch (error) {
        throw fromKafka(`giving mirrored topic ${spec.name} its settings`, error);
      }
      // The brokers hear of it a moment later.
      await this.#until(isRight);
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
      for (const { name, partitions } of topics) {
        this.#partitions.set(name, partitions.length);
        if (partitions.every(({ leader }) => leader >= 0)) this.#led.add(name);
      }
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
