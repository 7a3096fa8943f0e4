import type { LogRecord } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { KafkaAsker } from './kafka-asker.js';
import { kafkaErrorType } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import { ISOLATION_LEVEL } from './kafka-read.js';
import { countUpTo, recordsFrom } from './kafka-records.js';

/** A partition that is being fetched. A new ownership is a new lane, so that an answer to the old one cannot get into it. */
interface Lane {
  readonly topic: string;
  readonly partition: number;
  nextOffset: number;
  /** Fetched, not yet taken; in order. */
  records: LogRecord[];
  bytes: number;
  endOffset: number;
  readonly waiting: Set<() => void>;
}

/**
 * Fetches the partitions of one member ahead of its handlers: one request at a time to each broker, for all partitions that it leads and that have
 * room. A partition whose handler is behind is left out of the requests until it has caught up: that bounds memory and is the backpressure.
 */
export class KafkaFetcher {
  readonly #lanes = new Map<string, Lane>();
  readonly #nodes = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();
  #wake: (() => void)[] = [];

  constructor(
    private readonly asker: KafkaAsker,
    private readonly limits: KafkaLimits,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Begins, or begins anew, at an offset. */
  add(topic: string, partition: number, fromOffset: number): void {
    const fresh = {
      nextOffset: fromOffset,
      records: [],
      bytes: 0,
      endOffset: fromOffset,
      waiting: new Set<() => void>(),
    };
    this.#lanes.set(keyOf(topic, partition), { topic, partition, ...fresh });
    this.#kick();
  }

  remove(topic: string, partition: number): void {
    this.#lanes.delete(keyOf(topic, partition));
  }

  /** The end of the partition as the last fetch saw it; null where it is not fetched here. */
  endOf(topic: string, partition: number): number | null {
    return this.#lanes.get(keyOf(topic, partition))?.endOffset ?? null;
  }

  /** Resolves when there are records to take, or the signal aborts. */
  waitForRecords(topic: string, partition: number, signal: AbortSignal): Promise<void> {
    const lane = this.#lanes.get(keyOf(topic, partition));
    if (signal.aborted || (lane && lane.records.length > 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        lane?.waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      lane?.waiting.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Takes records in order: up to `bytesMax` of values, but at least one where there is one. */
  take(topic: string, partition: number, bytesMax: number): readonly LogRecord[] {
    const lane = this.#lanes.get(keyOf(topic, partition));
    if (!lane) return [];
    const taken = lane.records.splice(0, countUpTo(lane.records, bytesMax));
    const wasFull = lane.bytes >= this.limits.bufferedBytesMax;
    for (const { value } of taken) lane.bytes -= value.length;
    if (wasFull && lane.bytes < this.limits.bufferedBytesMax) this.#kick();
    return taken;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#lanes.clear();
    this.#kick();
    await Promise.all(this.#nodes.values());
  }

  #kick(): void {
    for (const wake of this.#wake.splice(0)) wake();
    if (this.#closing.signal.aborted || this.#lanes.size === 0) return;
    for (const nodeId of this.#leaders()) {
      if (this.#nodes.has(nodeId)) continue;
      const running = this.#run(nodeId).finally(() => {
        this.#nodes.delete(nodeId);
        this.#kick();
      });
      this.#nodes.set(nodeId, running);
    }
  }

  #leaders(): Set<string> {
    return new Set([...this.#lanes.values()].map((lane) => this.#leaderOf(lane)));
  }

  /** Empty where it is not known yet. */
  #leaderOf({ topic, partition }: Lane): string {
    try {
      return Object.keys(this.asker.cluster.findLeaderForPartitions(topic, [partition]))[0] ?? '';
    } catch {
      return '';
    }
  }

  /** Fetches from one broker for as long as it leads a partition of ours. */
  async #run(nodeId: string): Promise<void> {
    // Not within the call that added a partition.
    await Promise.resolve();
    let waitMs = this.limits.retryMs;
    while (!this.#closing.signal.aborted) {
      const led = [...this.#lanes.values()].filter((lane) => this.#leaderOf(lane) === nodeId);
      if (led.length === 0) return;
      const wanting = led.filter((lane) => lane.bytes < this.limits.bufferedBytesMax);
      if (wanting.length === 0) {
        await new Promise<void>((resolve) => this.#wake.push(resolve));
        continue;
      }
      try {
        if (nodeId === '') throw new Error('the leader is not known');
        await this.#fetch(nodeId, wanting);
        waitMs = this.limits.retryMs;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (await this.#resetWhereOutOfRange(error)) continue;
        this.logger.warn({ nodeId, error: messageOf(error) }, 'fetching failed');
        await this.clock.sleep(waitMs, this.#closing.signal);
        waitMs = Math.min(waitMs * 2, this.limits.retryMaxMs);
        await this.asker.recover(error);
        this.#kick();
      }
    }
  }

  async #fetch(nodeId: string, lanes: readonly Lane[]): Promise<void> {
    const { fetchWaitMs, fetchBytesMax, fetchPartitionBytesMax } = this.limits;
    const asked = new Map(lanes.map((lane) => [lane, lane.nextOffset]));
    const byTopic = groupByTopic(lanes);
    const broker = await this.asker.cluster.findBroker({ nodeId });
    const { responses } = await broker.fetch({
      isolationLevel: ISOLATION_LEVEL,
      maxWaitTime: fetchWaitMs,
      minBytes: 1,
      maxBytes: fetchBytesMax,
      topics: [...byTopic].map(([topic, of]) => ({
        topic,
        partitions: of.map(({ partition, nextOffset }) => ({
          partition,
          fetchOffset: String(nextOffset),
          maxBytes: fetchPartitionBytesMax,
        })),
      })),
    });
    for (const { topicName, partitions } of responses) {
      for (const { partition, messages, highWatermark } of partitions) {
        const lane = this.#lanes.get(keyOf(topicName, partition));
        if (!lane || asked.get(lane) !== lane.nextOffset) continue;
        lane.endOffset = Number(highWatermark);
        this.#arrived(lane, recordsFrom(messages, lane.nextOffset), messages.at(-1)?.offset);
      }
    }
  }

  #arrived(lane: Lane, records: readonly LogRecord[], lastOffset: string | undefined): void {
    if (lastOffset !== undefined) lane.nextOffset = Math.max(lane.nextOffset, Number(lastOffset) + 1);
    if (records.length === 0) return;
    lane.records = lane.records.concat(records);
    for (const { value } of records) lane.bytes += value.length;
    for (const done of [...lane.waiting]) done();
  }

  /** Retention has overtaken the consumer, or the log is shorter than it was: it goes on at the nearest record that there is. */
  async #resetWhereOutOfRange(error: unknown): Promise<boolean> {
    if (kafkaErrorType(error) !== 'OFFSET_OUT_OF_RANGE') return false;
    const { topic, partition } = error as { topic?: string; partition?: number };
    const lane = topic === undefined || partition === undefined ? undefined : this.#lanes.get(keyOf(topic, partition));
    if (!lane) return false;
    try {
      const [start, end] = await this.asker.ask(
        `asking for the range of ${topic}/${partition}`,
        [],
        async (cluster) => {
          const wanted = { topic: lane.topic, partitions: [{ partition: lane.partition }] };
          const ranges = [true, false].map((fromBeginning) =>
            cluster.fetchTopicsOffset([{ ...wanted, fromBeginning }]),
          );
          return (await Promise.all(ranges)).map((found) => Number(found[0]?.partitions[0]?.offset));
        },
      );
      const to = lane.nextOffset < start! ? start! : end!;
      this.logger.warn(
        { topic, partition, wanted: lane.nextOffset, goesOnAt: to },
        'records that were wanted are gone',
      );
      lane.nextOffset = to;
      return true;
    } catch {
      return false;
    }
  }
}

function groupByTopic(lanes: readonly Lane[]): Map<string, Lane[]> {
  const byTopic = new Map<string, Lane[]>();
  for (const lane of lanes) {
    const of = byTopic.get(lane.topic);
    if (of) of.push(lane);
    else byTopic.set(lane.topic, [lane]);
  }
  return byTopic;
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
