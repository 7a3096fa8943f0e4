import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import { redisAddress } from '../global/index/redis-options.js';
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
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface OpenedLog extends Pick<Engines, 'log' | 'tail'> {
  /** Whether it was away when it was asked for first; `whenOpen` then resolves when it has come. */
  readonly late: boolean;
  whenOpen(): Promise<void>;
}

/** Opens the log that the options choose. One that is away is opened when it comes. Rejects with `configuration` for what no waiting mends. */
export async function openLog(setup: EngineSetup): Promise<OpenedLog> {
  const { options, home, clock, logger, registry, fleetBrokers } = setup;
  if (options.log === 'embedded') {
    const log = await openSqliteSpanLog({ folder: folderOf(setup, 'log'), clock, logger, registry });
    return { log, tail: log, late: false, whenOpen: async () => {} };
  }
  const brokers = options.kafkaBrokers.length > 0 ? options.kafkaBrokers : (fleetBrokers ?? []);
  if (brokers.length === 0) {
    throw wrong(`log: kafka needs kafkaBrokers, or "kafka" in the fleet's entry of ${home}`);
  }
  const { kafkaTls, kafkaCaFile, kafkaUser } = options;
  const sasl = kafkaUser ? { sasl: saslOf(options, kafkaUser) } : {};
  const ca = kafkaCaFile ? { ca: [readOptionFile('kafkaCaFile', kafkaCaFile)] } : true;
  // Clients are loaded where they are chosen: all of them cost a start a third of a second.
  const { openKafkaSpanLog } = await import('./log/kafka-span-log.js');
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
  const what = `the log on Kafka at ${brokers.join(', ')}`;
  const { engine: log, late, whenOpen } = await openOrLater({ what, open, clock, logger });
  return { log, tail: null, late, whenOpen };
}

/** Makes the topics; what the cluster does not answer now is asked again until the signal aborts. */
export async function ensureTopics(
  { clock, logger }: EngineSetup,
  log: SpanLog,
  topics: readonly TopicSpec[],
  signal: AbortSignal,
): Promise<void> {
  const onRetry = (error: MeridianError, waitMs: number) =>
    logger.warn({ error: error.message, waitMs }, 'making topics failed; trying again');
  await untilDone(() => log.ensure(topics), { ...LATE_OPENING_WAITS, clock, signal, onRetry });
}

/**
 * Opens the store and the index that the options choose. `opened` is told each one as it opens, so that it can be closed where the next one
 * fails. One that is away is opened when it comes, and what needs it waits or says so. Rejects with `configuration` for what no waiting
 * mends.
 */
export async function openViews(
  setup: EngineSetup,
  opened: (name: string, close: () => Promise<void>) => void,
): Promise<Pick<Engines, 'store' | 'tiers' | 'index'>> {
  const { store, ...tiers } = await openStore(setup);
  opened('store', () => store.close());
  const index = await openIndex(setup);
  opened('index', () => index.close());
  return { store, tiers, index };
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
  const { openRedisTraceIndex } = await import('../global/index/redis-trace-index.js');
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

function folderOf({ options }: EngineSetup, name: string): string {
  const path = join(options.dataDir, name);
  mkdirSync(path, { recursive: true });
  return path;
}

function wrong(message: string): MeridianError {
  return new MeridianError('configuration', message, 'never');
}
