import kafkajs, { type Producer } from 'kafkajs';
import type { LogEntry } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { headersBytes } from './headers-codec.js';
import { fromKafka } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import { toMessage } from './kafka-records.js';
import { checkPartition, type KafkaTopics } from './kafka-topics.js';

interface QueuedAppend {
  readonly entries: readonly LogEntry[];
  readonly bytes: number;
  readonly sizes: readonly number[];
  readonly queuedMs: number;
  /** Entries that requests have taken, and that are acknowledged. */
  taken: number;
  acknowledged: number;
  firstOffset: number;
  settled: boolean;
  resolve(result: { firstOffset: number }): void;
  reject(error: Error): void;
}

/** A partition's appends in the order of the calls. One request of it is under way at a time: a repetition cannot overtake. */
interface Lane {
  readonly topic: string;
  readonly partition: number;
  readonly queue: QueuedAppend[];
  busy: boolean;
}

interface Piece {
  readonly append: QueuedAppend;
  readonly from: number;
  readonly to: number;
}

/** What one request appends to one partition. */
interface Portion {
  readonly lane: Lane;
  readonly pieces: Piece[];
  readonly bytes: number;
}

export interface ProducerObserver {
  appended(topic: string, records: number, bytes: number): void;
  request(ms: number, bytes: number, records: number): void;
}

export interface KafkaProducerOptions {
  readonly producer: Producer;
  readonly topics: KafkaTopics;
  readonly limits: KafkaLimits;
  readonly clock: Clock;
  /** Topics whose values are compressed already. */
  readonly uncompressed: ReadonlySet<string>;
  readonly observer: ProducerObserver;
}

/**
 * Appends with `acks=all`. What waits for a partition while its last request is under way goes with the next, one request for all partitions
 * that have something. Without Kafka's idempotence: kafkajs gives a sequence number of a request that failed to the next one, and a broker
 * that had taken the first would drop the second as a repetition. A repetition after a failure may therefore be in the log twice.
 */
export class KafkaProducer {
  readonly #lanes = new Map<string, Lane>();
  #queuedBytes = 0;
  #scheduled = false;
  readonly #running = new Set<Promise<void>>();

  constructor(private readonly options: KafkaProducerOptions) {}

  /** Bytes that wait for their acknowledgement. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** At least one entry. */
  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<{ firstOffset: number }> {
    const { limits, clock } = this.options;
    const sizes = entries.map((entry) => checkedBytes(topic, entry, limits));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (this.#queuedBytes + bytes > limits.queuedBytesMax) {
      throw new MeridianError(
        'overloaded',
        `appending ${bytes} bytes to ${topic}/${partition}: ${this.#queuedBytes} bytes wait already, of ${limits.queuedBytesMax}`,
        'later',
      );
    }
    this.#queuedBytes += bytes;
    return new Promise((resolve, reject) => {
      const counters = { taken: 0, acknowledged: 0, firstOffset: -1, settled: false };
      const append = { entries, sizes, bytes, queuedMs: clock.monotonicMs(), ...counters, resolve, reject };
      this.#lane(topic, partition).queue.push(append);
      this.#schedule();
    });
  }

  /** Resolves when nothing waits any more. */
  async drained(): Promise<void> {
    while (this.#scheduled || this.#running.size > 0) {
      await Promise.all(this.#running);
      await Promise.resolve();
    }
  }

  #lane(topic: string, partition: number): Lane {
    const key = `${topic}/${partition}`;
    const lane = this.#lanes.get(key) ?? { topic, partition, queue: [], busy: false };
    this.#lanes.set(key, lane);
    return lane;
  }

  /** In a microtask: what the caller appends in the same turn goes together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      const ready = [...this.#lanes.values()].filter((lane) => !lane.busy && lane.queue.length > 0);
      for (const request of requestsOf(ready, this.options.limits)) this.#start(request);
    });
  }

  #start(request: readonly Portion[]): void {
    for (const { lane } of request) lane.busy = true;
    const running = this.#send(request).finally(() => {
      this.#running.delete(running);
      for (const { lane } of request) {
        lane.busy = false;
        if (lane.queue.length === 0) this.#lanes.delete(`${lane.topic}/${lane.partition}`);
      }
      this.#schedule();
    });
    this.#running.add(running);
  }

  async #send(request: readonly Portion[]): Promise<void> {
    const known = await Promise.all(request.map((portion) => this.#isKnown(portion)));
    const sendable = request.filter((_, index) => known[index]);
    const byCompression = [true, false].map((packed) =>
      sendable.filter(({ lane }) => this.options.uncompressed.has(lane.topic) !== packed),
    );
    await Promise.all(byCompression.filter((of) => of.length > 0).map((portions) => this.#sendTogether(portions)));
  }

  async #isKnown({ lane, pieces }: Portion): Promise<boolean> {
    try {
      checkPartition(lane.topic, lane.partition, await this.options.topics.partitions(lane.topic));
      return true;
    } catch (error) {
      const failure = fromKafka(`appending to ${lane.topic}/${lane.partition}`, error);
      for (const { append } of pieces) this.#fail(lane, append, failure);
      return false;
    }
  }

  /** Repeats a request that may succeed later until the budget is over; the lanes stay busy, so nothing overtakes it. */
  async #sendTogether(portions: readonly Portion[]): Promise<void> {
    const { clock, limits } = this.options;
    const budget = new AbortController();
    const deadlineMs = clock.monotonicMs() + limits.appendBudgetMs;
    // A broker that hangs may answer much later: whoever waits is told in time.
    const tooLate = clock.sleep(limits.appendBudgetMs, budget.signal).then(() => {
      if (budget.signal.aborted) return;
      this.#failAll(portions, new Error(`not acknowledged within ${limits.appendBudgetMs} ms`));
    });
    try {
      for (let waitMs = limits.retryMs; ; waitMs = Math.min(2 * waitMs, limits.retryMaxMs)) {
        try {
          return await this.#request(portions);
        } catch (error) {
          const { code } = fromKafka('appending', error);
          if (code === 'unavailable' && clock.monotonicMs() + waitMs < deadlineMs) {
            await clock.sleep(waitMs);
            continue;
          }
          if (code === 'unavailable' || portions.length === 1) return this.#failAll(portions, error);
          // One partition's fault is not to be the others'.
          await Promise.all(portions.map((portion) => this.#sendTogether([portion])));
          return;
        }
      }
    } finally {
      budget.abort();
      await tooLate;
    }
  }

  async #request(portions: readonly Portion[]): Promise<void> {
    const { producer, clock, observer, uncompressed } = this.options;
    const startMs = clock.monotonicMs();
    const results = await producer.sendBatch({
      acks: -1,
      compression: uncompressed.has(portions[0]!.lane.topic)
        ? kafkajs.CompressionTypes.None
        : kafkajs.CompressionTypes.LZ4,
      topicMessages: portions.map(({ lane, pieces }) => ({
        topic: lane.topic,
        messages: pieces.flatMap(({ append, from, to }) =>
          append.entries.slice(from, to).map((entry) => toMessage(entry, lane.partition)),
        ),
      })),
    });
    const offsets = new Map(results.map((r) => [`${r.topicName}/${r.partition}`, Number(r.baseOffset)]));
    const bytes = portions.reduce((sum, portion) => sum + portion.bytes, 0);
    const records = portions.reduce((sum, portion) => sum + recordsOf(portion), 0);
    observer.request(clock.monotonicMs() - startMs, bytes, records);
    for (const portion of portions) this.#acknowledge(portion, offsets);
  }

  #acknowledge({ lane, pieces, bytes }: Portion, offsets: ReadonlyMap<string, number>): void {
    let offset = offsets.get(`${lane.topic}/${lane.partition}`) ?? -1;
    let records = 0;
    for (const { append, from, to } of pieces) {
      if (from === 0) append.firstOffset = offset;
      offset += to - from;
      records += to - from;
      append.acknowledged = to;
      if (to === append.entries.length) this.#settle(append, () => append.resolve({ firstOffset: append.firstOffset }));
    }
    this.options.observer.appended(lane.topic, records, bytes);
  }

  #failAll(portions: readonly Portion[], error: unknown): void {
    for (const { lane, pieces } of portions) {
      const failure = fromKafka(`appending to ${lane.topic}/${lane.partition}`, error);
      for (const { append } of pieces) this.#fail(lane, append, failure);
    }
  }

  /** What is left of an append in the queue goes with it, its order would have a hole. */
  #fail(lane: Lane, append: QueuedAppend, failure: MeridianError): void {
    const at = lane.queue.indexOf(append);
    if (at >= 0) lane.queue.splice(at, 1);
    this.#settle(append, () => append.reject(failure));
  }

  #settle(append: QueuedAppend, how: () => void): void {
    if (append.settled) return;
    append.settled = true;
    this.#queuedBytes -= append.bytes;
    how();
  }
}

function recordsOf({ pieces }: Portion): number {
  return pieces.reduce((sum, { from, to }) => sum + to - from, 0);
}

/** Takes from each lane what fits into a request, and puts lanes together as long as they fit. */
function requestsOf(lanes: readonly Lane[], limits: KafkaLimits): Portion[][] {
  const requests: Portion[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const lane of lanes) {
    const portion = takePortion(lane, limits.partitionRequestBytesMax);
    bytes += portion.bytes;
    if (bytes > limits.requestBytesMax) {
      requests.push([]);
      bytes = portion.bytes;
    }
    requests.at(-1)!.push(portion);
  }
  return requests;
}

/** In the order of the calls: at least one entry, then as many as fit. An append that is taken whole leaves the queue. */
function takePortion(lane: Lane, bytesMax: number): Portion {
  const pieces: Piece[] = [];
  let bytes = 0;
  for (let append = lane.queue[0]; append; append = lane.queue[0]) {
    const from = append.taken;
    while (append.taken < append.entries.length) {
      const size = append.sizes[append.taken]!;
      if (bytes > 0 && bytes + size > bytesMax) break;
      bytes += size;
      append.taken++;
    }
    if (append.taken > from) pieces.push({ append, from, to: append.taken });
    if (append.taken < append.entries.length) break;
    lane.queue.shift();
  }
  return { lane, pieces, bytes };
}

function checkedBytes(topic: string, entry: LogEntry, limits: KafkaLimits): number {
  const headers = Object.keys(entry.headers).length;
  if (headers > limits.headersMax) throw tooLarge(topic, `${headers} headers`, limits.headersMax);
  const ofHeaders = headersBytes(entry.headers);
  if (ofHeaders > limits.headersBytesMax) {
    throw tooLarge(topic, `headers of ${ofHeaders} bytes`, limits.headersBytesMax);
  }
  const bytes = entry.value.length + ofHeaders + (entry.key?.length ?? 0);
  if (bytes > limits.entryBytesMax) throw tooLarge(topic, `an entry of ${bytes} bytes`, limits.entryBytesMax);
  return bytes;
}

function tooLarge(topic: string, what: string, most: number): MeridianError {
  return new MeridianError('too-large', `appending to topic ${topic}: ${what}, at most ${most} may be`, 'never');
}
