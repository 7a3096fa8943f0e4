import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { segmentStoreContract } from './segment-store.contract.js';
import { openSqliteSegmentStore } from './sqlite-segment-store.js';

segmentStoreContract('sqlite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meridian-store-'));
  return {
    open: () => openSqliteSegmentStore({ folder, clock: realClock, logger: silentLogger, registry: new Registry() }),
    writeAndKill: async (blocks) => {
      const child = fork(compiledModule('regions/store/testing/write-and-wait'), [folder], {
        serialization: 'advanced',
      });
      const exited = once(child, 'exit');
      child.send(blocks.map(({ bytes }) => bytes));
      const [said] = await once(child, 'message');
      child.kill('SIGKILL');
      await exited;
      if (said !== 'written') throw new Error(String(said));
    },
    // What is committed is visible: the first look has to find it.
    eventually: (check) => check(),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
});
