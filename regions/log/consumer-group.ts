import type { LogSubscription } from '../../global/log/span-log.js';
import { backoffMs } from '../../global/runtime/backoff.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { assignPartitions } from './partition-assignment.js';
import { type ConsumerLog, PartitionConsumer } from './partition-consumer.js';

export interface GroupOptions {
  readonly log: ConsumerLog;
  /** Where an ownership begins. */
  startOffset(group: string, topic: string, partition: number, from: LogSubscription['from']): number;
  partitions(topic: string): number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly redeliveryMs: number;
  readonly redeliveryMaxMs: number;
}

interface Member {
  readonly subscription: LogSubscription;
}

/** A partition within the group: who owns it now, and who is to own it. */
interface Slot {
  readonly topic: string;
  readonly partition: number;
  wanted: Member | null;
  owner: Member | null;
  consumer: PartitionConsumer | null;
  /** Ownerships in a row that failed without a commit in between. */
  failures: number;
  failed: boolean;
  settling: Promise<void> | null;
  /** Called once when the owner has let go. */
  onRelease: (() => void)[];
}

/** A consumer group whose members are all in this process. Partitions that do not change hands go on undisturbed. */
export class ConsumerGroup {
  readonly #members: Member[] = [];
  readonly #slots = new Map<string, Slot>();
  readonly #closing = new AbortController();

  constructor(
    readonly name: string,
    private readonly options: GroupOptions,
  ) {}

  get memberCount(): number {
    return this.#members.length;
  }

  /** Topics that it has or had members for. */
  topics(): string[] {
    return [...new Set([...this.#slots.values()].map((slot) => slot.topic))];
  }

  join(subscription: LogSubscription): { stop(): Promise<void> } {
    const member: Member = { subscription };
    this.#members.push(member);
    for (const topic of subscription.topics) this.#addSlots(topic);
    this.#rebalance();
    let stopped: Promise<void> | null = null;
    return {
      stop: () => {
        stopped ??= this.#leave(member);
        return stopped;
      },
    };
  }

  /** Ends all members. */
  async stop(): Promise<void> {
    this.#closing.abort();
    this.#members.splice(0);
    this.#rebalance();
    await this.#settled();
  }

  /** The group has committed this partition: its consumer is not stuck. */
  progressed(topic: string, partition: number): void {
    const slot = this.#slots.get(slotKey(topic, partition));
    if (slot) slot.failures = 0;
  }

  async #leave(member: Member): Promise<void> {
    const at = this.#members.indexOf(member);
    if (at >= 0) this.#members.splice(at, 1);
    const owned = [...this.#slots.values()].filter((slot) => slot.owner === member || slot.wanted === member);
    this.#rebalance();
    await Promise.all(owned.map((slot) => this.#whenReleased(slot, member)));
  }

  async #whenReleased(slot: Slot, member: Member): Promise<void> {
    while (slot.owner === member) await new Promise<void>((resolve) => slot.onRelease.push(resolve));
  }

  async #settled(): Promise<void> {
    for (const slot of this.#slots.values()) while (slot.settling) await slot.settling;
  }

  #addSlots(topic: string): void {
    for (let partition = 0; partition < this.options.partitions(topic); partition++) {
      const key = slotKey(topic, partition);
      if (this.#slots.has(key)) continue;
      const unowned = { wanted: null, owner: null, consumer: null, failures: 0, failed: false, settling: null };
      this.#slots.set(key, { topic, partition, ...unowned, onRelease: [] });
    }
  }

  #rebalance(): void {
    const byTopic = new Map<string, Slot[]>();
    for (const slot of this.#slots.values()) {
      const slots = byTopic.get(slot.topic) ?? [];
      byTopic.set(slot.topic, slots);
      slots.push(slot);
    }
    for (const [topic, slots] of byTopic) {
      const members = this.#members.filter((m) => m.subscription.topics.includes(topic));
      const wanted = assignPartitions({ members, owners: slots.map((slot) => slot.wanted) });
      for (const [index, slot] of slots.entries()) {
        slot.wanted = wanted[index]!;
        this.#settle(slot);
      }
    }
  }

  #settle(slot: Slot): void {
    slot.settling ??= this.#move(slot).finally(() => {
      slot.settling = null;
      if (slot.failed || slot.owner !== slot.wanted) this.#settle(slot);
    });
  }

  /** Brings a partition to where it is wanted, one ownership after the other. */
  async #move(slot: Slot): Promise<void> {
    // Not within the call that joins or leaves.
    await Promise.resolve();
    while (slot.failed || slot.owner !== slot.wanted) {
      if (slot.consumer) {
        const stays = slot.owner && this.#members.includes(slot.owner);
        await slot.consumer.end(slot.failed ? 'lost' : stays ? 'revoked' : 'stopped');
        slot.consumer = null;
        slot.owner = null;
        for (const released of slot.onRelease.splice(0)) released();
        if (slot.failed) await this.#backOff(slot);
        slot.failed = false;
      }
      if (slot.wanted) this.#start(slot, slot.wanted);
    }
  }

  /** The first redelivery comes at once. */
  async #backOff(slot: Slot): Promise<void> {
    const { redeliveryMs, redeliveryMaxMs, clock } = this.options;
    slot.failures++;
    if (slot.failures === 1) return;
    await clock.sleep(
      backoffMs({ firstMs: redeliveryMs, maxMs: redeliveryMaxMs }, slot.failures - 1),
      this.#closing.signal,
    );
  }

  #start(slot: Slot, member: Member): void {
    const { topic, partition } = slot;
    const { subscription } = member;
    const consumer = new PartitionConsumer(this.options.log, subscription, topic, partition, this.options.logger);
    slot.owner = member;
    slot.consumer = consumer;
    const failed = () => {
      slot.failed = true;
      this.#settle(slot);
    };
    try {
      consumer.start(this.options.startOffset(this.name, topic, partition, subscription.from), failed);
    } catch (error) {
      this.options.logger.error({ group: this.name, topic, partition, error: messageOf(error) }, 'assigning failed');
      slot.failed = true;
    }
  }
}

function slotKey(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
