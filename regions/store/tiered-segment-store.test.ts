import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFolderStorage } from './cold-folder-storage.js';
import { segmentStoreContract } from './segment-store.contract.js';
import { demotingAtOnce, openTiered, writeAndKill } from './testing/tiered-for-tests.js';

/** Both with everything in the hot store, and with everything in the cold tier that is a whole hour old. */
for (const [name, prepared] of [
  ['tiered, hot', (store: Awaited<ReturnType<typeof openTiered>>['store']) => store],
  ['tiered, cold', demotingAtOnce],
] as const) {
  segmentStoreContract(name, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'meridian-tiered-'));
    const hot = join(folder, 'hot');
    return {
      open: async () => {
        const { store } = await openTiered(hot, await openFolderStorage(join(folder, 'cold')));
        return prepared(store);
      },
      writeAndKill: (blocks) => writeAndKill(hot, blocks),
      eventually: (check) => check(),
      dispose: () => rm(folder, { recursive: true, force: true }),
    };
  });
}
