import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { decodeProduce, encodeProduce, type ProduceBatch } from './kafka-produce.js';

const kafkajs = createRequire(import.meta.url);
interface Encoder {
  readonly buffer: Buffer;
  writeInt16(value: number): Encoder;
  writeInt32(value: number): Encoder;
  writeInt64(value: string): Encoder;
  writeString(value: string): Encoder;
}
const EncoderClass = kafkajs('kafkajs/src/protocol/encoder') as new () => Encoder;
/** kafkajs's own, to compare with. */
const createRequest = kafkajs('kafkajs/src/protocol/request') as (request: object) => Promise<Encoder>;
const produceV7 = kafkajs('kafkajs/src/protocol/requests/produce/v7/request') as (request: object) => object;

const HEAD = { correlationId: 12, clientId: 'mé', timeoutMs: 30_000 };

function batch(topic: string, partition: number, header: Buffer, ...chunks: Buffer[]): ProduceBatch {
  const bytes = [header, ...chunks].reduce((sum, { length }) => sum + length, 0);
  return { topic, partition, header, chunks, bytes };
}

describe('a Produce request', () => {
  test('of topics and partitions, whatever order the batches come in', () => {
    const request = encodeProduce(HEAD, [
      batch('a', 0, Buffer.from('H0'), Buffer.from('00')),
      batch('topic', 7, Buffer.from('H7')),
      batch('a', 3, Buffer.from('H3'), Buffer.from('3'), Buffer.from('33')),
    ]);
    const expected = new EncoderClass()
      .writeInt16(0)
      .writeInt16(7)
      .writeInt32(12)
      .writeString('mé')
      .writeInt16(-1)
      .writeInt16(-1)
      .writeInt32(30_000)
      .writeInt32(2)
      .writeString('a')
      .writeInt32(2);
    const tail = [
      int32(0, 4),
      Buffer.from('H000'),
      int32(3, 5),
      Buffer.from('H3333'),
      new EncoderClass().writeString('topic').writeInt32(1).buffer,
      int32(7, 2),
      Buffer.from('H7'),
    ];
    const whole = Buffer.concat([expected.buffer, ...tail]);
    expect(Buffer.concat(request).toString('hex')).toBe(Buffer.concat([int32(whole.length), whole]).toString('hex'));
  });

  test('begins as one of kafkajs does', async () => {
    const topicData = [{ topic: 't', partitions: [{ partition: 5, messages: [{ value: 'x' }], firstSequence: 0 }] }];
    const request = produceV7({ acks: -1, timeout: HEAD.timeoutMs, topicData });
    const theirs = (await createRequest({ correlationId: 12, clientId: HEAD.clientId, request })).buffer;
    const batchBytes = theirs.length - theirs.indexOf(int32(5)) - 8;
    const records = theirs.subarray(theirs.length - batchBytes);
    expect(Buffer.concat(encodeProduce(HEAD, [batch('t', 5, records)])).equals(theirs)).toBe(true);
  });
});

describe('its answer', () => {
  const answer = new EncoderClass().writeInt32(2).writeString('a').writeInt32(2);
  partition(answer, 0, 0, '9007199254740991');
  partition(answer, 3, 10, '-1');
  answer.writeString('b').writeInt32(1);
  partition(answer, 1, 0, '0');
  answer.writeInt32(250);

  test('gives each partition’s error and offset', () => {
    expect(decodeProduce(answer.buffer)).toEqual({
      answers: [
        { topic: 'a', partition: 0, errorCode: 0, baseOffset: Number.MAX_SAFE_INTEGER },
        { topic: 'a', partition: 3, errorCode: 10, baseOffset: -1 },
        { topic: 'b', partition: 1, errorCode: 0, baseOffset: 0 },
      ],
      throttleMs: 250,
    });
  });

  test('cut off anywhere is told, not guessed', () => {
    for (let length = 0; length < answer.buffer.length; length++) {
      expect(() => decodeProduce(answer.buffer.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'unavailable', retry: 'later' }),
      );
    }
  });
});

function partition(into: Encoder, id: number, errorCode: number, baseOffset: string): void {
  into.writeInt32(id).writeInt16(errorCode).writeInt64(baseOffset).writeInt64('-1').writeInt64('0');
}

function int32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) bytes.writeInt32BE(value, 4 * at);
  return bytes;
}
