import kafkajs, { type Kafka, type KafkaConfig, type RetryOptions } from 'kafkajs';
import { compressFrame, compressFrameSync, decompressFrame, decompressFrameSync } from 'lz4-napi';
import type { Logger } from '../../global/runtime/logger.js';
import type { KafkaLimits } from './kafka-limits.js';

/** How to reach a cluster. */
export interface KafkaConnection extends Pick<KafkaConfig, 'ssl' | 'sasl' | 'socketFactory'> {
  /** `host:port` of some of its brokers; the others are found through them. */
  readonly brokers: readonly string[];
  readonly clientId: string;
}

/** A client with our codecs, time limits and log. */
export function kafkaClient(connection: KafkaConnection, limits: KafkaLimits, logger: Logger): Kafka {
  kafkajs.CompressionCodecs[kafkajs.CompressionTypes.LZ4] = () => LZ4;
  const { brokers, clientId, ssl, sasl, socketFactory } = connection;
  return new kafkajs.Kafka({
    brokers: [...brokers],
    clientId,
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl === undefined ? {} : { sasl }),
    ...(socketFactory === undefined ? {} : { socketFactory }),
    connectionTimeout: CONNECTION_BUDGET_MS,
    requestTimeout: limits.appendBudgetMs,
    // Whoever asks repeats by its own budget; so whoever closes does not wait for a cluster that is away.
    retry: { ...retryWithin(limits, 0), retries: ATTEMPTS_MAX - 1 },
    logLevel: kafkajs.logLevel.WARN,
    logCreator: () => (entry) => {
      const { message, timestamp: _, ...rest } = entry.log;
      // kafkajs calls each of its repetitions an error; what comes of them is reported by whoever asked.
      logger.debug({ kafka: entry.namespace, ...rest }, message);
    },
  });
}

const CONNECTION_BUDGET_MS = 2_000;
const ATTEMPTS_MAX = 2;

/** As many repetitions as fit a budget, apart from the time that the attempts themselves take. */
export function retryWithin(limits: KafkaLimits, budgetMs: number): RetryOptions {
  let retries = 0;
  for (let waitMs = limits.retryMs, sumMs = waitMs; sumMs <= budgetMs; retries++) {
    waitMs = Math.min(waitMs * 2, limits.retryMaxMs);
    sumMs += waitMs;
  }
  return { initialRetryTime: limits.retryMs, maxRetryTime: limits.retryMaxMs, factor: 0.2, multiplier: 2, retries };
}

/** Below this a hop to another thread costs more than the work, bytes. */
const THREAD_MIN_BYTES = 16 * 1024;

/** Kafka's lz4 is the frame format, with independent blocks (KIP-57). */
const LZ4 = {
  compress: async ({ buffer }: { readonly buffer: Buffer }): Promise<Buffer> =>
    buffer.length < THREAD_MIN_BYTES ? compressFrameSync(buffer) : compressFrame(buffer),
  decompress: async (buffer: Buffer): Promise<Buffer> =>
    buffer.length < THREAD_MIN_BYTES ? decompressFrameSync(buffer) : decompressFrame(buffer),
};
