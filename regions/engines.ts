import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import { redisAddress } from '../global/index/redis-options.js';
import { openRedisTraceIndex } from '../global/index/redis-trace-index.js';
import { openSqliteTraceIndex } from '../global/index/sqlite-trace-index.js';
import type { TraceIndex } from '../global/index/trace-index.js';
import type { SpanLog, TopicSpec } from '../global/log/span-log.js';
import type { RegionId } from '../global/model/ids.js';
import { untilDone } from '../global/runtime/backoff.js';
import type { Clock } from '../global/runtime/clock.js';
import { MeridianError } from '../global/runtime/errors.js';
import { LATE_OPENING_WAITS, openOrLater } from '../global/runtime/late-opening.js';
import type { Logger } from '../global/runtime/logger.js';
import { readOptionFile, readSecretText } from '../global/runtime/secret-file.js';
import type { EngineConfig } from './config/engine-options.js';
import type { RegionOptions } from './config/region-options.js';
import { openKafkaSpanLog } from './log/kafka-span-log.js';
import type { LogTail } from './log/log-tail.js';
import { openSqliteSpanLog } from './log/sqlite-span-log.js';
import type { SegmentStore } from './store/segment-store.js';
import { type OpenedStore, openStore } from './stores.js';

/** What a region keeps its data in, behind the ports. */
export interface Engines {
  readonly log: SpanLog;
  /** Null where the log's own mirror (MirrorMaker) carries topics to other regions. */
  readonly tail: LogTail | null;
  readonly store: SegmentStore;
  /** The store's own upkeep. */
  readonly tiers: Omit<OpenedStore, 'store'>;
  readonly index: TraceIndex;
}

export interface EngineSetup {
  readonly home: RegionId;
  readonly options: RegionOptions;
  /** Of the region's Kafka, as the fleet tells. */
  readonly fleetBrokers: readonly string[] | null;
  readonly topics: readonly TopicSpec[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Ends the waiting for a log that is away. */
  readonly stopping: AbortSignal;
}

/**
 * Opens the engines that the options choose, and makes the topics. `opened` is told each one as it opens, so that those before a failure can be
 * closed. A log that is away is waited for, since nothing works without it; a store or an index that is away is opened when it comes
 * (`openOrLater`), and what needs it waits or says so. Rejects with `configuration` for what no waiting mends.
 */
export async function openEngines(
  setup: EngineSetup,
  opened: (name: string, close: () => Promise<void>) => void,
): Promise<Engines> {
  const { log, tail } = await openLog(setup);
  opened('log', () => log.close());
  await untilThere(setup, () => log.ensure(setup.topics));
  const { store, ...tiers } = await openStore(setup);
  opened('store', () => store.close());
  const index = await openIndex(setup);
  opened('index', () => index.close());
  return { log, tail, store, tiers, index };
}

async function openLog(setup: EngineSetup): Promise<{ log: SpanLog; tail: LogTail | null }> {
  const { options, home, clock, logger, registry, fleetBrokers } = setup;
  if (options.log === 'embedded') {
    const log = await openSqliteSpanLog({ folder: folderOf(setup, 'log'), clock, logger, registry });
    return { log, tail: log };
  }
  const brokers = options.kafkaBrokers.length > 0 ? options.kafkaBrokers : (fleetBrokers ?? []);
  if (brokers.length === 0) {
    throw wrong(`log: kafka needs kafkaBrokers, or "kafka" in the fleet's entry of ${home}`);
  }
  const { kafkaTls, kafkaCaFile, kafkaUser } = options;
  const sasl = kafkaUser ? { sasl: saslOf(options, kafkaUser) } : {};
  const ca = kafkaCaFile ? { ca: [readOptionFile('kafkaCaFile', kafkaCaFile)] } : true;
  const open = () =>
    openKafkaSpanLog({
      brokers,
      clientId: `meridian-${home}-${hostname()}`,
      replicationFactor: options.kafkaReplicationFactor,
      minInsyncReplicas: options.kafkaMinInsyncReplicas,
      ...(kafkaTls ? { ssl: ca } : {}),
      ...sasl,
      clock,
      logger,
      registry,
    });
  return { log: await untilThere(setup, open), tail: null };
}

function saslOf({ kafkaMechanism, kafkaPasswordFile }: EngineConfig, username: string) {
  if (!kafkaPasswordFile) throw wrong('kafkaUser needs kafkaPasswordFile');
  const password = readSecretText('kafkaPasswordFile', kafkaPasswordFile);
  switch (kafkaMechanism) {
    case 'plain':
      return { mechanism: kafkaMechanism, username, password };
    case 'scram-sha-256':
      return { mechanism: kafkaMechanism, username, password };
    case 'scram-sha-512':
      return { mechanism: kafkaMechanism, username, password };
  }
}

async function openIndex(setup: EngineSetup): Promise<TraceIndex> {
  const { options, home, clock, logger, registry } = setup;
  if (options.index === 'embedded') {
    return openSqliteTraceIndex({ folder: folderOf(setup, 'index'), home, clock, logger, registry });
  }
  const address = redisAddress(options, readSecretText);
  const open = () =>
    openRedisTraceIndex({
      address,
      home,
      retentionMs: options.storeRetentionMs,
      recordsPerDayExpected: options.redisRecordsPerDayExpected,
      clock,
      logger,
      registry,
    });
  const where = options.redisUrl ?? options.redisNodes.join(', ');
  return (await openOrLater({ what: `the index in Redis at ${where}`, open, clock, logger })).engine;
}

/** What the log does not answer now is asked again, until the process is told to stop. */
async function untilThere<T>({ clock, logger, stopping }: EngineSetup, attempt: () => Promise<T>): Promise<T> {
  return untilDone(attempt, {
    ...LATE_OPENING_WAITS,
    clock,
    signal: stopping,
    onRetry: (error, waitMs) => logger.warn({ error: error.message, waitMs }, 'waiting for the log'),
  });
}

function folderOf({ options }: EngineSetup, name: string): string {
  const path = join(options.dataDir, name);
  mkdirSync(path, { recursive: true });
  return path;
}

function wrong(message: string): MeridianError {
  return new MeridianError('configuration', message, 'never');
}
