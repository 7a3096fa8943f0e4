import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { UINT64_MAX } from '../../global/model/time.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';

/** Version of tables, term filters and trace keys together; kept in `user_version`. */
const FORMAT_VERSION = 1;
/** "Meridian segments", so that another program's file is not taken for ours. */
const APPLICATION_ID = 0x4d455253;

/**
 * A pack is what is stored and inflated as one: a block as it came, or some small ones packed together (`compaction.ts`). 64-bit
 * unsigned numbers are kept shifted by 2^63, which keeps their order.
 *
 *   packs    columns that searches filter by stand before the large ones, so that reading them does not read those
 *   blocks   which pack holds a block: makes writing again harmless, and gives the blocks that an index names
 *   traces   which packs may hold a trace, by a 32-bit key. Packs are numbered in generations of 4,096, and a generation's keys stand
 *            together: new keys land in a small part of the tree, which stays in memory and is written a page at a time
 */
const SCHEMA = `
  CREATE TABLE sources (source INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
  CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO counters VALUES ('moves', 0);
  CREATE TABLE packs (
    pack INTEGER PRIMARY KEY AUTOINCREMENT,
    source INTEGER NOT NULL,
    start_max INTEGER NOT NULL,
    start_min INTEGER NOT NULL,
    span_start_max INTEGER NOT NULL,
    duration_max INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    extent_level INTEGER NOT NULL,
    starts BLOB NOT NULL,
    filter BLOB NOT NULL,
    bytes BLOB NOT NULL
  );
  CREATE INDEX packs_by_start ON packs (source, start_max);
  CREATE INDEX packs_by_extent ON packs (source, extent_level, start_max);
  CREATE INDEX packs_by_newest ON packs (newest);
  CREATE TABLE blocks (id TEXT PRIMARY KEY, pack INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE traces (
    generation INTEGER NOT NULL, trace_key INTEGER NOT NULL, slot INTEGER NOT NULL,
    PRIMARY KEY (generation, trace_key, slot)
  ) WITHOUT ROWID;
`;

export const GENERATION_BITS = 12;
export const SLOT_MASK = (1 << GENERATION_BITS) - 1;

const BIAS = 1n << 63n;

/** As it is stored. Values outside of 64 unsigned bits are taken as the nearest. */
export function toStored(value: bigint): bigint {
  return (value < 0n ? 0n : value > UINT64_MAX ? UINT64_MAX : value) - BIAS;
}

export function fromStored(value: bigint): bigint {
  return value + BIAS;
}

export interface DatabaseOptions {
  readonly folder: string;
  /** The database does not grow beyond this; 0: as far as the disk. */
  readonly bytesMax: number;
}

export function databasePath(folder: string): string {
  return join(folder, 'segments.db');
}

/** Opens for writing; makes folder and tables where they are missing. Throws `unavailable`, or `unknown-version` for another build's data. */
export function openForWriting({ folder, bytesMax }: DatabaseOptions): DatabaseSyncInstance {
  const path = databasePath(folder);
  return opening(path, () => {
    mkdirSync(folder, { recursive: true });
    const db = new DatabaseSync(path, { timeout: 5000 });
    return closingOnError(db, () => {
      db.exec('PRAGMA journal_mode = WAL');
      db.exec('PRAGMA synchronous = FULL');
      db.exec('PRAGMA wal_autocheckpoint = 4000');
      db.exec('PRAGMA journal_size_limit = 33554432');
      db.exec('PRAGMA cache_size = -16384');
      ensureSchema(db, path);
      if (bytesMax > 0) db.exec(`PRAGMA max_page_count = ${Math.max(32, Math.floor(bytesMax / pageBytes(db)))}`);
    });
  });
}

/** Opens what `openForWriting` made, for reading. */
export function openForReading(folder: string): DatabaseSyncInstance {
  const path = databasePath(folder);
  return opening(path, () => {
    const db = new DatabaseSync(path, { timeout: 5000 });
    return closingOnError(db, () => {
      db.exec('PRAGMA query_only = 1');
      db.exec('PRAGMA cache_size = -32768');
      checkVersion(db, path);
    });
  });
}

function opening(path: string, open: () => DatabaseSyncInstance): DatabaseSyncInstance {
  try {
    return open();
  } catch (error) {
    if (error instanceof MeridianError) throw error;
    throw unavailable(`open segment store ${path}`, error);
  }
}

function closingOnError(db: DatabaseSyncInstance, work: () => void): DatabaseSyncInstance {
  try {
    work();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function ensureSchema(db: DatabaseSyncInstance, path: string): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    const { tables } = db.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number };
    if (tables === 0) {
      db.exec(SCHEMA);
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
      db.exec(`PRAGMA user_version = ${FORMAT_VERSION}`);
    }
    checkVersion(db, path);
    db.exec('COMMIT');
  } catch (error) {
    db.exec('ROLLBACK');
    throw error;
  }
}

function checkVersion(db: DatabaseSyncInstance, path: string): void {
  const version = numberPragma(db, 'user_version');
  if (version === FORMAT_VERSION && numberPragma(db, 'application_id') === APPLICATION_ID) return;
  const message = `segment store ${path} has format ${version}, this build knows ${FORMAT_VERSION}`;
  throw new MeridianError('unknown-version', message, 'never');
}

function numberPragma(db: DatabaseSyncInstance, name: string): number {
  return Number(Object.values(db.prepare(`PRAGMA ${name}`).get() as Record<string, unknown>)[0]);
}

function pageBytes(db: DatabaseSyncInstance): number {
  return numberPragma(db, 'page_size');
}

/** Whatever SQLite says (disk full, I/O error, locked): nothing was promised, trying again may help. */
export function unavailable(attempted: string, error: unknown): MeridianError {
  if (error instanceof MeridianError) return error;
  return new MeridianError('unavailable', `${attempted}: ${messageOf(error)}`, 'later', { cause: error });
}
