import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { fromKafka, kafkaErrorType } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import type { WireBroker, WireCluster } from './kafka-wire.js';

/** Asking again does not help. */
const FINAL = new Set([
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
  'FENCED_INSTANCE_ID',
  'REBALANCE_IN_PROGRESS',
  'OFFSET_OUT_OF_RANGE',
  'INVALID_GROUP_ID',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
]);

/**
 * Asks a cluster over connections of its own, again where a leader or coordinator has moved or a broker is away, until the budget for
 * questions is over.
 */
export class KafkaAsker {
  readonly #closing = new AbortController();
  #connected: Promise<void> | null = null;

  constructor(
    readonly cluster: WireCluster,
    private readonly limits: Pick<KafkaLimits, 'askBudgetMs' | 'retryMs' | 'retryMaxMs'>,
    private readonly clock: Clock,
  ) {}

  /** `topics` are those whose leaders the question needs. Rejects with what `fromKafka` makes of the last failure. */
  async ask<T>(
    attempt: string,
    topics: readonly string[],
    question: (cluster: WireCluster) => Promise<T>,
    budgetMs = this.limits.askBudgetMs,
  ): Promise<T> {
    const deadlineMs = this.clock.monotonicMs() + budgetMs;
    for (let waitMs = this.limits.retryMs; ; waitMs = Math.min(2 * waitMs, this.limits.retryMaxMs)) {
      try {
        await this.#connect();
        await this.cluster.addMultipleTargetTopics(topics);
        await this.cluster.refreshMetadataIfNecessary();
        return await question(this.cluster);
      } catch (error) {
        const over = this.clock.monotonicMs() + waitMs > deadlineMs || this.#closing.signal.aborted;
        if (over || error instanceof MeridianError || FINAL.has(kafkaErrorType(error))) {
          throw fromKafka(attempt, error);
        }
        await this.clock.sleep(waitMs, this.#closing.signal);
        await this.recover(error);
      }
    }
  }

  /** Asks the coordinator of a group. */
  askGroup<T>(attempt: string, groupId: string, question: (coordinator: WireBroker) => Promise<T>): Promise<T> {
    return this.ask(attempt, [], async (cluster) => question(await cluster.findGroupCoordinator({ groupId })));
  }

  /** After a failure: forgets a connection that is gone and looks who leads what now. Does not reject. */
  async recover(error: unknown): Promise<void> {
    const { host, port } = error as { host?: string; port?: number };
    if (host !== undefined && port !== undefined) this.cluster.removeBroker({ host, port });
    this.#connected = null;
    if (this.#closing.signal.aborted) return;
    await this.cluster.refreshMetadata().catch(() => {});
  }

  /** From now on nothing is asked twice, and what is being asked fails with its next failure. */
  giveUp(): void {
    this.#closing.abort();
  }

  async close(): Promise<void> {
    this.giveUp();
    await this.cluster.disconnect().catch(() => {});
  }

  #connect(): Promise<void> {
    if (this.#closing.signal.aborted) {
      return Promise.reject(new MeridianError('unavailable', 'asking Kafka: the log is closed', 'later'));
    }
    this.#connected ??= this.cluster.connect();
    this.#connected.catch(() => {
      this.#connected = null;
    });
    return this.#connected;
  }
}
