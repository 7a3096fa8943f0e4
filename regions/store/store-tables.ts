import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import type { RegionId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { BlockEntry } from './block-entry.js';
import { extentLevel } from './segment-starts.js';
import { fromStored, GENERATION_BITS, SLOT_MASK, toStored } from './store-database.js';

/** A pack that is small enough to be packed together with others. */
export interface SmallPack {
  readonly pack: number;
  readonly source: RegionId;
  readonly ids: readonly BlockId[];
  readonly bytes: number;
  readonly startUnixNanoMax: bigint;
}

/** Packs of a source that were replaced by one. */
export interface Replacement {
  readonly packs: readonly number[];
  readonly entry: BlockEntry;
}

/** Most packs that one transaction of `expire` removes, so that writes do not wait long for it. */
export const EXPIRE_PACKS_PER_TRANSACTION = 256;

/** The writing side of the tables. Synchronous: it runs in the store's worker. Every method is one transaction, durable on return. */
export class StoreTables {
  readonly #db: DatabaseSyncInstance;
  readonly #statements: ReturnType<typeof prepareStatements>;
  readonly #sources = new Map<RegionId, number>();

  constructor(db: DatabaseSyncInstance) {
    this.#db = db;
    this.#statements = prepareStatements(db);
  }

  /** Adds the blocks that are not there yet. The pack of each entry, in order; null where the block was there. */
  insert(entries: readonly BlockEntry[]): (number | null)[] {
    return this.#transaction(() =>
      entries.map((entry) => (this.#statements.block.get(entry.ids[0]!) ? null : this.#insertPack(entry))),
    );
  }

  /** Puts one pack in the place of others; changes nothing and returns null where one of them is gone. */
  replace({ packs, entry }: Replacement): number | null {
    return this.#transaction(() => {
      if (packs.some((pack) => !this.#statements.pack.get(pack))) return null;
      for (const pack of packs) this.#removePack(pack, entry.traceKeys);
      const number = this.#insertPack(entry);
      this.#statements.countMove.run();
      return number;
    });
  }

  /** Bytes of a pack; null where it is gone. */
  bytes(pack: number): Uint8Array | null {
    const row = this.#statements.bytes.get(pack) as { bytes: Uint8Array } | undefined;
    return row?.bytes ?? null;
  }

  /** The newest packs that are smaller than this, with the blocks in them, oldest first: what an earlier process left to be packed. */
  smallPacks(bytesBelow: number, packsMax: number): SmallPack[] {
    const rows = this.#statements.smallPacks.all(packsMax, bytesBelow) as {
      id: BlockId;
      pack: number;
      name: RegionId;
      start_max: bigint | number;
      bytes: number;
    }[];
    const packs = new Map<number, SmallPack & { ids: BlockId[] }>();
    for (const { id, pack, name, start_max, bytes } of rows) {
      const known = packs.get(Number(pack));
      if (known) known.ids.push(id);
      else {
        const startUnixNanoMax = fromStored(BigInt(start_max));
        packs.set(Number(pack), {
          pack: Number(pack),
          source: name,
          ids: [id],
          bytes: Number(bytes),
          startUnixNanoMax,
        });
      }
    }
    return [...packs.values()].sort((a, b) => a.pack - b.pack);
  }

  /** Removes up to `EXPIRE_PACKS_PER_TRANSACTION` packs that are older; how many it removed. */
  expire(beforeUnixNano: bigint): number {
    return this.#transaction(() =>
      Number(this.#statements.expirePacks.run(toStored(beforeUnixNano), EXPIRE_PACKS_PER_TRANSACTION).changes),
    );
  }

  /** Removes these packs; how many were there. */
  remove(packs: readonly number[]): number {
    return this.#transaction(() =>
      packs.reduce((sum, pack) => sum + Number(this.#statements.deletePack.run(pack).changes), 0),
    );
  }

  /** Forgets names of blocks and keys of traces whose packs are gone; how many blocks. */
  sweep(): number {
    return this.#transaction(() => {
      const { changes } = this.#statements.sweepBlocks.run();
      this.#statements.sweepTraces.run();
      return Number(changes);
    });
  }

  #insertPack(entry: BlockEntry): number {
    const { lastInsertRowid } = this.#statements.insertPack.run(
      this.#source(entry.source),
      toStored(entry.startUnixNanoMax),
      toStored(entry.startUnixNanoMin),
      toStored(entry.spanStartUnixNanoMax),
      toStored(entry.durationNanoMax),
      entry.kinds,
      toStored(entry.newestUnixNano),
      extentLevel(entry.startUnixNanoMin, entry.startUnixNanoMax),
      entry.starts,
      entry.filter,
      entry.bytes,
    );
    const pack = Number(lastInsertRowid);
    for (const id of entry.ids) this.#statements.insertBlock.run(id, pack);
    const generation = pack >>> GENERATION_BITS;
    for (const key of entry.traceKeys) this.#statements.insertTrace.run(generation, key, pack & SLOT_MASK);
    return pack;
  }

  #removePack(pack: number, traceKeys: readonly number[]): void {
    const generation = pack >>> GENERATION_BITS;
    for (const key of traceKeys) this.#statements.deleteTrace.run(generation, key, pack & SLOT_MASK);
    this.#statements.deletePack.run(pack);
  }

  #source(name: RegionId): number {
    const known = this.#sources.get(name);
    if (known !== undefined) return known;
    this.#statements.insertSource.run(name);
    const { source } = this.#statements.source.get(name) as { source: number };
    this.#sources.set(name, source);
    return source;
  }

  #transaction<T>(work: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      // What was remembered of a source may have been rolled back with it.
      this.#sources.clear();
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }
}

function prepareStatements(db: DatabaseSyncInstance) {
  const prepare = (sql: string): StatementSyncInstance => db.prepare(sql);
  const smallPacks = prepare(
    `SELECT id, blocks.pack AS pack, name, start_max, length(bytes) AS bytes
     FROM blocks JOIN packs ON packs.pack = blocks.pack JOIN sources ON sources.source = packs.source
     WHERE blocks.pack > (SELECT max(pack) FROM packs) - ? AND length(bytes) < ?`,
  );
  smallPacks.setReadBigInts(true);
  return {
    source: prepare('SELECT source FROM sources WHERE name = ?'),
    insertSource: prepare('INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING'),
    block: prepare('SELECT pack FROM blocks WHERE id = ?'),
    pack: prepare('SELECT 1 AS found FROM packs WHERE pack = ?'),
    bytes: prepare('SELECT bytes FROM packs WHERE pack = ?'),
    smallPacks,
    insertPack: prepare(
      `INSERT INTO packs (source, start_max, start_min, span_start_max, duration_max, kinds, newest, extent_level, starts, filter, bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertBlock: prepare(
      'INSERT INTO blocks (id, pack) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET pack = excluded.pack',
    ),
    insertTrace: prepare('INSERT INTO traces (generation, trace_key, slot) VALUES (?, ?, ?) ON CONFLICT DO NOTHING'),
    deletePack: prepare('DELETE FROM packs WHERE pack = ?'),
    deleteTrace: prepare('DELETE FROM traces WHERE generation = ? AND trace_key = ? AND slot = ?'),
    countMove: prepare("UPDATE counters SET value = value + 1 WHERE name = 'moves'"),
    expirePacks: prepare(
      'DELETE FROM packs WHERE pack IN (SELECT pack FROM packs WHERE newest < ? ORDER BY newest LIMIT ?)',
    ),
    sweepBlocks: prepare('DELETE FROM blocks WHERE NOT EXISTS (SELECT 1 FROM packs WHERE packs.pack = blocks.pack)'),
    // A generation goes when its last pack has gone; single keys of removed packs lead nowhere and harm nobody until then.
    sweepTraces: prepare(
      `DELETE FROM traces WHERE generation IN (
         WITH RECURSIVE g(generation) AS (
           SELECT min(generation) FROM traces
           UNION ALL
           SELECT (SELECT min(generation) FROM traces WHERE generation > g.generation) FROM g WHERE g.generation IS NOT NULL
         )
         SELECT generation FROM g WHERE generation IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM packs WHERE pack BETWEEN (g.generation << ${GENERATION_BITS})
             AND (g.generation << ${GENERATION_BITS}) + ${SLOT_MASK}))`,
    ),
  };
}
