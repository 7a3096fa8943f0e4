import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block } from '../segments/segment.js';
import type { BlockCache } from './block-cache.js';
import { traceKey } from './block-entry.js';
import type { PackCandidate, PackConditions, PackListing } from './search-walk.js';
import { latestStartUpTo } from './segment-starts.js';
import { fromStored, GENERATION_BITS, SLOT_MASK, toStored } from './store-database.js';

/** Packs that one step of a listing looks at: bounds how long the event loop waits for it. */
const LISTING_PACKS = 256;

interface PackRow {
  readonly pack: bigint;
  readonly start_max: bigint;
  readonly start_min: bigint;
  readonly starts: Uint8Array;
  readonly may_match: bigint;
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
    const number = this.#source(source);
    const shared = {
      moves: () => this.moves(),
      filter: (pack: number) =>
        (this.#statements.filter.get(pack) as { filter: Uint8Array } | undefined)?.filter ?? null,
      load: (pack: number) => this.load(pack),
    };
    const end = { candidates: [], last: null };
    if (number === null) return { ...shared, overlapping: async () => [], next: () => end };
    if (traceIds) {
      return { ...shared, overlapping: async () => this.#ofTraces(source, conditions, traceIds), next: () => end };
    }
    return {
      ...shared,
      overlapping: () => this.#overlapping(number, conditions),
      next: (after) => this.#next(number, conditions, after),
    };
  }

  #next(source: bigint, conditions: PackConditions, after: PackCandidate | null) {
    const reach = toStored(after?.reachUnixNano ?? conditions.segmentStartUnixNanoMax);
    const rows = this.#statements.below.all(
      ...storedConditions(conditions),
      source,
      reach,
      reach,
      after?.pack ?? Number.MAX_SAFE_INTEGER,
      LISTING_PACKS,
    ) as unknown as PackRow[];
    const candidateOf = (row: PackRow) => ({ pack: Number(row.pack), reachUnixNano: fromStored(row.start_max) });
    return {
      candidates: rows.filter((row) => row.may_match).map(candidateOf),
      last: rows.length < LISTING_PACKS ? null : candidateOf(rows[rows.length - 1]!),
    };
  }

  /** Packs with segments on both sides of the limit: those of an extent below 2^n have their newest less than that above it. */
  async #overlapping(source: bigint, conditions: PackConditions): Promise<PackCandidate[]> {
    const limit = conditions.segmentStartUnixNanoMax;
    const candidates: PackCandidate[] = [];
    for (let level = -1; ; ) {
      const next = this.#statements.nextLevel.get(source, level) as { level: bigint | null };
      if (next.level === null) break;
      level = Number(next.level);
      const top = toStored(limit + (1n << BigInt(level)));
      let place: { start_max: bigint; pack: bigint } = { start_max: top, pack: 1n << 62n };
      for (;;) {
        const rows = this.#statements.across.all(
          ...storedConditions(conditions),
          source,
          level,
          toStored(limit),
          place.start_max,
          place.start_max,
          place.pack,
          LISTING_PACKS,
        ) as unknown as PackRow[];
        for (const row of rows) {
          const candidate = row.may_match ? reaching(row, limit) : null;
          if (candidate) candidates.push(candidate);
        }
        if (rows.length < LISTING_PACKS) break;
        place = rows[rows.length - 1]!;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
    return candidates.sort(byReach);
  }

  #ofTraces(source: RegionId, conditions: PackConditions, traceIds: readonly TraceId[]): PackCandidate[] {
    const candidates: PackCandidate[] = [];
    for (const pack of new Set(traceIds.flatMap((traceId) => this.packsOfTrace(source, traceId)))) {
      const row = this.#statements.one.get(...storedConditions(conditions), pack) as unknown as PackRow | undefined;
      const candidate = row?.may_match ? reaching(row, conditions.segmentStartUnixNanoMax) : null;
      if (candidate) candidates.push(candidate);
    }
    return candidates.sort(byReach);
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

/** Null where all its segments start later. */
function reaching(row: PackRow, limit: bigint): PackCandidate | null {
  const min = fromStored(row.start_min);
  if (min > limit) return null;
  const reachUnixNano = latestStartUpTo(limit, row.starts, min, fromStored(row.start_max));
  return { pack: Number(row.pack), reachUnixNano };
}

function byReach(a: PackCandidate, b: PackCandidate): number {
  if (a.reachUnixNano !== b.reachUnixNano) return a.reachUnixNano > b.reachUnixNano ? -1 : 1;
  return b.pack - a.pack;
}

function storedConditions(conditions: PackConditions): [bigint, bigint, number] {
  return [toStored(conditions.spanStartUnixNanoMin), toStored(conditions.durationNanoMin), conditions.kinds];
}

function prepareStatements(db: DatabaseSyncInstance) {
  const prepare = (sql: string): StatementSyncInstance => {
    const statement = db.prepare(sql);
    statement.setReadBigInts(true);
    return statement;
  };
  const mayMatch = '(span_start_max >= ? AND duration_max >= ? AND (kinds & ?) <> 0) AS may_match';
  const columns = `${mayMatch}, pack, start_max, start_min, starts`;
  return {
    source: prepare('SELECT source FROM sources WHERE name = ?'),
    moves: prepare("SELECT value FROM counters WHERE name = 'moves'"),
    bytes: prepare('SELECT bytes FROM packs WHERE pack = ?'),
    packOfBlock: prepare('SELECT pack FROM blocks WHERE id = ?'),
    extent: prepare('SELECT (SELECT min(pack) FROM packs) AS oldest, (SELECT max(pack) FROM packs) AS newest'),
    slots: prepare('SELECT slot FROM traces WHERE generation = ? AND trace_key = ?'),
    filter: prepare('SELECT filter FROM packs WHERE pack = ?'),
    one: prepare(`SELECT ${columns} FROM packs WHERE pack = ?`),
    below: prepare(
      `SELECT ${mayMatch}, pack, start_max FROM packs INDEXED BY packs_by_start
       WHERE source = ? AND start_max <= ? AND (start_max < ? OR pack < ?)
       ORDER BY start_max DESC, pack DESC LIMIT ?`,
    ),
    nextLevel: prepare('SELECT min(extent_level) AS level FROM packs WHERE source = ? AND extent_level > ?'),
    across: prepare(
      `SELECT ${columns} FROM packs INDEXED BY packs_by_extent
       WHERE source = ? AND extent_level = ? AND start_max > ? AND start_max <= ? AND (start_max < ? OR pack < ?)
       ORDER BY start_max DESC, pack DESC LIMIT ?`,
    ),
  };
}
