import type { LogSubscription } from '../../global/log/span-log.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { CommitQueue } from './commit-queue.js';
import { isMembershipLost } from './kafka-errors.js';
import { KafkaFetcher } from './kafka-fetcher.js';
import { type Generation, type GenerationEnd, KafkaMembership, type MembershipOptions } from './kafka-membership.js';
import { committedOf, endsOf, startsOf } from './kafka-offsets.js';
import type { CommitRow } from './log-protocol.js';
import { type CloseReason, PartitionConsumer } from './partition-consumer.js';

/** A partition that this member owns in this generation. */
interface Slot {
  readonly topic: string;
  readonly partition: number;
  consumer: PartitionConsumer;
  /** Where the next ownership begins, and the highest offset that was asked to be committed. */
  position: number;
  committed: number | null;
  asked: number;
  /** Ownerships in a row that failed without a commit in between. */
  failures: number;
  /** The change from a failed ownership to the next. */
  settling: Promise<void> | null;
}

export interface KafkaConsumerOptions extends Omit<MembershipOptions, 'group' | 'topics'> {
  readonly subscription: LogSubscription;
}

/**
 * A member of a consumer group with its handlers. Every generation begins with all of its partitions assigned and ends with all of them closed;
 * only then does it join the next. So a partition has one owner, and a handler may commit until it is closed.
 */
export class KafkaConsumer {
  readonly #membership: KafkaMembership;
  readonly #fetcher: KafkaFetcher;
  readonly #stopping = new AbortController();
  readonly #slots = new Map<string, Slot>();
  #generation: Generation | null = null;
  #joining = false;
  /** Aborts when the generation is over. */
  #ending = new AbortController();
  #endedBy: GenerationEnd = 'stop';
  #running: Promise<void> = Promise.resolve();
  #commits: CommitQueue;

  constructor(private readonly options: KafkaConsumerOptions) {
    const { subscription, asker, limits, clock, logger } = options;
    this.#membership = new KafkaMembership({ ...options, group: subscription.group, topics: subscription.topics });
    this.#fetcher = new KafkaFetcher(asker, limits, clock, logger);
    this.#commits = new CommitQueue(
      (rows) => this.#storeCommits(rows),
      (rows) => this.#stored(rows),
    );
  }

  get group(): string {
    return this.options.subscription.group;
  }

  /** What is not committed of the partitions that it owns, records by topic. */
  lag(): ReadonlyMap<string, number> {
    const lag = new Map<string, number>();
    for (const { topic, partition, committed, position } of this.#slots.values()) {
      const end = this.#fetcher.endOf(topic, partition) ?? 0;
      lag.set(topic, (lag.get(topic) ?? 0) + Math.max(0, end - (committed ?? position)));
    }
    return lag;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Closes the handlers with `stopped`, leaves the group and gives its connections back. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#ending.abort();
    // Owning nothing, it has nothing left to commit: a cluster that is away is not waited for.
    if (this.#joining) this.options.asker.giveUp();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { limits, clock, logger, asker } = this.options;
    const { signal } = this.#stopping;
    let waitMs = limits.retryMs;
    while (!signal.aborted) {
      try {
        await this.#liveOneGeneration();
        waitMs = limits.retryMs;
      } catch (error) {
        if (signal.aborted) break;
        logger.warn({ group: this.group, error: messageOf(error) }, 'joining a group failed, it is tried again');
        await clock.sleep(waitMs, signal);
        waitMs = Math.min(2 * waitMs, limits.retryMaxMs);
      }
    }
    await this.#fetcher.close();
    await this.#membership.leave();
    await asker.close();
  }

  async #liveOneGeneration(): Promise<void> {
    this.#joining = true;
    const generation = await this.#membership.join().finally(() => {
      this.#joining = false;
    });
    this.#generation = generation;
    this.#ending = new AbortController();
    this.#endedBy = 'stop';
    if (this.#stopping.signal.aborted) return;
    const beating = this.#membership
      .heartbeats(generation, 'rebalance', this.#ending.signal)
      .then((end) => this.#end(end));
    try {
      await this.#assign(generation);
      await beating;
    } finally {
      this.#end('stop');
      await beating;
      await this.#closeAll(generation, this.#closeReason());
    }
  }

  #closeReason(): CloseReason {
    if (this.#endedBy === 'lost') return 'lost';
    return this.#endedBy === 'rebalance' && !this.#stopping.signal.aborted ? 'revoked' : 'stopped';
  }

  #end(by: GenerationEnd): void {
    if (!this.#ending.signal.aborted) this.#endedBy = by;
    this.#ending.abort();
  }

  /** Closing takes as long as the handlers want; the coordinator hears of this member all the while. */
  async #closeAll(generation: Generation, reason: CloseReason): Promise<void> {
    const closed = new AbortController();
    const beating =
      reason === 'lost' ? Promise.resolve('lost') : this.#membership.heartbeats(generation, 'lost', closed.signal);
    await Promise.all(
      [...this.#slots.values()].map(async (slot) => {
        await slot.settling;
        await slot.consumer.end(reason);
      }),
    );
    await this.#commits.drained();
    for (const { topic, partition } of this.#slots.values()) this.#fetcher.remove(topic, partition);
    this.#slots.clear();
    closed.abort();
    await beating;
  }

  async #assign({ assignment }: Generation): Promise<void> {
    const { asker, subscription, partitions } = this.options;
    for (const [topic, owned] of Object.entries(assignment)) {
      if (owned.length === 0) continue;
      const count = await partitions(topic);
      const [committed, starts, ends] = await Promise.all([
        committedOf(asker, subscription.group, topic, count),
        startsOf(asker, topic, count),
        endsOf(asker, topic, count),
      ]);
      if (this.#ending.signal.aborted) return;
      const begun = owned.map((partition) => {
        const [start, end] = [starts[partition]!, ends[partition]!];
        const wanted = committed[partition] ?? (subscription.from === 'earliest' ? start : end);
        if (wanted > end) {
          this.options.logger.warn({ topic, partition, wanted, end }, 'a commit is past the end of the log');
        }
        return this.#own(topic, partition, Math.min(Math.max(wanted, start), end), committed[partition] ?? null);
      });
      await this.#fixLatest(begun);
    }
  }

  /** `latest` is where the group once began: a commit says so to whoever owns the partition next. */
  async #fixLatest(slots: readonly Slot[]): Promise<void> {
    if (this.options.subscription.from !== 'latest') return;
    const first = slots.filter(({ committed }) => committed === null);
    await Promise.all(first.map(({ topic, partition, position }) => this.#commit(topic, partition, position)));
  }

  #own(topic: string, partition: number, position: number, committed: number | null): Slot {
    const state = { position, committed, asked: committed ?? -1, failures: 0, settling: null };
    const slot: Slot = { topic, partition, consumer: this.#consumer(topic, partition), ...state };
    this.#slots.set(`${topic}/${partition}`, slot);
    this.#begin(slot);
    return slot;
  }

  #consumer(topic: string, partition: number): PartitionConsumer {
    return new PartitionConsumer(
      {
        waitForEnd: (_topic, _partition, _offset, signal) => this.#fetcher.waitForRecords(topic, partition, signal),
        read: async (_topic, _partition, _offset, bytesMax) => this.#fetcher.take(topic, partition, bytesMax),
        commit: (_group, _topic, _partition, nextOffset) => this.#commit(topic, partition, nextOffset),
      },
      this.options.subscription,
      topic,
      partition,
      this.options.logger,
    );
  }

  #begin(slot: Slot): void {
    const { topic, partition, position } = slot;
    this.#fetcher.add(topic, partition, position);
    const failed = () => {
      // At the end of a generation everything is closed anyway.
      if (this.#ending.signal.aborted || slot.settling) return;
      slot.settling = this.#again(slot).finally(() => {
        slot.settling = null;
        if (!this.#ending.signal.aborted) this.#begin(slot);
      });
    };
    try {
      slot.consumer.start(position, failed);
    } catch (error) {
      this.options.logger.error({ group: this.group, topic, partition, error: messageOf(error) }, 'assigning failed');
      failed();
    }
  }

  /** Ends an ownership whose handler has failed and waits; the first redelivery comes at once. */
  async #again(slot: Slot): Promise<void> {
    const { redeliveryMs, redeliveryMaxMs } = this.options.limits;
    const { signal } = this.#ending;
    // Not within the call of the consumer that has failed.
    await Promise.resolve();
    await slot.consumer.end('lost');
    slot.failures++;
    if (slot.failures > 1) {
      await this.options.clock.sleep(Math.min(redeliveryMaxMs, redeliveryMs * 2 ** (slot.failures - 2)), signal);
    }
    slot.position = Math.max(slot.position, slot.committed ?? -1);
    slot.consumer = this.#consumer(slot.topic, slot.partition);
  }

  async #commit(topic: string, partition: number, nextOffset: number): Promise<void> {
    if (!Number.isSafeInteger(nextOffset) || nextOffset < 0) {
      throw new MeridianError('invalid', `offset ${nextOffset} is not a whole number from 0 on`, 'never');
    }
    const slot = this.#slots.get(`${topic}/${partition}`);
    if (!slot) throw this.#refused(`committing ${nextOffset} of ${topic}/${partition}`);
    if (slot.committed !== null && nextOffset <= slot.committed) return;
    slot.asked = Math.max(slot.asked, nextOffset);
    await this.#commits.commit([this.group, topic, partition, slot.asked]);
  }

  async #storeCommits(rows: readonly CommitRow[]): Promise<void> {
    const generation = this.#generation;
    const attempt = `committing ${rows.map(([, topic, p, offset]) => `${offset} of ${topic}/${p}`).join(', ')}`;
    if (!generation) throw this.#refused(attempt);
    const topics = [...new Set(rows.map(([, topic]) => topic))].map((topic) => ({
      topic,
      partitions: rows
        .filter(([, of]) => of === topic)
        .map(([, , partition, offset]) => ({ partition, offset: String(offset) })),
    }));
    try {
      await this.options.asker.askGroup(`${attempt} for group ${this.group}`, this.group, (coordinator) =>
        coordinator.offsetCommit({
          groupId: this.group,
          memberId: generation.memberId,
          groupGenerationId: generation.generationId,
          topics,
        }),
      );
    } catch (error) {
      if (!isMembershipLost(error)) throw error;
      this.#end('lost');
      throw this.#refused(attempt);
    }
  }

  #stored(rows: readonly CommitRow[]): void {
    for (const [, topic, partition, offset] of rows) {
      const slot = this.#slots.get(`${topic}/${partition}`);
      if (!slot) continue;
      slot.committed = Math.max(slot.committed ?? -1, offset);
      slot.failures = 0;
    }
  }

  #refused(attempt: string): MeridianError {
    return new MeridianError('refused', `${attempt} for group ${this.group}: no longer owned`, 'never');
  }
}
