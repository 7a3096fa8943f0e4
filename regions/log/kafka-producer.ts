import type { LogEntry } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { headersBytes } from './headers-codec.js';
import { fromKafka } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import { encodeRecords } from './kafka-record-batch.js';
import type { KafkaSender, Shipment } from './kafka-sender.js';
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
}

export interface KafkaProducerOptions {
  readonly sender: Pick<KafkaSender, 'send'>;
  readonly topics: KafkaTopics;
  readonly limits: KafkaLimits;
  readonly clock: Clock;
  /** Topics whose values are compressed already. */
  readonly uncompressed: ReadonlySet<string>;
  readonly observer: ProducerObserver;
}

/** Encoded, lz4 included, before the event loop gets a turn. About a millisecond. */
const ENCODED_BYTES_PER_TURN = 1024 * 1024;

/**
 * Queues appends per partition. What waits for a partition while its last request is under way goes with the next, one request for all
 * partitions that have something.
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

  /** Each lane is free as soon as its own portion has settled. */
  #start(request: readonly Portion[]): void {
    for (const { lane } of request) lane.busy = true;
    const running = this.#send(request).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #send(request: readonly Portion[]): Promise<void> {
    const shipments: Shipment[] = [];
    let turnBytes = 0;
    for (const portion of request) {
      if (!(await this.#isKnown(portion))) continue;
      // lz4 works on this thread, which costs less than the thread pool; but others want a turn after a while.
      if (turnBytes > ENCODED_BYTES_PER_TURN) {
        await new Promise<void>((resolve) => setImmediate(resolve));
        turnBytes = 0;
      }
      turnBytes += portion.bytes;
      shipments.push(this.#shipmentOf(portion));
    }
    if (shipments.length > 0) await this.options.sender.send(shipments);
  }

  async #isKnown(portion: Portion): Promise<boolean> {
    const { topic, partition } = portion.lane;
    try {
      const { topics } = this.options;
      checkPartition(topic, partition, topics.known(topic) ?? (await topics.partitions(topic)));
      return true;
    } catch (error) {
      this.#failPieces(portion, fromKafka(`appending to ${topic}/${partition}`, error));
      this.#free(portion.lane);
      return false;
    }
  }

  #shipmentOf(portion: Portion): Shipment {
    const { clock, uncompressed } = this.options;
    const { topic, partition } = portion.lane;
    const entries = portion.pieces.flatMap(({ append, from, to }) => append.entries.slice(from, to));
    return {
      topic,
      partition,
      records: encodeRecords(entries, !uncompressed.has(topic), Math.floor(clock.nowMs())),
      acknowledged: (baseOffset) => {
        this.#acknowledge(portion, baseOffset);
        this.#free(portion.lane);
      },
      failed: (error) => {
        this.#failPieces(portion, error);
        this.#free(portion.lane);
      },
      late: (error) => this.#failPieces(portion, error),
    };
  }

  #free(lane: Lane): void {
    lane.busy = false;
    if (lane.queue.length === 0) this.#lanes.delete(`${lane.topic}/${lane.partition}`);
    else this.#schedule();
  }

  #acknowledge({ lane, pieces, bytes }: Portion, baseOffset: number): void {
    let offset = baseOffset;
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

  #failPieces({ lane, pieces }: Portion, failure: MeridianError): void {
    for (const { append } of pieces) this.#fail(lane, append, failure);
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
