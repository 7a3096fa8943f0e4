import { Redis } from 'ioredis';
import kafkajs from 'kafkajs';
import { z } from 'zod';
import { messageOf } from '../../global/runtime/errors.js';
import type { EngineKind } from './engine-kinds.js';
import { askKafkaRelease } from './kafka-version.js';

/** What an engine says of itself. */
export interface EngineAnswer {
  /** Null where it does not say, or does not answer. */
  readonly version: string | null;
  readonly well: boolean;
  readonly detail: string;
}

const BUDGET_MS = 5_000;

/** Asks the engine itself; one that does not answer, or not as it should, is not well. Never rejects. */
export async function askEngine(kind: Exclude<EngineKind, 'mirror-maker'>, address: string): Promise<EngineAnswer> {
  try {
    return await ASK[kind](address);
  } catch (error) {
    const cause = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    return { version: null, well: false, detail: `does not answer: ${cause}` };
  }
}

const ASK = { kafka: askKafka, elasticsearch: askElasticsearch, redis: askRedis } as const;

async function askKafka(address: string): Promise<EngineAnswer> {
  const version = await askKafkaRelease(address, BUDGET_MS);
  const admin = new kafkajs.Kafka({
    brokers: [address],
    clientId: 'meridian-doctor',
    connectionTimeout: BUDGET_MS,
    requestTimeout: BUDGET_MS,
    retry: { retries: 0 },
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin();
  await admin.connect();
  try {
    const { brokers, controller } = await admin.describeCluster();
    const { topics } = await admin.fetchTopicMetadata();
    const partitions = topics.flatMap((topic) => topic.partitions);
    const unled = partitions.filter((partition) => partition.leader < 0).length;
    const few = partitions.filter((partition) => partition.isr.length < partition.replicas.length).length;
    const problems = [
      ...(controller === null ? ['no controller'] : []),
      ...(unled > 0 ? [`${unled} partitions without a leader`] : []),
      ...(few > 0 ? [`${few} partitions with too few replicas in sync`] : []),
    ];
    const sizes = `${brokers.length} ${brokers.length === 1 ? 'broker' : 'brokers'}, ${topics.length} topics, ${partitions.length} partitions`;
    return { version, well: problems.length === 0, detail: [sizes, ...problems].join(', ') };
  } finally {
    await admin.disconnect();
  }
}

const root = z.object({ version: z.object({ number: z.string() }) });
const clusterHealth = z.object({
  status: z.enum(['green', 'yellow', 'red']),
  number_of_nodes: z.number(),
  active_shards: z.number(),
  unassigned_shards: z.number(),
});

async function askElasticsearch(url: string): Promise<EngineAnswer> {
  const ask = async (path: string): Promise<unknown> => {
    const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(BUDGET_MS) });
    return response.json();
  };
  const version = root.parse(await ask('/')).version.number;
  const health = clusterHealth.parse(await ask('/_cluster/health'));
  const unassigned = health.unassigned_shards > 0 ? `, ${health.unassigned_shards} shards nowhere` : '';
  const nodes = `${health.number_of_nodes} ${health.number_of_nodes === 1 ? 'node' : 'nodes'}`;
  const detail = `cluster ${health.status}, ${nodes}, ${health.active_shards} shards${unassigned}`;
  return { version, well: health.status !== 'red', detail };
}

async function askRedis(url: string): Promise<EngineAnswer> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: BUDGET_MS,
    commandTimeout: BUDGET_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // What goes wrong is told by the command that it goes wrong for.
  redis.on('error', () => {});
  try {
    await redis.connect();
    return redisAnswer(await redis.info());
  } finally {
    redis.disconnect();
  }
}

/** What INFO says of Redis as an index: its writes are on disk, it is not loading, and it throws nothing away. */
export function redisAnswer(info: string): EngineAnswer {
  const fields = new Map(
    info.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon > 0 ? [[line.slice(0, colon), line.slice(colon + 1)] as const] : [];
    }),
  );
  const evicted = Number(fields.get('evicted_keys') ?? 0);
  const problems = [
    ...(fields.get('loading') === '1' ? ['still loading its data'] : []),
    ...(fields.get('aof_enabled') === '0' ? ['does not write to disk (appendonly is off)'] : []),
    ...(fields.get('aof_last_write_status') === 'err' ? ['cannot write to its disk'] : []),
    ...(evicted > 0 ? [`has thrown ${evicted} keys away for want of memory`] : []),
  ];
  const keys = /keys=(\d+)/.exec(fields.get('db0') ?? '')?.[1] ?? '0';
  const sizes = `${fields.get('used_memory_human') ?? 'unknown'} of memory, ${keys} keys`;
  return {
    version: fields.get('redis_version') ?? null,
    well: problems.length === 0,
    detail: [sizes, ...problems].join(', '),
  };
}
