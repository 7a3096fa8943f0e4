import type { RegionId } from '../model/ids.js';
import type { CatalogueEntry, FeedRecord, TraceMetadata } from '../model/metadata.js';
import { DigestChanges } from './digest.js';
import { joinMetadata } from './join.js';
import { packRow } from './row-codec.js';
import { asBuffer, type SqliteConnection } from './sqlite-connection.js';
import { bigEndian, type TraceRow, unpackTraceRow } from './sqlite-reads.js';
import type { FeedPosition, ReceivedRecord, VouchedWatermark } from './trace-index.js';

/**
 * Joins feed records into the file in one transaction: records, digests, catalogue, watermarks, positions. All of it or nothing.
 * Returns how many rows were added or changed.
 */
export function applyTransaction(
  connection: SqliteConnection,
  home: RegionId,
  records: readonly ReceivedRecord[],
  positions: readonly FeedPosition[],
): number {
  return inTransaction(connection, () => {
    const digests = new DigestChanges();
    let changed = 0;
    for (const metadata of joinedWithin(records, home)) {
      if (applyTrace(connection, metadata, digests)) changed++;
    }
    saveDigests(connection, digests);
    for (const { region, catalogue, watermark } of records) {
      saveCatalogue(connection, region, catalogue);
      if (watermark && connection.watermarks.raise(watermark)) saveWatermark(connection, watermark);
    }
    for (const position of positions) savePosition(connection, position);
    return changed;
  });
}

/** Runs in a transaction; what is remembered of the file is forgotten where it is rolled back. */
export function inTransaction<T>(connection: SqliteConnection, run: () => T): T {
  connection.sql('BEGIN IMMEDIATE').run();
  try {
    const result = run();
    connection.sql('COMMIT').run();
    return result;
  } catch (error) {
    if (connection.database.isTransaction) connection.sql('ROLLBACK').run();
    connection.names.forget();
    connection.blocks.forget();
    connection.load();
    throw error;
  }
}

/** The traces of all records, those of one (trace, region) joined already. Blocks of other regions are left out. */
function joinedWithin(records: readonly FeedRecord[], home: RegionId): Iterable<TraceMetadata> {
  const joined = new Map<string, TraceMetadata>();
  for (const { traces } of records) {
    for (const trace of traces) {
      const key = trace.traceId + trace.region;
      const own = trace.region === home || trace.blocks.length === 0 ? trace : { ...trace, blocks: [] };
      const before = joined.get(key);
      joined.set(key, before ? joinMetadata(before, own) : own);
    }
  }
  return joined.values();
}

function applyTrace(connection: SqliteConnection, metadata: TraceMetadata, digests: DigestChanges): boolean {
  const id = Buffer.alloc(17, connection.ensureRegion(metadata.region));
  id.write(metadata.traceId, 0, 16, 'hex');
  const row = connection.sql('SELECT id, value FROM trace WHERE id = ?').get(id) as TraceRow | undefined;
  const before = row ? unpackTraceRow(connection, row) : null;
  const after = before ? joinMetadata(before, metadata) : metadata;
  const value = packRow(after, after.blocks, { name: connection.names.number, block: connection.blocks.number });
  if (row && value.equals(asBuffer(row.value))) return false;
  connection.sql('INSERT OR REPLACE INTO trace (id, value) VALUES (?, ?)').run(id, value);
  if (before) digests.remove(before);
  digests.add(after);
  return true;
}

/** Adds the changes to the buckets' sums; empty buckets go. */
export function saveDigests(connection: SqliteConnection, changes: DigestChanges): void {
  for (const { region, bucketStartMs, count, sum } of changes) {
    const number = connection.ensureRegion(region as RegionId);
    const row = connection
      .sql('SELECT count, sum FROM digest WHERE region = ? AND bucket = ?')
      .get(number, bucketStartMs) as { count: number; sum: Uint8Array } | undefined;
    const newCount = (row?.count ?? 0) + count;
    const newSum = BigInt.asUintN(64, (row ? asBuffer(row.sum).readBigUInt64BE(0) : 0n) + sum);
    if (newCount === 0) connection.sql('DELETE FROM digest WHERE region = ? AND bucket = ?').run(number, bucketStartMs);
    else {
      connection
        .sql('INSERT OR REPLACE INTO digest (region, bucket, count, sum) VALUES (?, ?, ?, ?)')
        .run(number, bucketStartMs, newCount, bigEndian(newSum));
    }
  }
}

function saveCatalogue(connection: SqliteConnection, region: RegionId, entries: readonly CatalogueEntry[]): void {
  if (entries.length === 0) return;
  const number = connection.ensureRegion(region);
  let added = 0;
  for (const { service, operation, kind, lastSeenMs } of entries) {
    const { changes } = connection
      .sql('INSERT OR IGNORE INTO catalogue (region, service, operation, kind, seen) VALUES (?, ?, ?, ?, ?)')
      .run(number, service, operation, kind, lastSeenMs);
    if (Number(changes) > 0) added++;
    else {
      connection
        .sql(
          'UPDATE catalogue SET seen = ?1 WHERE region = ?2 AND service = ?3 AND operation = ?4 AND kind = ?5 AND seen < ?1',
        )
        .run(lastSeenMs, number, service, operation, kind);
    }
  }
  if (added > 0) connection.sql('UPDATE region SET entries = entries + ? WHERE number = ?').run(added, number);
}

/** Writes the watermark that is kept, which may be an earlier one: then only the partition count was news. */
function saveWatermark(connection: SqliteConnection, { region, partition, partitionCount }: VouchedWatermark): void {
  const number = connection.ensureRegion(region);
  connection.sql('INSERT OR IGNORE INTO parts (region, parts) VALUES (?, ?)').run(number, partitionCount);
  const kept = connection.watermarks.get(region, partition);
  if (!kept) return;
  const vouched = kept.vouchedFromUnixNano === undefined ? null : bigEndian(kept.vouchedFromUnixNano);
  connection
    .sql('INSERT OR REPLACE INTO watermark (region, part, parts, nano, vouched) VALUES (?, ?, ?, ?, ?)')
    .run(number, partition, kept.partitionCount, bigEndian(kept.watermarkUnixNano), vouched);
}

function savePosition(connection: SqliteConnection, position: FeedPosition): void {
  const { topic, partition, nextOffset, vouchedFromUnixNano } = position;
  connection
    .sql('INSERT OR REPLACE INTO position (topic, part, next, vouched) VALUES (?, ?, ?, ?)')
    .run(topic, partition, nextOffset, bigEndian(vouchedFromUnixNano));
}
