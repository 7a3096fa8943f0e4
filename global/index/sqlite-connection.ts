import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';
import type { RegionId } from '../model/ids.js';
import { MeridianError } from '../runtime/errors.js';
import { SqliteDictionary } from './sqlite-dictionary.js';
import { asUnavailable, fileIdentity, openForReading } from './sqlite-schema.js';
import type { VouchedWatermark } from './trace-index.js';
import { Watermarks } from './watermarks.js';

/** Region numbers are one byte of each row's key. */
export const REGIONS_MAX = 255;

/** One folding of a day, as the file has it. */
export interface FoldRow {
  readonly day: number;
  readonly number: number;
  readonly endUnixNanoMax: bigint;
  readonly records: number;
  readonly done: boolean;
}

/** An open index file with what is remembered of it: names, regions, watermarks, folds. */
export class SqliteConnection {
  readonly names: SqliteDictionary;
  readonly blocks: SqliteDictionary;
  readonly watermarks = new Watermarks();
  /** By day, then number. */
  folds: readonly FoldRow[] = [];
  readonly #regionsByNumber = new Map<number, RegionId>();
  readonly #numbersByRegion = new Map<RegionId, number>();
  readonly #statements = new Map<string, StatementSyncInstance>();
  #loadedVersion = -1;

  constructor(
    readonly database: DatabaseSyncInstance,
    private readonly writable: boolean,
  ) {
    this.names = new SqliteDictionary(database, 'name', writable);
    this.blocks = new SqliteDictionary(database, 'block', writable);
    if (writable) this.load();
  }

  /** A prepared statement, made once per text. */
  sql(text: string): StatementSyncInstance {
    let statement = this.#statements.get(text);
    if (!statement) {
      statement = this.database.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /** Runs in one snapshot of the file, with regions and watermarks as of that snapshot. */
  snapshot<T>(read: () => T): T {
    this.sql('BEGIN').run();
    try {
      if (!this.writable) this.#refresh();
      return read();
    } finally {
      this.sql('COMMIT').run();
    }
  }

  /** Another connection's commit changes `data_version`; only then is anything read again. */
  #refresh(): void {
    const { data_version: version } = this.sql('PRAGMA data_version').get() as { data_version: number };
    if (version === this.#loadedVersion) return;
    this.load();
    this.#loadedVersion = version;
  }

  /** Reads regions, watermarks and folds; also what a writer does after a transaction that was rolled back. */
  load(): void {
    this.#regionsByNumber.clear();
    this.#numbersByRegion.clear();
    this.watermarks.clear();
    for (const { number, name } of this.sql('SELECT number, name FROM region').all() as RegionRow[]) {
      this.#regionsByNumber.set(number, name as RegionId);
      this.#numbersByRegion.set(name as RegionId, number);
    }
    for (const row of this.sql('SELECT region, parts FROM parts').all() as { region: number; parts: number }[]) {
      this.watermarks.knowCount(this.regionName(row.region), row.parts);
    }
    for (const row of this.sql('SELECT region, part, parts, nano, vouched FROM watermark').all() as WatermarkRow[]) {
      this.watermarks.raise(this.#watermarkOf(row));
    }
    this.loadFolds();
  }

  /** Reads the folds again; also what a writer does after it changed them. */
  loadFolds(): void {
    const rows = this.sql(
      'SELECT day, number, endmax, records, done FROM fold ORDER BY day, number',
    ).all() as RawFold[];
    this.folds = rows.map(({ day, number, endmax, records, done }) => {
      return { day, number, endUnixNanoMax: asBuffer(endmax).readBigUInt64BE(0), records, done: done === 1 };
    });
  }

  #watermarkOf(row: WatermarkRow): VouchedWatermark {
    return {
      region: this.regionName(row.region),
      partition: row.part,
      partitionCount: row.parts,
      watermarkUnixNano: asBuffer(row.nano).readBigUInt64BE(0),
      ...(row.vouched ? { vouchedFromUnixNano: asBuffer(row.vouched).readBigUInt64BE(0) } : {}),
    };
  }

  regions(): RegionId[] {
    return [...this.#numbersByRegion.keys()].sort();
  }

  regionName(number: number): RegionId {
    const name = this.#regionsByNumber.get(number);
    if (name === undefined)
      throw new MeridianError('malformed', `index: row of an unknown region number ${number}`, 'never');
    return name;
  }

  regionNumber(region: RegionId): number | undefined {
    return this.#numbersByRegion.get(region);
  }

  /** The region's number; a new region gets one (in the caller's transaction). Throws `too-large` beyond REGIONS_MAX. */
  ensureRegion(region: RegionId): number {
    const known = this.#numbersByRegion.get(region);
    if (known !== undefined) return known;
    const number = this.#numbersByRegion.size + 1;
    if (number > REGIONS_MAX) {
      throw new MeridianError('too-large', `index: region ${region} would be one more than ${REGIONS_MAX}`, 'never');
    }
    this.sql('INSERT INTO region (number, name) VALUES (?, ?)').run(number, region);
    this.#regionsByNumber.set(number, region);
    this.#numbersByRegion.set(region, number);
    return number;
  }
}

interface RegionRow {
  number: number;
  name: string;
}

interface RawFold {
  day: number;
  number: number;
  endmax: Uint8Array;
  records: number;
  done: number;
}

interface WatermarkRow {
  region: number;
  part: number;
  parts: number;
  nano: Uint8Array;
  vouched: Uint8Array | null;
}

/** The same bytes as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Gives access to the connection that is right at the moment of the call. */
export interface ConnectionSource {
  /** Runs at once. What SQLite throws becomes `unavailable`. */
  use<T>(attempted: string, run: (connection: SqliteConnection) => T): T;
  close(): void;
}

/** The one connection of a writer. */
export class WritableSource implements ConnectionSource {
  #closed = false;

  constructor(readonly connection: SqliteConnection) {}

  use<T>(attempted: string, run: (connection: SqliteConnection) => T): T {
    if (this.#closed) throw new MeridianError('shutting-down', `${attempted}: the index is closed`, 'later');
    try {
      return run(this.connection);
    } catch (error) {
      throw asUnavailable(error, attempted);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { database } = this.connection;
    try {
      // The driver ends a connection only when its statements are collected; until then closing would leave all in `-wal`.
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } finally {
      database.close();
    }
  }
}

/**
 * A reader's connection to a file that another process writes: opened when it is first needed, opened again when the file was
 * replaced or failed. While there is no file, calls throw `unavailable`.
 */
export class ReadOnlySource implements ConnectionSource {
  #open: { connection: SqliteConnection; identity: string } | null = null;
  #closed = false;

  constructor(private readonly file: string) {}

  use<T>(attempted: string, run: (connection: SqliteConnection) => T): T {
    if (this.#closed) throw new MeridianError('shutting-down', `${attempted}: the index is closed`, 'later');
    try {
      if (this.#open && this.#open.identity !== fileIdentity(this.file)) this.#drop();
      if (!this.#open) {
        const { database, identity } = openForReading(this.file);
        this.#open = { connection: new SqliteConnection(database, false), identity };
      }
      return run(this.#open.connection);
    } catch (error) {
      this.#drop();
      throw asUnavailable(error, attempted);
    }
  }

  #drop(): void {
    const open = this.#open;
    this.#open = null;
    open?.connection.database.close();
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }
}
