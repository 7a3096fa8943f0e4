import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Registry } from 'prom-client';
import { UINT64_MAX } from '../../../global/model/time.js';
import { realClock } from '../../../global/runtime/clock.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { compiledModule } from '../../../global/runtime/package-root.js';
import type { EncodedBlock } from '../../segments/segment.js';
import type { ObjectStorage } from '../cold-object-storage.js';
import { ColdTier, type ColdTierOptions } from '../cold-tier.js';
import { openSqliteSegmentStore, type SqliteSegmentStore } from '../sqlite-segment-store.js';
import { createTieredSegmentStore, type TieredSegmentStore } from '../tiered-segment-store.js';

export interface TieredForTests {
  readonly store: TieredSegmentStore;
  readonly hot: SqliteSegmentStore;
  readonly cold: ColdTier;
}

export const never = new AbortController().signal;

/** The embedded store in the folder, with a cold tier in the storage that this process has alone. */
export async function openTiered(
  folder: string,
  storage: ObjectStorage,
  options: Partial<ColdTierOptions> = {},
): Promise<TieredForTests> {
  const shared = { clock: realClock, logger: silentLogger, registry: new Registry() };
  const hot = await openSqliteSegmentStore({ folder, ...shared });
  const cold = new ColdTier({ storage, listKnownMs: 0, ...shared, ...options });
  return {
    hot,
    cold,
    store: createTieredSegmentStore({ hot, aged: hot.aged, cold, clock: options.clock ?? realClock }),
  };
}

/** The same store, but that whatever is written is in the cold tier when `write` resolves. */
export function demotingAtOnce(store: TieredSegmentStore): TieredSegmentStore {
  return {
    write: async (blocks) => {
      await store.write(blocks);
      await store.demote(UINT64_MAX, never);
    },
    get: (source, traceId, hints) => store.get(source, traceId, hints),
    search: (request, signal) => store.search(request, signal),
    expire: (before) => store.expire(before),
    demote: (before, signal) => store.demote(before, signal),
    health: () => store.health(),
    close: () => store.close(),
  };
}

/** Another process writes the blocks into the embedded store of the folder and is killed when that has resolved. */
export async function writeAndKill(folder: string, blocks: readonly EncodedBlock[]): Promise<void> {
  const child = fork(compiledModule('regions/store/testing/write-and-wait'), [folder], { serialization: 'advanced' });
  const exited = once(child, 'exit');
  child.send(blocks.map(({ bytes }) => bytes));
  const [said] = await once(child, 'message');
  child.kill('SIGKILL');
  await exited;
  if (said !== 'written') throw new Error(String(said));
}
