import type { RegionId } from '../model/ids.js';
import { maxNano } from '../model/time.js';
import { invariant } from '../runtime/errors.js';
import { DigestChanges } from './digest.js';
import { canFold, FOLD_DAY_MS, FoldKeys, foldDayOf, foldDaysBefore, isWorthFolding, KeyList } from './folded.js';
import { buildFuseFilter, type FuseFilter } from './fuse-filter.js';
import { timesOfRow } from './row-codec.js';
import { inTransaction, saveDigests } from './sqlite-apply.js';
import { asBuffer, type ConnectionSource, type SqliteConnection } from './sqlite-connection.js';
import { filterFor } from './sqlite-fold-reads.js';
import { bigEndian, otherWork, type TraceRow } from './sqlite-reads.js';

const ATTEMPTED = 'index fold';
/** Keys of one filter: it is read as a whole by each lookup. */
export const SQLITE_FILTER_KEYS_MAX = 16_384;
/** Rows read, or removed in one transaction, at a time. */
const ROWS_AT_ONCE = 1_000;
const ID_BYTES = 16;
/** Behind all ids. */
const ALL_IDS = Buffer.alloc(ID_BYTES, 0xff);

/**
 * Folds what is due, day by day, oldest first. A fold walks the table in order of id: it gathers keys for a filter, writes the filter with the range of
 * ids that it speaks for, removes that range's rows, and goes on behind it. Cut off anywhere, the next call goes on behind the last filter;
 * rows that a filter has and that are still there go with the walk.
 */
export async function foldDays(source: ConnectionSource, beforeUnixNano: bigint, recordsMin: number): Promise<number> {
  let removed = 0;
  const days = source.use(ATTEMPTED, (connection) => daysDue(connection, foldDaysBefore(beforeUnixNano), recordsMin));
  for (const day of days) removed += await new DayFold(source, day, beforeUnixNano).run();
  return removed;
}

function daysDue(connection: SqliteConnection, daysBefore: number, recordsMin: number): number[] {
  const counts = connection
    .sql('SELECT bucket / ? AS day, sum(count) AS exact FROM digest GROUP BY 1 ORDER BY 1')
    .all(FOLD_DAY_MS) as { day: number; exact: number }[];
  return counts
    .map(({ day, exact }) => ({ day: Math.floor(day), exact }))
    .filter(({ day, exact }) => {
      if (day >= daysBefore) return false;
      const folds = connection.folds.filter((fold) => fold.day === day);
      if (folds.some(({ done }) => !done)) return true;
      const folded = folds.reduce((sum, { records }) => sum + records, 0);
      return isWorthFolding(exact, folded, folds.length, recordsMin);
    })
    .map(({ day }) => day);
}

interface Row {
  readonly row: TraceRow;
  readonly id: Buffer;
  readonly region: RegionId;
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
}

class DayFold {
  readonly #keys = new FoldKeys();
  readonly #gathered = new KeyList(SQLITE_FILTER_KEYS_MAX);
  /** The latest end of what was gathered. */
  #gatheredEnd = 0n;
  /** Filters of this day near the walk's place, by fold. */
  readonly #near = new Map<number, { filter: FuseFilter; upTo: Buffer } | null>();
  #number = 0;
  #removed = 0;

  constructor(
    private readonly source: ConnectionSource,
    private readonly day: number,
    private readonly beforeUnixNano: bigint,
  ) {}

  async run(): Promise<number> {
    // What stands before this was folded by a call that was cut off.
    const foldedUpTo = this.#use((connection) => this.#begin(connection));
    let after: Buffer = Buffer.alloc(0);
    let lastGathered: Buffer | null = null;
    for (;;) {
      const { rows, last } = this.#use((connection) => this.#pageBehind(connection, after));
      if (!last) break;
      const covered: { row: Row; fold: number }[] = [];
      for (const row of rows) {
        const id = row.id.subarray(0, ID_BYTES);
        // All rows of a trace are in one filter.
        if (this.#gathered.count >= SQLITE_FILTER_KEYS_MAX - 256 && lastGathered && !lastGathered.equals(id)) {
          await this.#write(lastGathered);
        }
        const key = this.#keys.of(id, row.region);
        const fold = this.#use((connection) => this.#foldThatHas(connection, id, key));
        if (fold !== null) covered.push({ row, fold });
        else if (foldedUpTo === null || id.compare(foldedUpTo) > 0) {
          this.#gathered.push(key);
          this.#gatheredEnd = maxNano(this.#gatheredEnd, row.endUnixNano);
          lastGathered = id;
        }
      }
      if (covered.length > 0) this.#use((connection) => this.#remove(connection, covered));
      after = last;
      await otherWork();
    }
    if (this.#gathered.count > 0) await this.#write(ALL_IDS);
    this.#use((connection) => this.#end(connection));
    return this.#removed;
  }

  #use<T>(run: (connection: SqliteConnection) => T): T {
    return this.source.use(ATTEMPTED, run);
  }

  /** Goes on with the day's fold that is not done, or begins one. Gives the last id that its filters speak for. */
  #begin(connection: SqliteConnection): Buffer | null {
    const folds = connection.folds.filter(({ day }) => day === this.day);
    const open = folds.find(({ done }) => !done);
    this.#number = open?.number ?? folds.length;
    if (!open) {
      connection
        .sql('INSERT INTO fold (day, number, endmax, records, done) VALUES (?, ?, ?, 0, 0)')
        .run(this.day, this.#number, bigEndian(0n));
      connection.loadFolds();
      return null;
    }
    const { upto } = connection
      .sql('SELECT max(upto) AS upto FROM fuse WHERE day = ? AND number = ?')
      .get(this.day, this.#number) as { upto: Uint8Array | null };
    return upto ? asBuffer(upto) : null;
  }

  /** Those of the next rows that are of the day and may be folded, and the last id that was looked at; null is the end of the table. */
  #pageBehind(connection: SqliteConnection, after: Buffer): { rows: Row[]; last: Buffer | null } {
    const page = connection
      .sql('SELECT id, value FROM trace WHERE id > ? ORDER BY id LIMIT ?')
      .all(after, ROWS_AT_ONCE) as TraceRow[];
    const rows = page.flatMap((row) => this.#foldable(connection, row) ?? []);
    return { rows, last: page.length === 0 ? null : asBuffer(page.at(-1)!.id) };
  }

  #foldable(connection: SqliteConnection, row: TraceRow): Row | null {
    const times = timesOfRow(asBuffer(row.value));
    if (foldDayOf(times.startUnixNano) !== this.day || !canFold(times, this.beforeUnixNano)) return null;
    const id = asBuffer(row.id);
    return { row, id, region: connection.regionName(id[ID_BYTES]!), ...times };
  }

  /** Number of the day's fold that has the key. */
  #foldThatHas(connection: SqliteConnection, id: Buffer, key: { high: number; low: number }): number | null {
    for (const { day, number } of connection.folds) {
      if (day !== this.day) continue;
      let near = this.#near.get(number);
      if (near === undefined || (near && near.upTo.compare(id) < 0)) {
        near = filterFor(connection, { day, number }, id);
        this.#near.set(number, near);
      }
      if (near?.filter.mayHave(key.high, key.low)) return number;
    }
    return null;
  }

  /** Writes the filter of what was gathered, for ids up to this one, then removes its rows. */
  async #write(upTo: Buffer): Promise<void> {
    const gathered = this.#gathered;
    const filter = buildFuseFilter(gathered);
    invariant(filter !== null, `a fuse filter of ${gathered.count} keys could not be built`);
    const from = this.#use((connection) => {
      const before = connection
        .sql('SELECT max(upto) AS upto FROM fuse WHERE day = ? AND number = ?')
        .get(this.day, this.#number) as { upto: Uint8Array | null };
      inTransaction(connection, () => {
        connection
          .sql('INSERT INTO fuse (day, number, upto, filter) VALUES (?, ?, ?, ?)')
          .run(this.day, this.#number, upTo, filter);
        this.#raise(connection, this.#number, this.#gatheredEnd, gathered.count);
      });
      return before.upto ? asBuffer(before.upto) : null;
    });
    gathered.count = 0;
    this.#gatheredEnd = 0n;
    this.#near.delete(this.#number);
    await this.#sweep(from, upTo);
  }

  #raise(connection: SqliteConnection, number: number, endUnixNano: bigint, records: number): void {
    connection
      .sql('UPDATE fold SET endmax = max(endmax, ?), records = records + ? WHERE day = ? AND number = ?')
      .run(bigEndian(endUnixNano), records, this.day, number);
    connection.loadFolds();
  }

  /** Removes what the filter just written has, behind one id and up to another. */
  async #sweep(from: Buffer | null, upTo: Buffer): Promise<void> {
    let after: Buffer = from ? Buffer.concat([from, Buffer.of(0xff)]) : Buffer.alloc(0);
    for (;;) {
      const last = this.#use((connection) => {
        const page = this.#pageBehind(connection, after);
        const covered = page.rows.flatMap((row) => {
          const id = row.id.subarray(0, ID_BYTES);
          const fold = id.compare(upTo) > 0 ? null : this.#foldThatHas(connection, id, this.#keys.of(id, row.region));
          return fold === null ? [] : [{ row, fold }];
        });
        this.#remove(connection, covered);
        return page.last;
      });
      if (!last || last.compare(upTo, 0, ID_BYTES, 0, ID_BYTES) > 0) return;
      after = last;
      await otherWork();
    }
  }

  /** Removes rows that folds have, unless they were changed since they were read; a fold's bound is made to hold for them too. */
  #remove(connection: SqliteConnection, covered: readonly { row: Row; fold: number }[]): void {
    if (covered.length === 0) return;
    this.#removed += inTransaction(connection, () => {
      const digests = new DigestChanges();
      let removed = 0;
      for (const { row, fold } of covered) {
        const { id, value } = row.row;
        const { changes } = connection.sql('DELETE FROM trace WHERE id = ? AND value = ?').run(id, value);
        if (Number(changes) === 0) continue;
        removed++;
        const known = connection.folds.find(({ day, number }) => day === this.day && number === fold)!;
        if (row.endUnixNano > known.endUnixNanoMax) this.#raise(connection, fold, row.endUnixNano, 0);
        digests.uncount(row.region, row.startUnixNano);
      }
      saveDigests(connection, digests);
      return removed;
    });
  }

  /** A fold that found nothing is none. */
  #end(connection: SqliteConnection): void {
    const { day } = this;
    const fold = connection.folds.find((row) => row.day === day && row.number === this.#number)!;
    if (fold.records === 0) connection.sql('DELETE FROM fold WHERE day = ? AND number = ?').run(day, fold.number);
    else connection.sql('UPDATE fold SET done = 1 WHERE day = ? AND number = ?').run(day, fold.number);
    connection.loadFolds();
  }
}

/** Drops the folds all of whose records ended before the time; gives the number of records. */
export async function expireFolds(source: ConnectionSource, beforeUnixNano: bigint): Promise<number> {
  const old = source.use('index expire', ({ folds }) => folds.filter((f) => f.endUnixNanoMax < beforeUnixNano));
  let removed = 0;
  for (const { day, number } of old) {
    removed += source.use('index expire', (connection) => {
      const fold = connection.folds.find((row) => row.day === day && row.number === number);
      // A fold may be going on.
      if (!fold?.done || fold.endUnixNanoMax >= beforeUnixNano) return 0;
      inTransaction(connection, () => {
        connection.sql('DELETE FROM fuse WHERE day = ? AND number = ?').run(day, number);
        connection.sql('DELETE FROM fold WHERE day = ? AND number = ?').run(day, number);
      });
      connection.loadFolds();
      return fold.records;
    });
    await otherWork();
  }
  return removed;
}
