import type { RegionId, TraceId } from '../model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../model/metadata.js';
import { bucketRange } from './digest.js';
import { FOLD_DAY_MS } from './folded.js';
import { checkBucketPage, checkLocateCount } from './index-limits.js';
import { unpackRow } from './row-codec.js';
import { asBuffer, type ConnectionSource, type SqliteConnection } from './sqlite-connection.js';
import { foldedPartsOf } from './sqlite-fold-reads.js';
import type {
  CatalogueReader,
  FeedPosition,
  FeedPositions,
  IndexDigest,
  IndexDigests,
  LocateOptions,
  TraceIndexReader,
  TraceLocation,
  VouchedWatermark,
} from './trace-index.js';

const ID_BYTES = 16;
const SELECT_TRACE = 'SELECT id, value FROM trace WHERE id >= ? AND id < ?';

export interface TraceRow {
  id: Uint8Array;
  value: Uint8Array;
}

/** The metadata in a row. */
export function unpackTraceRow(connection: SqliteConnection, row: TraceRow): TraceMetadata {
  const id = asBuffer(row.id);
  return unpackRow(
    id.toString('hex', 0, ID_BYTES) as TraceId,
    connection.regionName(id[ID_BYTES]!),
    asBuffer(row.value),
    { name: connection.names.text, block: connection.blocks.text },
  );
}

/** Walks of the whole table go by the first byte of the id, and let other work in between. */
export function* keyRanges(after: Buffer | null): Generator<{ from: Buffer; to: Buffer }> {
  for (let first = after ? after[0]! : 0; first < 256; first++) {
    const start = Buffer.of(first);
    const from = after && first === after[0] ? after : start;
    // Longer than any key, so that it lies behind all keys with this first byte.
    yield { from, to: Buffer.concat([start, Buffer.alloc(ID_BYTES + 2, 0xff)]) };
  }
}

export function otherWork(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The reading faces of the SQLite index, over a writer's or a reader's connection. */
export class SqliteIndexReads implements TraceIndexReader, FeedPositions, CatalogueReader, IndexDigests {
  constructor(protected readonly source: ConnectionSource) {}

  async locate(
    traceIds: readonly TraceId[],
    { exactOnly = false }: LocateOptions = {},
  ): Promise<readonly TraceLocation[]> {
    checkLocateCount(traceIds.length);
    return this.source.use('index locate', (connection) =>
      // One snapshot: a watermark must not be newer than the records that it is read with.
      connection.snapshot(() => traceIds.map((id) => this.#locateOne(connection, id, exactOnly))),
    );
  }

  #locateOne(connection: SqliteConnection, traceId: TraceId, exactOnly: boolean): TraceLocation {
    const id = Buffer.alloc(ID_BYTES + 1, 0xff);
    id.write(traceId, 0, ID_BYTES, 'hex');
    const rows = connection.sql(SELECT_TRACE).all(id.subarray(0, ID_BYTES), Buffer.concat([id, id])) as TraceRow[];
    const records = rows.map((row) => unpackTraceRow(connection, row));
    if (records.length > 1) records.sort((a, b) => (a.region < b.region ? -1 : 1));
    const folded = exactOnly ? {} : foldedPartsOf(connection, id.subarray(0, ID_BYTES));
    return { traceId, records, ...folded, watermarks: connection.watermarks.ofTrace(id) };
  }

  async foldedBeforeMs(): Promise<number> {
    return this.source.use('index folds', (connection) =>
      connection.snapshot(() => Math.max(0, ...connection.folds.map(({ day }) => (day + 1) * FOLD_DAY_MS))),
    );
  }

  async watermarks(): Promise<readonly VouchedWatermark[]> {
    return this.source.use('index watermarks', (connection) => connection.snapshot(() => connection.watermarks.all()));
  }

  async feedPosition(topic: string, partition: number): Promise<FeedPosition | null> {
    return this.source.use('index position', (connection) => {
      const row = connection
        .sql('SELECT next, vouched FROM position WHERE topic = ? AND part = ?')
        .get(topic, partition) as { next: number; vouched: Uint8Array } | undefined;
      if (!row) return null;
      const vouchedFromUnixNano = asBuffer(row.vouched).readBigUInt64BE(0);
      return { topic, partition, nextOffset: row.next, vouchedFromUnixNano };
    });
  }

  async catalogue(regions?: readonly RegionId[]): Promise<readonly (CatalogueEntry & { readonly region: RegionId })[]> {
    return this.source.use('index catalogue', (connection) =>
      connection.snapshot(() => {
        const found: (CatalogueEntry & { region: RegionId })[] = [];
        for (const region of regions ? new Set(regions) : connection.regions()) {
          const number = connection.regionNumber(region);
          if (number === undefined) continue;
          const rows = connection
            .sql('SELECT service, operation, kind, seen FROM catalogue WHERE region = ?')
            .all(number) as CatalogueRow[];
          for (const { service, operation, kind, seen } of rows) {
            found.push({ region, service, operation, kind, lastSeenMs: seen });
          }
        }
        return found;
      }),
    );
  }

  async catalogueTotals(): Promise<ReadonlyMap<RegionId, number>> {
    return this.source.use('index catalogue totals', (connection) => {
      const rows = connection.sql('SELECT name, entries FROM region ORDER BY name').all() as RegionTotal[];
      return new Map(rows.map(({ name, entries }) => [name as RegionId, entries]));
    });
  }

  async digests(region: RegionId): Promise<readonly IndexDigest[]> {
    return this.source.use('index digests', (connection) =>
      connection.snapshot(() => {
        const number = connection.regionNumber(region);
        if (number === undefined) return [];
        const rows = connection
          .sql('SELECT bucket, count, sum FROM digest WHERE region = ? ORDER BY bucket')
          .all(number) as DigestRow[];
        const folded = new Set(connection.folds.map(({ day }) => day));
        const left = rows.filter(({ bucket }) => !folded.has(Math.floor(bucket / FOLD_DAY_MS)));
        return left.map(({ bucket, count, sum }) => ({
          region,
          bucketStartMs: bucket,
          recordCount: count,
          hash: asBuffer(sum).toString('hex'),
        }));
      }),
    );
  }

  async bucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]> {
    checkBucketPage(limit);
    const found: TraceMetadata[] = [];
    const { first, last } = bucketRange(bucketStartMs);
    // Behind all rows of that trace, whatever the region.
    const start = after ? Buffer.concat([Buffer.from(after, 'hex'), Buffer.of(0xff, 0xff)]) : null;
    for (const { from, to } of keyRanges(start)) {
      this.source.use('index bucket', (connection) =>
        connection.snapshot(() => {
          const number = connection.regionNumber(region);
          if (number === undefined) return;
          const rows = connection
            .sql(
              'SELECT id, value FROM trace WHERE id >= ? AND id < ? AND substr(id, 17) = ? AND substr(value, 1, 8) BETWEEN ? AND ? ORDER BY id LIMIT ?',
            )
            .all(from, to, Buffer.of(number), bigEndian(first), bigEndian(last), limit - found.length) as TraceRow[];
          for (const row of rows) found.push(unpackTraceRow(connection, row));
        }),
      );
      if (found.length >= limit) break;
      await otherWork();
    }
    return found;
  }
}

/** Eight bytes that compare like the number; beyond 64 bits: the largest. */
export function bigEndian(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value > 0xffff_ffff_ffff_ffffn ? 0xffff_ffff_ffff_ffffn : value);
  return bytes;
}

interface CatalogueRow {
  service: string;
  operation: string;
  kind: number;
  seen: number;
}

interface RegionTotal {
  name: string;
  entries: number;
}

interface DigestRow {
  bucket: number;
  count: number;
  sum: Uint8Array;
}
