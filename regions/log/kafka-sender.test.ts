import { describe, expect, test } from 'vitest';
import { ManualClock, realClock } from '../../global/runtime/clock.js';
import type { MeridianError } from '../../global/runtime/errors.js';
import { KafkaAsker } from './kafka-asker.js';
import { encodeRecords } from './kafka-record-batch.js';
import { KafkaSender, type Shipment } from './kafka-sender.js';
import type { WireBroker, WireCluster, WireConnection } from './kafka-wire.js';

const [NOT_LEADER, TOO_LARGE, OUT_OF_ORDER, UNKNOWN_TOPIC] = [6, 10, 45, 3];
const LIMITS = {
  appendBudgetMs: 200,
  askBudgetMs: 200,
  retryMs: 1,
  retryMaxMs: 2,
  unknownTopicAttemptsMax: 3,
};

/** What a broker saw of a batch. */
interface Seen {
  readonly broker: string;
  readonly partition: number;
  readonly producerId: number;
  readonly sequence: number;
  readonly bytes: string;
}

/** A cluster whose brokers answer each batch as they are told to: an error code, or `lost` for a connection that is cut before the answer. */
class FakeCluster {
  readonly seen: Seen[] = [];
  readonly requests: number[] = [];
  /** By partition. */
  readonly leaders = new Map<number, string>();
  answer: (seen: Seen, time: number) => number | 'lost' | 'never' = () => 0;
  refreshed: () => void = () => {};
  #producers = 0;
  #times = new Map<number, number>();

  readonly wire = {
    connect: async () => {},
    disconnect: async () => {},
    removeBroker: () => {},
    addMultipleTargetTopics: async () => {},
    refreshMetadataIfNecessary: async () => {},
    refreshMetadata: async () => this.refreshed(),
    findLeaderForPartitions: (_: string, [partition]: readonly number[]) => ({
      [this.leaders.get(partition!) ?? 'one']: [partition!],
    }),
    findBroker: async ({ nodeId }: { nodeId: string }) => this.#broker(nodeId),
  } as unknown as WireCluster;

  #broker(nodeId: string): WireBroker {
    const socket = { cork() {}, uncork() {}, write: (chunk: Buffer) => void written.push(chunk) };
    let written: Buffer[] = [];
    const connection = {
      host: nodeId,
      port: 1,
      clientId: 'c',
      socket,
      isConnected: () => true,
      isAuthenticated: () => true,
      nextCorrelationId: () => 1,
      requestQueue: {
        maybeThrottle: () => {},
        push: ({ entry, sendRequest }: Parameters<WireConnection['requestQueue']['push']>[0]) => {
          written = [];
          sendRequest();
          const payload = this.#answer(nodeId, Buffer.concat(written));
          if (payload === 'lost') entry.reject(new Error('Closed connection'));
          else if (payload !== 'never') entry.resolve({ payload });
        },
      },
    };
    return {
      versions: { 0: { minVersion: 3, maxVersion: 9 } },
      connectionPool: { getConnection: async () => connection },
      initProducerId: async () => ({ producerId: String(++this.#producers), producerEpoch: 0 }),
    } as unknown as WireBroker;
  }

  /** Reads a request of one topic `t`. */
  #answer(broker: string, request: Buffer): Buffer | 'lost' | 'never' {
    let at = 4 + 2 + 2 + 4 + 3 + 2 + 2 + 4 + 4 + 3;
    const answers: [number, number][] = [];
    let outcome: 'lost' | 'never' | null = null;
    const count = request.readInt32BE(at);
    this.requests.push(count);
    at += 4;
    for (let i = 0; i < count; i++) {
      const partition = request.readInt32BE(at);
      const batch = request.subarray(at + 8, at + 8 + request.readInt32BE(at + 4));
      at += 8 + batch.length;
      const [producerId, sequence] = [Number(batch.readBigInt64BE(43)), batch.readInt32BE(53)];
      const seen = { broker, partition, producerId, sequence, bytes: batch.toString('hex') };
      this.seen.push(seen);
      const time = (this.#times.get(partition) ?? 0) + 1;
      this.#times.set(partition, time);
      const code = this.answer(seen, time);
      if (typeof code === 'number') answers.push([partition, code]);
      else outcome = code;
    }
    if (outcome) return outcome;
    const body = answers.map(([partition, code]) => {
      const bytes = Buffer.alloc(30);
      bytes.writeInt32BE(partition, 0);
      bytes.writeInt16BE(code, 4);
      bytes.writeBigInt64BE(BigInt(code === 0 ? 1_000 + partition : -1), 6);
      return bytes;
    });
    return Buffer.concat([int32(1), Buffer.from([0, 1, 116]), int32(answers.length), ...body, int32(0)]);
  }
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function setUp(clock: typeof realClock | ManualClock = realClock) {
  const cluster = new FakeCluster();
  const asker = new KafkaAsker(cluster.wire, LIMITS, clock);
  const sender = new KafkaSender({ asker, limits: LIMITS, clock, answered: () => {} });
  const outcomes = new Map<number, (number | string)[]>();
  const shipment = (partition: number, value = 'v'): Shipment => {
    const told: (number | string)[] = [];
    outcomes.set(partition, told);
    return {
      topic: 't',
      partition,
      records: encodeRecords([{ key: null, value: Buffer.from(value), headers: {} }], false, 0),
      acknowledged: (offset) => void told.push(offset),
      failed: (error: MeridianError) => void told.push(error.code),
      late: (error: MeridianError) => void told.push(`late: ${error.message}`),
    };
  };
  return { cluster, sender, shipment, outcomes };
}

describe('sending batches', () => {
  test('one request for all partitions of a leader, each answered for itself', async () => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.leaders.set(2, 'two');
    cluster.answer = ({ partition }) => (partition === 1 ? TOO_LARGE : 0);
    await sender.send([shipment(0), shipment(1), shipment(2), shipment(3)]);
    expect(cluster.requests.sort()).toEqual([1, 3]);
    expect([...outcomes].sort()).toEqual([
      [0, [1_000]],
      [1, ['too-large']],
      [2, [1_002]],
      [3, [1_003]],
    ]);
  });

  test('an answer that is lost: the same bytes again, so that the broker knows them', async () => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.answer = (_, time) => (time < 3 ? 'lost' : 0);
    await sender.send([shipment(0)]);
    expect(outcomes.get(0)).toEqual([1_000]);
    expect(cluster.seen).toHaveLength(3);
    expect(new Set(cluster.seen.map(({ bytes }) => bytes)).size).toBe(1);
    await sender.send([shipment(0)]);
    expect(cluster.seen.at(-1)).toMatchObject({ producerId: 1, sequence: 1 });
  });

  test('a leader that has moved: only what was not taken goes to the new one', async () => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.answer = ({ broker, partition }) => (partition === 1 && broker === 'one' ? NOT_LEADER : 0);
    cluster.refreshed = () => void cluster.leaders.set(1, 'two');
    await sender.send([shipment(0), shipment(1)]);
    expect(cluster.seen.map(({ broker, partition }) => `${partition} at ${broker}`)).toEqual([
      '0 at one',
      '1 at one',
      '1 at two',
    ]);
    expect([outcomes.get(0), outcomes.get(1)]).toEqual([[1_000], [1_001]]);
  });

  test('a broker that counts otherwise: begun anew with another producer id', async () => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.answer = ({ producerId }) => (producerId === 1 ? OUT_OF_ORDER : 0);
    await sender.send([shipment(0)]);
    expect(outcomes.get(0)).toEqual([1_000]);
    expect(cluster.seen.map(({ producerId, sequence }) => [producerId, sequence])).toEqual([
      [1, 0],
      [2, 0],
    ]);
  });

  test('what failed is never taken for what comes after it', async () => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.answer = (_, time) => (time === 1 ? TOO_LARGE : 0);
    await sender.send([shipment(0)]);
    await sender.send([shipment(0)]);
    expect(outcomes.get(0)).toEqual([1_000]);
    expect(cluster.seen.map(({ producerId }) => producerId)).toEqual([1, 2]);
  });

  test.each([
    [LIMITS.unknownTopicAttemptsMax - 1, 1_000],
    [LIMITS.unknownTopicAttemptsMax, 'not-found'],
  ])('a leader that does not know the topic %i times: %s', async (times, outcome) => {
    const { cluster, sender, shipment, outcomes } = setUp();
    cluster.answer = (_, time) => (time <= times ? UNKNOWN_TOPIC : 0);
    await sender.send([shipment(0)]);
    expect(outcomes.get(0)).toEqual([outcome]);
  });

  test('a broker that hangs: told when the budget is over, before the outcome is known', async () => {
    const clock = new ManualClock();
    const { cluster, sender, shipment, outcomes } = setUp(clock);
    const asked = new Promise<void>((resolve) => {
      cluster.answer = () => {
        resolve();
        return 'never';
      };
    });
    void sender.send([shipment(0)]);
    await asked;
    await clock.advance(LIMITS.appendBudgetMs - 1);
    expect(outcomes.get(0)).toEqual([]);
    await clock.advance(1);
    expect(outcomes.get(0)).toEqual([expect.stringMatching(/late: appending to t\/0: .*200 ms/)]);
  });

  test('a broker that is away for longer than the budget: unavailable', async () => {
    const clock = new ManualClock();
    const { cluster, sender, shipment, outcomes } = setUp(clock);
    cluster.answer = () => 'lost';
    const sent = sender.send([shipment(0)]);
    let done = false;
    void sent.then(() => {
      done = true;
    });
    while (!done) await clock.advance(LIMITS.retryMaxMs);
    expect(outcomes.get(0)!.at(-1)).toBe('unavailable');
  });
});
