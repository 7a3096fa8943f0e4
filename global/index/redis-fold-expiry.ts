import { type FoldView, foldFieldName } from './redis-fold-layout.js';
import { changing } from './redis-retention.js';
import type { RedisShard } from './redis-shard.js';

/** Filter keys removed at a time. */
const UNLINKED_AT_ONCE = 500;

/** Drops the folds of the shard all of whose records ended before the time; gives the number of records. */
export async function expireFolds(shard: RedisShard, beforeUnixNano: bigint): Promise<number> {
  const read = await shard.read('index expire', () => []);
  const isOld = (fold: FoldView) => fold.next >= fold.pieces && fold.endUnixNanoMax < beforeUnixNano;
  let removed = 0;
  for (const { day, number, pieces } of read?.view.folds.filter(isOld) ?? []) {
    const field = foldFieldName(day, number);
    const records = await shard.exclusive(() =>
      changing(
        shard,
        'index expire',
        async (view, _replies, steps) => {
          const fold = view.folds.find((row) => row.day === day && row.number === number);
          if (!fold || !isOld(fold)) return null;
          steps.remove(shard.keys.meta, [field]);
          return fold.records;
        },
        () => [],
      ),
    );
    if (records === null) continue;
    removed += records;
    // No reader asks for them any more; those that a crash leaves here go by themselves.
    for (let piece = 0; piece < pieces; piece += UNLINKED_AT_ONCE) {
      const count = Math.min(UNLINKED_AT_ONCE, pieces - piece);
      const keys = Array.from({ length: count }, (_, i) => shard.keys.filter(day, number, piece + i));
      await shard.link.roundTrip('index expire', [['UNLINK', ...keys]]);
    }
  }
  return removed;
}
