import { MeridianError } from '../../global/runtime/errors.js';

/** One partition's part of a request. */
export interface ProduceBatch {
  readonly topic: string;
  readonly partition: number;
  /** A record batch: its header, then the records. */
  readonly header: Buffer;
  readonly chunks: readonly Buffer[];
  /** Of header and chunks. */
  readonly bytes: number;
}

export interface ProduceHead {
  readonly correlationId: number;
  readonly clientId: string;
  /** How long the leader waits for the other replicas. */
  readonly timeoutMs: number;
}

/** What the broker answers for one partition. */
export interface ProduceAnswer {
  readonly topic: string;
  readonly partition: number;
  /** Of Kafka's protocol, 0 where the batch is in the log. */
  readonly errorCode: number;
  /** -1 where it is not known. */
  readonly baseOffset: number;
}

export const PRODUCE_API_KEY = 0;
/** Kafka 2.1, and what kafkajs sends. */
export const PRODUCE_API_VERSION = 7;
const ACKS_ALL = -1;

/**
 * A Produce request, version 7 (Kafka protocol guide), with its length before it, as chunks to be written one after the other; those of the
 * batches are shared. At most one batch of a partition.
 */
export function encodeProduce(head: ProduceHead, batches: readonly ProduceBatch[]): Buffer[] {
  const topics = new Map<string, ProduceBatch[]>();
  for (const batch of batches) {
    const ofTopic = topics.get(batch.topic);
    if (ofTopic) ofTopic.push(batch);
    else topics.set(batch.topic, [batch]);
  }
  const chunks: Buffer[] = [];
  let batchBytes = 0;
  let framing = Buffer.allocUnsafe(framingBytes(head, topics, batches.length));
  const framingLength = framing.length;
  let at = 4;
  at = framing.writeInt16BE(PRODUCE_API_KEY, at);
  at = framing.writeInt16BE(PRODUCE_API_VERSION, at);
  at = framing.writeInt32BE(head.correlationId, at);
  at = writeString(framing, head.clientId, at);
  // No transaction.
  at = framing.writeInt16BE(-1, at);
  at = framing.writeInt16BE(ACKS_ALL, at);
  at = framing.writeInt32BE(head.timeoutMs, at);
  at = framing.writeInt32BE(topics.size, at);
  const first = framing;
  for (const [topic, ofTopic] of topics) {
    at = writeString(framing, topic, at);
    at = framing.writeInt32BE(ofTopic.length, at);
    for (const batch of ofTopic) {
      at = framing.writeInt32BE(batch.partition, at);
      at = framing.writeInt32BE(batch.bytes, at);
      chunks.push(framing.subarray(0, at), batch.header, ...batch.chunks);
      batchBytes += batch.bytes;
      framing = framing.subarray(at);
      at = 0;
    }
  }
  first.writeInt32BE(framingLength - 4 + batchBytes, 0);
  return chunks;
}

/** Of the request without its batches. */
function framingBytes(head: ProduceHead, topics: ReadonlyMap<string, readonly unknown[]>, batches: number): number {
  let bytes = 4 + 2 + 2 + 4 + 2 + Buffer.byteLength(head.clientId) + 2 + 2 + 4 + 4;
  for (const topic of topics.keys()) bytes += 2 + Buffer.byteLength(topic) + 4;
  return bytes + batches * 8;
}

function writeString(into: Buffer, text: string, at: number): number {
  const bytes = into.write(text, at + 2);
  into.writeInt16BE(bytes, at);
  return at + 2 + bytes;
}

/** The answer to such a request, without its correlation id. Throws `unavailable` where it is cut off. */
export function decodeProduce(payload: Buffer): { answers: ProduceAnswer[]; throttleMs: number } {
  const answers: ProduceAnswer[] = [];
  try {
    let at = 4;
    for (let topics = payload.readInt32BE(0); topics > 0; topics--) {
      const nameEnd = at + 2 + payload.readInt16BE(at);
      const topic = payload.toString('utf8', at + 2, nameEnd);
      at = nameEnd + 4;
      for (let partitions = payload.readInt32BE(nameEnd); partitions > 0; partitions--) {
        answers.push({
          topic,
          partition: payload.readInt32BE(at),
          errorCode: payload.readInt16BE(at + 4),
          baseOffset: Number(payload.readBigInt64BE(at + 6)),
        });
        // The time of the append and the log's first offset are of no interest.
        at += 4 + 2 + 8 + 8 + 8;
      }
    }
    return { answers, throttleMs: payload.readInt32BE(at) };
  } catch (error) {
    const message = `the answer to a Produce request, ${payload.length} bytes, is cut off`;
    throw new MeridianError('unavailable', message, 'later', { cause: error });
  }
}
