import { type ProducerStamp, sequenceAfter } from './kafka-record-batch.js';
import type { WireBroker } from './kafka-wire.js';

interface ProducerIdentity {
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

/** An id without transactions has no time-out; the protocol wants one all the same. */
const TRANSACTION_TIMEOUT_MS = 60_000;

/**
 * Under which producer id and sequence the next batch of each partition goes. A broker takes a batch only if its sequence follows on what it
 * has of that producer and partition; one that it has already it answers as it did before. So a sequence is used again only for the same
 * batch: where it is not known what became of one, the partition goes on with another producer id, and begins anew.
 */
export class KafkaSequences {
  readonly #lanes = new Map<string, { readonly identity: ProducerIdentity; sequence: number }>();
  #identity: Promise<ProducerIdentity> | null = null;

  /** The same until `taken` or `forget`. Rejects as the broker does. */
  async next(broker: Pick<WireBroker, 'initProducerId'>, topic: string, partition: number): Promise<ProducerStamp> {
    const key = `${topic}/${partition}`;
    let lane = this.#lanes.get(key);
    if (!lane) {
      lane = { identity: await this.#current(broker), sequence: 0 };
      this.#lanes.set(key, lane);
    }
    return { ...lane.identity, sequence: lane.sequence };
  }

  /** The batch with the last stamp, of so many records, is in the log. */
  taken(topic: string, partition: number, count: number): void {
    const lane = this.#lanes.get(`${topic}/${partition}`);
    if (lane) lane.sequence = sequenceAfter(lane.sequence, count);
  }

  /** Nobody knows what became of the batch with the last stamp. */
  forget(topic: string, partition: number): void {
    // Other partitions may go on with it, but this one may not get it again.
    this.#lanes.delete(`${topic}/${partition}`);
    this.#identity = null;
  }

  #current(broker: Pick<WireBroker, 'initProducerId'>): Promise<ProducerIdentity> {
    if (this.#identity) return this.#identity;
    const identity = broker
      .initProducerId({ transactionalId: null, transactionTimeout: TRANSACTION_TIMEOUT_MS })
      .then(({ producerId, producerEpoch }) => ({ producerId: BigInt(producerId), producerEpoch }));
    this.#identity = identity;
    identity.catch(() => {
      if (this.#identity === identity) this.#identity = null;
    });
    return identity;
  }
}
