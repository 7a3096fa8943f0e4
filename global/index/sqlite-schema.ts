import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { MeridianError, messageOf } from '../runtime/errors.js';

/** Layout of the file; another number is another layout. */
export const SCHEMA_VERSION = 3;
/** How long a statement waits for another process's lock. */
const BUSY_TIMEOUT_MS = 250;

/*
 * trace.id is the 16 bytes of the trace id, then the region's number in one byte: a trace's rows are neighbours.
 * There is no index by time: it would cost a third more. Buckets and expiry walk the rows instead; digests are kept as sums.
 */
/*
 * A fold is one folding of a day: endmax is the latest end of what went into it, records how many did, done whether it got through the table. Its filters
 * (fuse-filter.ts, of keys as in folded.ts) are for ranges of trace ids: upto is the last id of the range.
 */
const FOLD_TABLES = `
CREATE TABLE fold (day INTEGER, number INTEGER, endmax BLOB NOT NULL, records INTEGER NOT NULL, done INTEGER NOT NULL,
  PRIMARY KEY (day, number)) WITHOUT ROWID;
CREATE TABLE fuse (day INTEGER NOT NULL, number INTEGER NOT NULL, upto BLOB NOT NULL, filter BLOB NOT NULL,
  UNIQUE (day, number, upto));`;

const SCHEMA = `
CREATE TABLE trace (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE region (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, entries INTEGER NOT NULL DEFAULT 0);
CREATE TABLE name (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE TABLE block (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE TABLE digest (region INTEGER, bucket INTEGER, count INTEGER NOT NULL, sum BLOB NOT NULL,
  PRIMARY KEY (region, bucket)) WITHOUT ROWID;
CREATE TABLE watermark (region INTEGER, part INTEGER, parts INTEGER NOT NULL, nano BLOB NOT NULL, vouched BLOB,
  PRIMARY KEY (region, part)) WITHOUT ROWID;
CREATE TABLE parts (region INTEGER, parts INTEGER, PRIMARY KEY (region, parts)) WITHOUT ROWID;
CREATE TABLE position (topic TEXT, part INTEGER, next INTEGER NOT NULL, vouched BLOB NOT NULL,
  PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE catalogue (region INTEGER, service TEXT, operation TEXT, kind INTEGER, seen INTEGER NOT NULL,
  PRIMARY KEY (region, service, operation, kind)) WITHOUT ROWID;
${FOLD_TABLES}
PRAGMA user_version = ${SCHEMA_VERSION};
`;

/*
 * Version 1 did not know how its feeds were received: its watermarks vouch for nothing until a feed's next record, and then from there on. A replay
 * from the earliest record vouches for what the log still holds.
 */
const FROM_VERSION_1 = `
ALTER TABLE watermark ADD COLUMN vouched BLOB;
ALTER TABLE region ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;
UPDATE region SET entries = (SELECT count(*) FROM catalogue WHERE catalogue.region = region.number);
CREATE TABLE position (topic TEXT, part INTEGER, next INTEGER NOT NULL, vouched BLOB NOT NULL,
  PRIMARY KEY (topic, part)) WITHOUT ROWID;
PRAGMA user_version = 2;
`;

const FROM_VERSION_2 = `
${FOLD_TABLES}
PRAGMA user_version = 3;
`;

/** Opens for writing, making the file where it is missing, and the layout new where it is an older one. Throws `unavailable` or `unknown-version`. */
export function openForWriting(file: string): DatabaseSyncInstance {
  let database: DatabaseSyncInstance | null = null;
  try {
    mkdirSync(dirname(file), { recursive: true });
    database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;');
    const version = versionOf(database);
    if (version === 0) database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    else if (version === 1) database.exec(`BEGIN IMMEDIATE; ${FROM_VERSION_1} ${FROM_VERSION_2} COMMIT;`);
    else if (version === 2) database.exec(`BEGIN IMMEDIATE; ${FROM_VERSION_2} COMMIT;`);
    else checkVersion(version, file);
    return database;
  } catch (error) {
    database?.close();
    throw asUnavailable(error, `index ${file}: opening for writing`);
  }
}

/** An open file and what tells it from another of the same name. */
export interface OpenedFile {
  readonly database: DatabaseSyncInstance;
  readonly identity: string;
}

/** Opens for reading only. Throws `unavailable` where the file is not there yet (or not finished, or still of an older layout), `unknown-version`. */
export function openForReading(file: string): OpenedFile {
  let database: DatabaseSyncInstance | null = null;
  try {
    const identity = fileIdentity(file);
    if (identity === null) throw new Error('there is no such file');
    database = new DatabaseSync(file, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
    database.exec('PRAGMA cache_size = -32768;');
    const version = versionOf(database);
    if (version < SCHEMA_VERSION) throw new Error('its writer has not laid it out yet');
    checkVersion(version, file);
    return { database, identity };
  } catch (error) {
    database?.close();
    throw asUnavailable(error, `index ${file}: opening for reading`);
  }
}

/** Device and inode; null where there is no file. */
export function fileIdentity(file: string): string | null {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat ? `${stat.dev}:${stat.ino}` : null;
}

function versionOf(database: DatabaseSyncInstance): number {
  return (database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
}

function checkVersion(version: number, file: string): void {
  if (version === SCHEMA_VERSION) return;
  throw new MeridianError(
    'unknown-version',
    `index ${file}: layout version ${version}, this build knows ${SCHEMA_VERSION}; move it away to have it rebuilt from the log`,
    'never',
  );
}

/** A MeridianError as it is; anything else as `unavailable`. */
export function asUnavailable(error: unknown, attempted: string): MeridianError {
  if (error instanceof MeridianError) return error;
  return new MeridianError('unavailable', `${attempted}: ${messageOf(error)}`, 'later', { cause: error });
}
