import { describe, expect, test } from 'vitest';
import { KafkaSequences } from './kafka-sequences.js';

/** Gives ids from 100 on. */
class Ids {
  asked = 0;
  failure: Error | null = null;

  async initProducerId(): Promise<{ producerId: string; producerEpoch: number }> {
    this.asked++;
    if (this.failure) throw this.failure;
    return { producerId: String(99 + this.asked), producerEpoch: 0 };
  }
}

function setUp() {
  const ids = new Ids();
  const sequences = new KafkaSequences();
  const next = async (partition: number) => {
    const { producerId, sequence } = await sequences.next(ids, 't', partition);
    return `${producerId}:${sequence}`;
  };
  return { ids, sequences, next };
}

describe('the sequences of a producer', () => {
  test('one id for all partitions, a count for each', async () => {
    const { ids, sequences, next } = setUp();
    expect(await Promise.all([next(0), next(1)])).toEqual(['100:0', '100:0']);
    sequences.taken('t', 0, 5);
    expect(await next(0)).toBe('100:5');
    expect(await next(1)).toBe('100:0');
    expect(ids.asked).toBe(1);
  });

  test('a repetition has the stamp of the first time', async () => {
    const { next } = setUp();
    expect(await next(0)).toBe(await next(0));
  });

  test('a partition whose batch is in doubt never gets that id again, the others keep it', async () => {
    const { sequences, next } = setUp();
    await Promise.all([next(0), next(1)]);
    sequences.forget('t', 0);
    sequences.taken('t', 1, 2);
    expect(await next(0)).toBe('101:0');
    expect(await next(1)).toBe('100:2');
    sequences.forget('t', 1);
    expect(await next(1)).toBe('102:0');
    expect(await next(0)).toBe('101:0');
  });

  test('an id that could not be had is asked for again', async () => {
    const { ids, next } = setUp();
    ids.failure = new Error('away');
    await expect(next(0)).rejects.toThrow('away');
    ids.failure = null;
    expect(await next(0)).toBe('101:0');
  });
});
