import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, beforeAll } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { type RunningElasticsearch, startElasticsearch } from '../../scripts/engines/elasticsearch.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { openElasticsearchSegmentStore } from './elasticsearch-segment-store.js';
import { segmentStoreContract } from './segment-store.contract.js';

let folder: string;
let node: RunningElasticsearch;
let prefixes = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meridian-elasticsearch-'));
  node = await startElasticsearch({ folder, cacheFolder: enginesCache(process.env) });
});
afterAll(async () => {
  await node?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The time within which searches have to show what was written, and a little for the test itself. */
const SHOWN_WITHIN_MS = 1_500;

async function eventually(check: () => Promise<void>): Promise<void> {
  const deadlineMs = realClock.monotonicMs() + SHOWN_WITHIN_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (realClock.monotonicMs() > deadlineMs) throw error;
      await realClock.sleep(50);
    }
  }
}

segmentStoreContract('elasticsearch', async () => {
  const indexPrefix = `contract-${prefixes++}`;
  return {
    open: () =>
      openElasticsearchSegmentStore({
        nodes: [node.url],
        indexPrefix,
        replicas: 0,
        clock: realClock,
        logger: silentLogger,
        registry: new Registry(),
      }),
    writeAndKill: async (blocks) => {
      const child = fork(
        compiledModule('regions/store/testing/elasticsearch-write-and-wait'),
        [node.url, indexPrefix],
        {
          serialization: 'advanced',
        },
      );
      const exited = once(child, 'exit');
      child.send(blocks.map(({ bytes }) => bytes));
      const [said] = await once(child, 'message');
      child.kill('SIGKILL');
      await exited;
      if (said !== 'written') throw new Error(String(said));
    },
    eventually,
    dispose: async () => {
      await fetch(`${node.url}/${indexPrefix}-segments-000001`, { method: 'DELETE' });
    },
  };
});
