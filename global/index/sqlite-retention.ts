import type { RegionId, TraceId } from '../model/ids.js';
import { unixNanoToMs } from '../model/time.js';
import { DigestChanges } from './digest.js';
import { CATALOGUE_MARGIN_MS } from './index-limits.js';
import { unpackRow } from './row-codec.js';
import { inTransaction, saveDigests } from './sqlite-apply.js';
import { asBuffer, type ConnectionSource, type SqliteConnection } from './sqlite-connection.js';
import { expireFolds } from './sqlite-fold.js';
import { keyRanges, otherWork, type TraceRow, unpackTraceRow } from './sqlite-reads.js';

/** Texts are swept once their number has doubled since the last sweep, and never below this. */
const SWEEP_TEXTS_MIN = 10_000;

export interface SweepState {
  sweepAtTexts: number;
}

/**
 * Removes the traces all of whose records, of whatever region, ended before the time; and catalogue entries last seen more than `CATALOGUE_MARGIN_MS` before it. A
 * trace goes whole: a record that is missing beside one that stands would read as proof of absence. Walks the table in
 * short transactions. Returns the rows removed.
 */
export async function expireTraces(
  source: ConnectionSource,
  beforeUnixNano: bigint,
  state: SweepState,
): Promise<number> {
  const sweep = source.use('index expire', ({ names, blocks }) => names.size + blocks.size > state.sweepAtTexts);
  const used = { names: new Set<number>(), blocks: new Set<number>() };
  if (sweep) {
    source.use('index expire', ({ names, blocks }) => {
      names.beginSweep();
      blocks.beginSweep();
    });
  }
  let removed = 0;
  for (const { from, to } of keyRanges(null)) {
    removed += source.use('index expire', (connection) => {
      const rows = connection
        .sql('SELECT id, value FROM trace WHERE id >= ? AND id < ? ORDER BY id')
        .all(from, to) as TraceRow[];
      if (rows.length === 0) return 0;
      const { gone, left } = parted(connection, rows, beforeUnixNano);
      if (sweep) for (const row of left) markUsed(connection, row, used);
      if (gone.length > 0) inTransaction(connection, () => removeRows(connection, gone));
      return gone.length;
    });
    await otherWork();
  }
  removed += await expireFolds(source, beforeUnixNano);
  source.use('index expire', (connection) => {
    connection.sql('DELETE FROM catalogue WHERE seen < ?').run(unixNanoToMs(beforeUnixNano) - CATALOGUE_MARGIN_MS);
    if (!sweep) return;
    inTransaction(connection, () => {
      const left = connection.names.endSweep(used.names) + connection.blocks.endSweep(used.blocks);
      state.sweepAtTexts = Math.max(SWEEP_TEXTS_MIN, left * 2);
    });
  });
  return removed;
}

/** Parts rows, which are in order of trace, into those of traces that ended and the others. */
function parted(
  connection: SqliteConnection,
  rows: readonly TraceRow[],
  beforeUnixNano: bigint,
): { gone: TraceRow[]; left: TraceRow[] } {
  const gone: TraceRow[] = [];
  const left: TraceRow[] = [];
  for (let first = 0; first < rows.length; ) {
    const id = asBuffer(rows[first]!.id).subarray(0, 16);
    let next = first + 1;
    while (next < rows.length && asBuffer(rows[next]!.id).subarray(0, 16).equals(id)) next++;
    const trace = rows.slice(first, next);
    const ended = trace.every(
      (row) =>
        // The start is in front and tells most young rows without unpacking.
        asBuffer(row.value).readBigUInt64BE(0) < beforeUnixNano &&
        unpackTraceRow(connection, row).endUnixNano < beforeUnixNano,
    );
    (ended ? gone : left).push(...trace);
    first = next;
  }
  return { gone, left };
}

function removeRows(connection: SqliteConnection, rows: readonly TraceRow[]): void {
  const digests = new DigestChanges();
  for (const row of rows) {
    digests.remove(unpackTraceRow(connection, row));
    connection.sql('DELETE FROM trace WHERE id = ?').run(row.id);
  }
  saveDigests(connection, digests);
}

function markUsed(
  connection: SqliteConnection,
  row: TraceRow,
  used: { names: Set<number>; blocks: Set<number> },
): void {
  const noted = (numbers: Set<number>, text: (number: number) => string | undefined) => (number: number) => {
    numbers.add(number);
    return text(number);
  };
  unpackRow('' as TraceId, '' as RegionId, asBuffer(row.value), {
    name: noted(used.names, connection.names.text),
    block: noted(used.blocks, connection.blocks.text),
  });
}

const TABLES = [
  'trace',
  'name',
  'block',
  'digest',
  'watermark',
  'parts',
  'position',
  'catalogue',
  'region',
  'fold',
  'fuse',
];

/** Empties the file; numbers of texts go on from where they were. */
export function clearAll(connection: SqliteConnection): void {
  inTransaction(connection, () => {
    for (const table of TABLES) {
      connection.sql(`DELETE FROM ${table}`).run();
    }
  });
  connection.names.forget();
  connection.blocks.forget();
  connection.load();
}
