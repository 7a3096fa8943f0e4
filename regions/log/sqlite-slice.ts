import { rmSync, statSync } from 'node:fs';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { MeridianError } from '../../global/runtime/errors.js';
import { PAGE_BYTES, packValue } from './leaf-packing.js';
import { Places } from './places.js';
import { contentOf, storedForm } from './value-codec.js';

/** SQLite's `user_version` of a slice: the format below. 0 is a slice whose making was cut short. */
const SLICE_VERSION = 1;
/** WAL bytes after which pages go to their place: small, so that a commit never waits long for it and the WAL file stays warm. */
const CHECKPOINT_BYTES = 4 * 1024 * 1024;

/** What a row costs beside its contents, about. */
const ROW_BYTES = 64;

const SCHEMA = `
  CREATE TABLE partitions(partition INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, places BLOB);
  CREATE TABLE sealed(newest_ms REAL NOT NULL);
  CREATE TABLE records(
    row INTEGER PRIMARY KEY,
    partition INTEGER,
    offset INTEGER,
    appended_ms INTEGER,
    bytes INTEGER,
    more INTEGER,
    key BLOB,
    headers BLOB,
    value BLOB
  );
`;

export interface SliceEntry {
  readonly partition: number;
  readonly key: Uint8Array | null;
  readonly headers: Uint8Array;
  readonly value: Uint8Array;
}

export interface StoredRecord {
  readonly offset: number;
  readonly appendedMs: number;
  readonly key: Uint8Array | null;
  readonly headers: Uint8Array;
  /** In order; one, unless a value that is not compressed is larger than a row. */
  readonly chunks: readonly Uint8Array[];
}

interface RecordRow {
  readonly offset: number;
  readonly appended_ms: number;
  readonly bytes: number;
  readonly more: number;
  readonly key: Uint8Array | null;
  readonly headers: Uint8Array;
  readonly value: Uint8Array;
}

interface ScannedRow {
  readonly row: number;
  readonly partition: number | null;
  readonly offset: number;
  readonly appended_ms: number;
  readonly bytes: number;
}

/**
 * One file of a topic: a SQLite database with the records that were appended over some time, one row each in order of the appends
 * (a large value goes on in the rows after it, whose `partition` is null). Values stand there as `value-codec.ts` says; `bytes` is
 * their length before that. The rows have no index: while the slice takes
 * appends the places of its records are in memory, found again by a scan after a crash; sealing writes them down, and makes of
 * the slice a plain file without a WAL that retention can remove as a whole.
 */
export class Slice {
  readonly places: readonly Places[];
  #db: DatabaseSyncInstance;
  #insert;
  #get;
  #more;
  #nextRow = 1;
  /** Free space of the leaf that the next row goes to, as far as known. */
  #leafFreeBytes = 0;
  #uncheckpointedBytes = 0;
  bytes = 0;
  records = 0;
  /** Times of the first and the newest record; NaN where there is none. */
  oldestMs = Number.NaN;
  newestMs = Number.NaN;

  private constructor(
    readonly path: string,
    db: DatabaseSyncInstance,
    readonly sealed: boolean,
  ) {
    this.#db = db;
    this.#insert = db.prepare('INSERT INTO records VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#get = db.prepare('SELECT offset, appended_ms, bytes, more, key, headers, value FROM records WHERE row = ?');
    this.#more = db.prepare('SELECT value FROM records WHERE row > ? AND row <= ? ORDER BY row');
    this.places = this.#loadPlaces();
  }

  static create(path: string, firstOffsets: readonly number[]): Slice {
    const db = openDatabase(path);
    try {
      db.exec('PRAGMA journal_mode = WAL; BEGIN IMMEDIATE');
      db.exec(SCHEMA);
      const insert = db.prepare('INSERT INTO partitions VALUES(?, ?, NULL)');
      for (const [partition, offset] of firstOffsets.entries()) insert.run(partition, offset);
      db.exec(`PRAGMA user_version = ${SLICE_VERSION}; COMMIT`);
      return new Slice(path, db, false);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** Null (and the file is gone) where a crash cut its making short: it never held a record. */
  static open(path: string): Slice | null {
    const db = openDatabase(path);
    const { user_version: version }: { user_version: number } = db.prepare('PRAGMA user_version').get();
    if (version === 0) {
      db.close();
      removeSliceFiles(path);
      return null;
    }
    if (version !== SLICE_VERSION) {
      db.close();
      throw new MeridianError('unknown-version', `opening log file ${path}: version ${version} is not known`, 'never');
    }
    const sealed = db.prepare('SELECT 1 FROM sealed').get() !== undefined;
    return new Slice(path, db, sealed);
  }

  /**
   * One durable commit. Returns the offset of each entry. On an error nothing of it is in the slice, except where the disk
   * failed in the middle of the commit: the slice is then to be opened anew.
   */
  append(entries: readonly SliceEntry[], nowMs: number): number[] {
    const offsets: number[] = [];
    const before = { row: this.#nextRow, bytes: this.bytes };
    const ends = this.places.map((p) => p.endOffset);
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      for (const entry of entries) offsets.push(this.#insertEntry(entry, nowMs));
      this.#db.exec('COMMIT');
    } catch (error) {
      for (const [partition, end] of ends.entries()) this.places[partition]!.truncate(end);
      this.#nextRow = before.row;
      this.#leafFreeBytes = 0;
      this.bytes = before.bytes;
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
    this.records += entries.length;
    this.#uncheckpointedBytes += this.bytes - before.bytes + PAGE_BYTES;
    if (Number.isNaN(this.oldestMs)) this.oldestMs = nowMs;
    this.newestMs = Number.isNaN(this.newestMs) ? nowMs : Math.max(this.newestMs, nowMs);
    return offsets;
  }

  #insertEntry(entry: SliceEntry, nowMs: number): number {
    const places = this.places[entry.partition]!;
    const value = storedForm(entry.value);
    const beside = entry.headers.length + (entry.key?.length ?? 0);
    const { chunks, freeBytes } = packValue(value.length, beside, this.#leafFreeBytes);
    const more = chunks.length - 1;
    const offset = places.endOffset;
    const row = this.#nextRow;
    const first = value.subarray(0, chunks[0]);
    this.#insert.run(row, entry.partition, offset, nowMs, entry.value.length, more, entry.key, entry.headers, first);
    for (let i = 1, at = chunks[0]!; i <= more; at += chunks[i]!, i++) {
      const chunk = value.subarray(at, at + chunks[i]!);
      this.#insert.run(row + i, null, null, null, null, null, null, null, chunk);
    }
    this.#leafFreeBytes = freeBytes;
    places.push(row, entry.value.length, nowMs);
    this.#nextRow = row + more + 1;
    this.bytes += value.length + beside + ROW_BYTES;
    return offset;
  }

  /** The record must be there. The bytes are the caller's. */
  read(partition: number, offset: number): StoredRecord {
    const row = this.places[partition]!.rowAt(offset);
    const record: RecordRow = this.#get.get(row);
    const chunks = [record.value];
    if (record.more > 0) {
      const rest: { value: Uint8Array }[] = this.#more.all(row, row + record.more);
      for (const { value } of rest) chunks.push(value);
    }
    const storedBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const whole = storedBytes === record.bytes ? chunks : [contentOf(Buffer.concat(chunks), record.bytes)];
    return {
      offset: record.offset,
      appendedMs: record.appended_ms,
      key: record.key,
      headers: record.headers,
      chunks: whole,
    };
  }

  /** Moves pages from the WAL to their place when enough has gathered. Call it when nobody waits for the slice. */
  checkpointIfDue(): void {
    if (this.#uncheckpointedBytes < CHECKPOINT_BYTES) return;
    this.#uncheckpointedBytes = 0;
    this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  }

  /** Removes all but the newest record of each key. Records without a key stay. */
  compact(): void {
    const rows: { row: number; partition: number; offset: number; more: number }[] = this.#db
      .prepare(
        `SELECT row, partition, offset, more FROM records AS old WHERE key IS NOT NULL AND row <
          (SELECT max(row) FROM records AS newer WHERE newer.partition = old.partition AND newer.key = old.key)`,
      )
      .all();
    if (rows.length === 0) return;
    const remove = this.#db.prepare('DELETE FROM records WHERE row BETWEEN ? AND ?');
    this.#db.exec('BEGIN IMMEDIATE');
    for (const { row, more } of rows) remove.run(row, row + more);
    this.#db.exec('COMMIT');
    for (const { partition, offset } of rows) this.places[partition]!.remove(offset);
  }

  /**
   * Ends the appends: writes the places down and folds the WAL in. The slice is closed afterwards; open it again to read. After an error
   * it is open and takes appends as before.
   */
  seal(): void {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const update = this.#db.prepare('UPDATE partitions SET places = ? WHERE partition = ?');
      for (const [partition, places] of this.places.entries()) update.run(places.encode(), partition);
      this.#db.prepare('INSERT INTO sealed VALUES(?)').run(Number.isNaN(this.newestMs) ? 0 : this.newestMs);
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
    // From here on it is sealed. With its WAL it can be read as well; the next to open it folds it in.
    try {
      this.#db.exec('PRAGMA journal_mode = DELETE');
    } catch {}
    this.close();
  }

  /** Bytes on disk that the slice may grow to; SQLite fails with SQLITE_FULL beyond. */
  limitBytes(bytesMax: number): void {
    this.#db.exec(`PRAGMA max_page_count = ${Math.max(1, Math.min(0xffff_fffe, Math.floor(bytesMax / PAGE_BYTES)))}`);
  }

  fileBytes(): number {
    const { page_count: pages }: { page_count: number } = this.#db.prepare('PRAGMA page_count').get();
    return pages * PAGE_BYTES;
  }

  close(): void {
    this.#db.exec('PRAGMA shrink_memory');
    this.#db.close();
  }

  #loadPlaces(): readonly Places[] {
    const rows: { partition: number; first_offset: number; places: Uint8Array | null }[] = this.#db
      .prepare('SELECT partition, first_offset, places FROM partitions ORDER BY partition')
      .all();
    if (this.sealed) {
      const { newest_ms: newestMs }: { newest_ms: number } = this.#db.prepare('SELECT newest_ms FROM sealed').get();
      this.newestMs = newestMs;
      return rows.map((row) => Places.decode(row.first_offset, row.places!));
    }
    const places = rows.map((row) => new Places(row.first_offset));
    const scan: Iterable<ScannedRow> = this.#db
      .prepare('SELECT row, partition, offset, appended_ms, bytes FROM records ORDER BY row')
      .iterate();
    for (const { row, partition, offset, appended_ms: appendedMs, bytes } of scan) {
      this.#nextRow = row + 1;
      if (partition === null) continue;
      places[partition]!.pushAt(offset, row, bytes, appendedMs);
      this.records++;
      this.bytes += bytes + ROW_BYTES;
      if (Number.isNaN(this.oldestMs)) this.oldestMs = appendedMs;
      this.newestMs = Number.isNaN(this.newestMs) ? appendedMs : Math.max(this.newestMs, appendedMs);
    }
    return places;
  }
}

function openDatabase(path: string): DatabaseSyncInstance {
  const db = new DatabaseSync(path);
  // Checkpoints are ours to time. No exclusive locking mode: a closed connection keeps its locks until its statements are
  // garbage, for they cannot be finalized by hand.
  db.exec(`
    PRAGMA page_size = ${PAGE_BYTES};
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA cache_size = -4096;
  `);
  return db;
}

/** Bytes of a slice on disk, its WAL included. */
export function sliceFilesBytes(path: string): number {
  return ['', '-wal'].reduce((sum, suffix) => sum + (statSync(path + suffix, { throwIfNoEntry: false })?.size ?? 0), 0);
}

export function removeSliceFiles(path: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
}
