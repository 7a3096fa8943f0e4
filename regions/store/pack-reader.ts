import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block } from '../segments/segment.js';
import type { BlockCache } from './block-cache.js';
import { traceKey } from './block-entry.js';
import type { PackCandidate, PackConditions, PackListing, PackPlace } from './search-walk.js';
import { fromStored, GENERATION_BITS, SLOT_MASK, toStored } from './store-database.js';
import { asBuffer } from './store-engine.js';

/** Packs that one step of a listing looks at: bounds how long the event loop waits for it. */
export const LISTING_PACKS = 256;

interface PackRow {
  readonly pack: bigint;
  readonly start_max: bigint;
  readonly filter: Uint8Array | null;
  readonly moves: bigint;
}

/** The reading side of the tables: a connection of its own, on the caller's thread. Every statement sees what was committed before it. */
export class PackReader {
  readonly #db: DatabaseSyncInstance;
  readonly #cache: BlockCache;
  readonly #statements: ReturnType<typeof prepareStatements>;
  readonly #sources = new Map<RegionId, bigint>();

  constructor(db: DatabaseSyncInstance, cache: BlockCache) {
    this.#db = db;
    this.#cache = cache;
    this.#statements = prepareStatements(db);
  }

  close(): void {
    this.#db.close();
  }

  /** Grows whenever packs were replaced by others. */
  moves(): number {
    return Number((this.#statements.moves.get() as { value: bigint }).value);
  }

  /** Inflated; null where the pack is not there (any more). */
  load(pack: number): Block | Promise<Block | null> {
    return this.#cache.get(pack, async () => {
      const row = this.#statements.bytes.get(pack) as { bytes: Uint8Array } | undefined;
      return row ? decodeBlock(readEncodedBlock(asBuffer(row.bytes))) : null;
    });
  }

  packsOfBlocks(ids: readonly BlockId[]): number[] {
    const packs: number[] = [];
    for (const id of ids) {
      const row = this.#statements.packOfBlock.get(id) as { pack: bigint } | undefined;
      if (row) packs.push(Number(row.pack));
    }
    return packs;
  }

  /** Packs that may hold the trace; a few of them may not. */
  packsOfTrace(source: RegionId, traceId: TraceId): number[] {
    const { oldest, newest } = this.#statements.extent.get() as { oldest: bigint | null; newest: bigint | null };
    if (oldest === null || newest === null) return [];
    const key = traceKey(source, traceId);
    const packs: number[] = [];
    const last = Number(newest) >>> GENERATION_BITS;
    for (let generation = Number(oldest) >>> GENERATION_BITS; generation <= last; generation++) {
      for (const { slot } of this.#statements.slots.all(generation, key) as { slot: bigint }[]) {
        packs.push((generation << GENERATION_BITS) | (Number(slot) & SLOT_MASK));
      }
    }
    return packs;
  }

  /** The packs of a source in the order of a search, for conditions that their columns can tell. */
  listing(source: RegionId, conditions: PackConditions, traceIds: readonly TraceId[] | null): PackListing {
    if (traceIds) return this.#listingOfTraces(source, conditions, traceIds);
    return {
      next: (after) => this.#list(source, conditions, after),
      moves: () => this.moves(),
      load: (pack) => this.load(pack),
    };
  }

  #list(source: RegionId, conditions: PackConditions, after: PackPlace | null) {
    const number = this.#source(source);
    if (number === null) return { candidates: [], last: null, moves: this.moves() };
    const startMax = after ? toStored(after.startUnixNanoMax) : (1n << 63n) - 1n;
    const rows = this.#statements.list.all(
      ...storedConditions(conditions),
      number,
      startMax,
      startMax,
      after?.pack ?? Number.MAX_SAFE_INTEGER,
      LISTING_PACKS,
    ) as unknown as PackRow[];
    const last = rows.length < LISTING_PACKS ? null : placeOf(rows[rows.length - 1]!);
    return {
      candidates: rows.filter((row) => row.filter !== null).map(candidateOf),
      last,
      moves: rows[0] ? Number(rows[0].moves) : this.moves(),
    };
  }

  #listingOfTraces(source: RegionId, conditions: PackConditions, traceIds: readonly TraceId[]): PackListing {
    return {
      next: () => {
        const moves = this.moves();
        const packs = new Set(traceIds.flatMap((traceId) => this.packsOfTrace(source, traceId)));
        const candidates: PackCandidate[] = [];
        for (const pack of packs) {
          const row = this.#statements.one.get(...storedConditions(conditions), pack) as unknown as PackRow | undefined;
          if (row?.filter) candidates.push(candidateOf(row));
        }
        candidates.sort((a, b) => (a.startUnixNanoMax < b.startUnixNanoMax ? 1 : -1));
        return { candidates, last: null, moves };
      },
      moves: () => this.moves(),
      load: (pack) => this.load(pack),
    };
  }

  #source(name: RegionId): bigint | null {
    const known = this.#sources.get(name);
    if (known !== undefined) return known;
    const row = this.#statements.source.get(name) as { source: bigint } | undefined;
    if (!row) return null;
    this.#sources.set(name, row.source);
    return row.source;
  }
}

function placeOf(row: PackRow): PackPlace {
  return { startUnixNanoMax: fromStored(row.start_max), pack: Number(row.pack) };
}

function candidateOf(row: PackRow): PackCandidate {
  return { ...placeOf(row), filter: row.filter! };
}

function storedConditions(conditions: PackConditions): [bigint, bigint, bigint, number] {
  return [
    toStored(conditions.segmentStartUnixNanoMax),
    toStored(conditions.spanStartUnixNanoMin),
    toStored(conditions.durationNanoMin),
    conditions.kinds,
  ];
}

function prepareStatements(db: DatabaseSyncInstance) {
  const prepare = (sql: string): StatementSyncInstance => {
    const statement = db.prepare(sql);
    statement.setReadBigInts(true);
    return statement;
  };
  // The filter of a pack that the columns rule out is not read: it lies on a page of its own.
  const columns = `pack, start_max, (SELECT value FROM counters WHERE name = 'moves') AS moves,
    CASE WHEN start_min <= ? AND span_start_max >= ? AND duration_max >= ? AND (kinds & ?) <> 0 THEN filter END AS filter`;
  return {
    source: prepare('SELECT source FROM sources WHERE name = ?'),
    moves: prepare("SELECT value FROM counters WHERE name = 'moves'"),
    bytes: prepare('SELECT bytes FROM packs WHERE pack = ?'),
    packOfBlock: prepare('SELECT pack FROM blocks WHERE id = ?'),
    extent: prepare('SELECT (SELECT min(pack) FROM packs) AS oldest, (SELECT max(pack) FROM packs) AS newest'),
    slots: prepare('SELECT slot FROM traces WHERE generation = ? AND trace_key = ?'),
    one: prepare(`SELECT ${columns} FROM packs WHERE pack = ?`),
    list: prepare(
      `SELECT ${columns} FROM packs INDEXED BY packs_by_start
       WHERE source = ? AND start_max <= ? AND (start_max < ? OR pack < ?)
       ORDER BY start_max DESC, pack DESC LIMIT ?`,
    ),
  };
}
