import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { KafkaAsker } from './kafka-asker.js';
import { fromKafka, isProducerForgotten } from './kafka-errors.js';
import type { KafkaLimits } from './kafka-limits.js';
import {
  decodeProduce,
  encodeProduce,
  PRODUCE_API_KEY,
  PRODUCE_API_VERSION,
  type ProduceAnswer,
  type ProduceBatch,
} from './kafka-produce.js';
import { batchHeader, type EncodedRecords } from './kafka-record-batch.js';
import { KafkaSequences } from './kafka-sequences.js';
import { errorOfCode, type WireBroker, type WireCluster, type WireConnection } from './kafka-wire.js';

/** Records on their way to a partition. No other of that partition is on its way at the same time. */
export interface Shipment {
  readonly topic: string;
  readonly partition: number;
  readonly records: EncodedRecords;
  /** Exactly one of them is called, once, when nothing of it is under way any more. */
  acknowledged(baseOffset: number): void;
  failed(error: MeridianError): void;
  /** Called at most once, before: the budget is over, the outcome is not known yet. */
  late(error: MeridianError): void;
}

/** A shipment with what its attempts have left behind. */
interface Parcel {
  readonly shipment: Shipment;
  /** The batch as it was sent last: a repetition is the same bytes, so that the broker knows it. */
  batch: ProduceBatch | null;
  attempts: number;
  settled: boolean;
}

interface Attempt {
  readonly deadlineMs: number;
  readonly waitMs: number;
}

export interface KafkaSenderOptions {
  readonly asker: KafkaAsker;
  readonly limits: Pick<KafkaLimits, 'appendBudgetMs' | 'retryMs' | 'retryMaxMs' | 'unknownTopicAttemptsMax'>;
  readonly clock: Clock;
  /** A request was answered: how long it took, what it held as sent. */
  readonly answered: (ms: number, bytes: number, records: number) => void;
}

/**
 * Sends batches to the leaders of their partitions, one request for each leader, with `acks=all` and as Kafka's idempotent producer: a
 * repetition after a failure is known to the broker by producer and sequence, and is not in the log twice. What failed for good gives its
 * partition another producer, because nobody knows whether the broker has counted it.
 */
export class KafkaSender {
  readonly #sequences = new KafkaSequences();

  constructor(private readonly options: KafkaSenderOptions) {}

  /** Resolves when each has settled. Repeats what may succeed later until the budget is over. */
  async send(shipments: readonly Shipment[]): Promise<void> {
    const { clock, limits } = this.options;
    const parcels = shipments.map((shipment) => ({ shipment, batch: null, attempts: 0, settled: false }));
    const budget = new AbortController();
    const deadlineMs = clock.monotonicMs() + limits.appendBudgetMs;
    // A broker that hangs may answer much later: whoever waits is told in time.
    const tooLate = clock.sleep(limits.appendBudgetMs, budget.signal).then(() => {
      if (budget.signal.aborted) return;
      const error = new Error(`not acknowledged within ${limits.appendBudgetMs} ms`);
      for (const { shipment, settled } of parcels) if (!settled) shipment.late(failureOf(shipment, error));
    });
    await this.#attempt(parcels, { deadlineMs, waitMs: limits.retryMs });
    budget.abort();
    await tooLate;
  }

  async #attempt(parcels: readonly Parcel[], attempt: Attempt): Promise<void> {
    const { asker, clock } = this.options;
    const topics = [...new Set(parcels.map(({ shipment }) => shipment.topic))];
    let leaders: ReadonlyMap<string, Parcel[]>;
    try {
      const budgetMs = attempt.deadlineMs - clock.monotonicMs();
      leaders = await asker.ask('appending', topics, async (cluster) => byLeader(cluster, parcels), budgetMs);
    } catch (error) {
      // What it was about is told per partition.
      const reason = error instanceof MeridianError ? (error.cause ?? error) : error;
      for (const parcel of parcels) this.#fail(parcel, reason);
      return;
    }
    await Promise.all([...leaders].map(([nodeId, led]) => this.#toLeader(nodeId, led, attempt)));
  }

  async #toLeader(nodeId: string, parcels: readonly Parcel[], attempt: Attempt): Promise<void> {
    let problem: unknown = null;
    const problems = new Map<Parcel, unknown>();
    try {
      const broker = await this.options.asker.cluster.findBroker({ nodeId });
      const answers = await this.#request(broker, parcels);
      for (const parcel of parcels) {
        const { topic, partition } = parcel.shipment;
        const answer = answers.get(`${topic}/${partition}`);
        if (answer?.errorCode === 0) this.#acknowledge(parcel, answer.baseOffset);
        else
          problems.set(parcel, answer ? errorOfCode(answer.errorCode) : new Error('the broker did not answer for it'));
      }
      problem = problems.values().next().value;
    } catch (error) {
      problem = error;
      for (const parcel of parcels) problems.set(parcel, error);
    }
    await this.#again(problems, problem, attempt);
  }

  /** Repeats what may succeed later, the rest has failed. */
  async #again(problems: ReadonlyMap<Parcel, unknown>, problem: unknown, attempt: Attempt): Promise<void> {
    if (problems.size === 0) return;
    const { asker, clock, limits } = this.options;
    const inTime = clock.monotonicMs() + attempt.waitMs < attempt.deadlineMs;
    const repeated: Parcel[] = [];
    for (const [parcel, error] of problems) {
      if (inTime && this.#mayPass(parcel, error)) repeated.push(parcel);
      else this.#fail(parcel, error);
    }
    if (repeated.length === 0) return;
    await clock.sleep(attempt.waitMs);
    await asker.recover(problem);
    await this.#attempt(repeated, { ...attempt, waitMs: Math.min(2 * attempt.waitMs, limits.retryMaxMs) });
  }

  #mayPass(parcel: Parcel, error: unknown): boolean {
    if (isProducerForgotten(error)) {
      this.#renounce(parcel);
      return true;
    }
    const { code } = fromKafka('appending', error);
    // A leader that has just become one may not know the topic yet.
    if (code === 'not-found') return parcel.attempts < this.options.limits.unknownTopicAttemptsMax;
    return code === 'unavailable';
  }

  #acknowledge(parcel: Parcel, baseOffset: number): void {
    const { shipment } = parcel;
    this.#sequences.taken(shipment.topic, shipment.partition, shipment.records.count);
    parcel.settled = true;
    shipment.acknowledged(baseOffset);
  }

  #fail(parcel: Parcel, error: unknown): void {
    // Whether one of the attempts was counted is not known, and the next batch must not be taken for it.
    if (parcel.batch) this.#renounce(parcel);
    parcel.settled = true;
    parcel.shipment.failed(failureOf(parcel.shipment, error));
  }

  #renounce(parcel: Parcel): void {
    this.#sequences.forget(parcel.shipment.topic, parcel.shipment.partition);
    parcel.batch = null;
  }

  async #request(broker: WireBroker, parcels: readonly Parcel[]): Promise<ReadonlyMap<string, ProduceAnswer>> {
    const { clock, answered } = this.options;
    const batches: ProduceBatch[] = [];
    for (const parcel of parcels) {
      parcel.attempts++;
      parcel.batch ??= await this.#batchOf(broker, parcel.shipment);
      batches.push(parcel.batch);
    }
    const startMs = clock.monotonicMs();
    const connection = await broker.connectionPool.getConnection();
    const answers = await this.#exchange(broker, connection, batches);
    const sum = (of: (parcel: Parcel) => number) => parcels.reduce((total, parcel) => total + of(parcel), 0);
    answered(
      clock.monotonicMs() - startMs,
      sum(({ batch }) => batch!.bytes),
      sum(({ shipment }) => shipment.records.count),
    );
    return new Map(answers.map((answer) => [`${answer.topic}/${answer.partition}`, answer]));
  }

  async #batchOf(broker: WireBroker, { topic, partition, records }: Shipment): Promise<ProduceBatch> {
    const stamp = await this.#sequences.next(broker, topic, partition);
    const header = batchHeader(records, stamp);
    return { topic, partition, header, chunks: records.chunks, bytes: header.length + records.bytes };
  }

  /** What kafkajs's `Connection.send` does, but writes the chunks as they are. */
  async #exchange(
    broker: WireBroker,
    connection: WireConnection,
    batches: readonly ProduceBatch[],
  ): Promise<readonly ProduceAnswer[]> {
    checkVersion(broker);
    if (!connection.isAuthenticated()) await connection.authenticate();
    if (!connection.isConnected()) throw new Error(`the connection to ${connection.host}:${connection.port} is closed`);
    const correlationId = connection.nextCorrelationId();
    const head = { correlationId, clientId: connection.clientId, timeoutMs: this.options.limits.appendBudgetMs };
    const chunks = encodeProduce(head, batches);
    const { payload } = await new Promise<{ readonly payload: Buffer }>((resolve, reject) => {
      const api = { apiKey: PRODUCE_API_KEY, apiName: 'Produce', apiVersion: PRODUCE_API_VERSION };
      connection.requestQueue.push({
        entry: { ...api, correlationId, resolve, reject },
        expectResponse: true,
        requestTimeout: null,
        sendRequest: () => {
          const { socket } = connection;
          socket.cork();
          for (const chunk of chunks) socket.write(chunk);
          socket.uncork();
        },
      });
    });
    const { answers, throttleMs } = decodeProduce(payload);
    connection.requestQueue.maybeThrottle(throttleMs);
    return answers;
  }
}

function byLeader(cluster: WireCluster, parcels: readonly Parcel[]): Map<string, Parcel[]> {
  const leaders = new Map<string, Parcel[]>();
  for (const parcel of parcels) {
    const { topic, partition } = parcel.shipment;
    const [nodeId = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
    const led = leaders.get(nodeId);
    if (led) led.push(parcel);
    else leaders.set(nodeId, [parcel]);
  }
  return leaders;
}

function checkVersion({ versions }: WireBroker): void {
  const range = versions?.[PRODUCE_API_KEY];
  if (!range || (range.minVersion <= PRODUCE_API_VERSION && PRODUCE_API_VERSION <= range.maxVersion)) return;
  throw new MeridianError(
    'configuration',
    `appending: the broker takes Produce requests of versions ${range.minVersion} to ${range.maxVersion}, not ${PRODUCE_API_VERSION} (Kafka 2.1)`,
    'never',
  );
}

function failureOf({ topic, partition }: Shipment, error: unknown): MeridianError {
  return fromKafka(`appending to ${topic}/${partition}`, error);
}
