import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisClusterEngine, startRedisCluster } from '../../scripts/engines/redis-cluster.js';
import { realClock } from '../runtime/clock.js';
import { keysIn, openIn, temporaryFolder, withClient } from './redis-harness.testing.js';
import { traceIndexContract } from './trace-index.contract.js';
import { contractRecord, contractTrace, contractTraceId, WEST } from './trace-index-records.testing.js';

const folder = temporaryFolder();
let cluster: RedisClusterEngine;

beforeAll(async () => {
  cluster = await startRedisCluster({ folder: join(folder.path, 'cluster'), nodes: 3 });
});
afterAll(async () => {
  await cluster.stop();
  folder.remove();
});

const open = (prefix?: string) =>
  openIn('', { address: { nodes: cluster.addresses }, ...(prefix === undefined ? {} : { prefix }) });

traceIndexContract('redis cluster of three nodes', () => open());

describe('redis cluster', () => {
  test('traces are spread over the nodes, and all are found', async () => {
    const index = await open('spread:');
    const traces = Array.from({ length: 600 }, (_, n) => contractTrace(n, WEST));
    await index.apply([contractRecord(WEST, traces)]);
    const found = await index.locate(traces.map(({ traceId }) => traceId));
    expect(found.map((l) => l.records[0])).toEqual(traces);
    for (const { url } of cluster.nodes) {
      expect((await keysIn(url, 'spread:m:*')).length).toBeGreaterThan(20);
    }
    await index.close();
  });

  test('with a node away calls are unavailable; when it is back all is there', async () => {
    // everysec might lose what is asked for here: Redis puts writes off while it syncs.
    await withClient(cluster.nodes[1]!.url, (client) => client.config('SET', 'appendfsync', 'always'));
    const index = await open('node:');
    const traces = Array.from({ length: 100 }, (_, n) => contractTrace(n, WEST));
    await index.apply([contractRecord(WEST, traces)]);
    const ids = traces.map(({ traceId }) => traceId);
    await cluster.nodes[1]!.kill();
    await expect(index.locate(ids)).rejects.toMatchObject({ code: 'unavailable' });
    await cluster.nodes[1]!.restart();
    for (;;) {
      try {
        const found = await index.locate(ids);
        expect(found.map((l) => l.records.length)).toEqual(ids.map(() => 1));
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: 'unavailable' });
        await realClock.sleep(50);
      }
    }
    expect((await index.locate([contractTraceId(7)]))[0]!.records).toEqual([traces[7]]);
    await index.close();
  });
});
