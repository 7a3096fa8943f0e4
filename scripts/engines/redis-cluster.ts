import { join } from 'node:path';
import { Redis } from 'ioredis';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { freePort, type RedisEngine, startRedis } from './redis.js';

export interface RedisClusterEngine {
  readonly nodes: readonly RedisEngine[];
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  stop(): Promise<void>;
}

const SLOTS = 16_384;
const FORM_BUDGET_MS = 30_000;
const POLL_MS = 50;

/** A Redis Cluster of masters without replicas on 127.0.0.1: for tests of what is spread over nodes. Resolves when all slots are served. */
export async function startRedisCluster(options: { folder: string; nodes: number }): Promise<RedisClusterEngine> {
  const nodes: RedisEngine[] = [];
  const stop = async () => {
    for (const node of nodes) await node.stop();
  };
  try {
    const buses: number[] = [];
    for (let i = 0; i < options.nodes; i++) {
      const bus = await freePort();
      buses.push(bus);
      const extraArgs = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '2000'];
      nodes.push(await startRedis({ folder: join(options.folder, String(i)), appendOnly: true, extraArgs }));
    }
    await form(nodes, buses);
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes, addresses: nodes.map(({ port }) => ({ host: '127.0.0.1', port })), stop };
}

async function form(nodes: readonly RedisEngine[], buses: readonly number[]): Promise<void> {
  const clients = nodes.map(({ url }) => new Redis(url));
  try {
    const each = Math.ceil(SLOTS / nodes.length);
    for (const [i, client] of clients.entries()) {
      await client.call('CLUSTER', 'ADDSLOTSRANGE', i * each, Math.min(SLOTS, (i + 1) * each) - 1);
      if (i > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', nodes[0]!.port, buses[0]!);
    }
    const deadlineMs = realClock.monotonicMs() + FORM_BUDGET_MS;
    for (;;) {
      const infos = await Promise.all(clients.map((client) => client.cluster('INFO')));
      const formed = (info: string) =>
        info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${nodes.length}`);
      if (infos.every((info) => formed(String(info)))) return;
      if (realClock.monotonicMs() > deadlineMs) {
        throw new MeridianError('unavailable', `Redis cluster: not formed within ${FORM_BUDGET_MS} ms`, 'later');
      }
      await realClock.sleep(POLL_MS);
    }
  } finally {
    for (const client of clients) client.disconnect();
  }
}
