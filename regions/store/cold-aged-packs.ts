import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import { msToUnixNano } from '../../global/model/time.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import { AGED_BLOCKS_MAX, type AgedBlock, type AgedBlocks, type AgedHour } from './cold-aged-blocks.js';
import { HOUR_MS, hourOf } from './cold-object-name.js';
import { fromStored, toStored, unavailable } from './store-database.js';

/** The old packs of the embedded store (`store-database.ts`): read on this thread, removed on the store's own. */
export class AgedPacks implements AgedBlocks {
  readonly #db: DatabaseSyncInstance;
  readonly #remover: { remove(packs: readonly number[]): Promise<number> };
  readonly #oldest: StatementSyncInstance;
  readonly #hour: StatementSyncInstance;
  readonly #bytes: StatementSyncInstance;

  /** `db` is for reading and somebody else's. */
  constructor(db: DatabaseSyncInstance, remover: { remove(packs: readonly number[]): Promise<number> }) {
    this.#db = db;
    this.#remover = remover;
    const prepare = (sql: string) => {
      const statement = this.#db.prepare(sql);
      statement.setReadBigInts(true);
      return statement;
    };
    this.#oldest = prepare('SELECT min(newest) AS newest FROM packs WHERE newest >= ? AND newest < ?');
    this.#hour = prepare(
      'SELECT pack, length(bytes) AS bytes FROM packs WHERE newest >= ? AND newest < ? ORDER BY newest, pack LIMIT ?',
    );
    this.#bytes = prepare('SELECT bytes FROM packs WHERE pack = ?');
  }

  async oldest(fromMs: number, beforeMs: number): Promise<AgedHour | null> {
    const stored = (ms: number) => toStored(msToUnixNano(ms));
    return attempting('list old packs', () => {
      const { newest } = this.#oldest.get(stored(fromMs), stored(beforeMs)) as { newest: bigint | null };
      if (newest === null) return null;
      const hourMs = hourOf(fromStored(newest));
      const rows = this.#hour.all(stored(hourMs), stored(hourMs + HOUR_MS), AGED_BLOCKS_MAX) as {
        pack: bigint;
        bytes: bigint;
      }[];
      return { hourMs, blocks: rows.map(({ pack, bytes }) => ({ place: String(pack), bytes: Number(bytes) })) };
    });
  }

  async read(blocks: readonly AgedBlock[]): Promise<readonly (EncodedBlock | null)[]> {
    return attempting(`read ${blocks.length} old packs`, () =>
      blocks.map(({ place }) => {
        const row = this.#bytes.get(Number(place)) as { bytes: Uint8Array } | undefined;
        return row ? readEncodedBlock(asBuffer(row.bytes)) : null;
      }),
    );
  }

  remove(blocks: readonly AgedBlock[]): Promise<number> {
    return this.#remover.remove(blocks.map(({ place }) => Number(place)));
  }
}

function attempting<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw unavailable(`${what} of the segment store`, error);
  }
}
