import { FoldedParts, FoldKeys, foldDayStart } from './folded.js';
import { FuseFilter } from './fuse-filter.js';
import { asBuffer, type FoldRow, type SqliteConnection } from './sqlite-connection.js';
import type { TraceLocation } from './trace-index.js';

const keys = new FoldKeys();

/** The filter that speaks for the id (16 bytes) in one fold, and up to which id it does; null: the fold has none. */
export function filterFor(
  connection: SqliteConnection,
  { day, number }: Pick<FoldRow, 'day' | 'number'>,
  id: Buffer,
): { filter: FuseFilter; upTo: Buffer } | null {
  const row = connection
    .sql('SELECT upto, filter FROM fuse WHERE day = ? AND number = ? AND upto >= ? ORDER BY upto LIMIT 1')
    .get(day, number, id) as { upto: Uint8Array; filter: Uint8Array } | undefined;
  return row ? { filter: new FuseFilter(asBuffer(row.filter)), upTo: asBuffer(row.upto) } : null;
}

/** What folded days say of the trace, as a member of its location. */
export function foldedPartsOf(connection: SqliteConnection, id: Buffer): Pick<TraceLocation, 'folded'> {
  if (connection.folds.length === 0) return {};
  const parts = new FoldedParts();
  const asked = connection.regions().map((region) => ({ region, key: keys.of(id, region) }));
  for (const fold of connection.folds) {
    const found = filterFor(connection, fold, id);
    if (!found) continue;
    for (const { region, key } of asked) {
      if (found.filter.mayHave(key.high, key.low)) parts.add(region, foldDayStart(fold.day), fold.endUnixNanoMax);
    }
  }
  return parts.member();
}
