import { type RegionId, type TraceId, traceIdBytes } from '../model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../model/metadata.js';
import { maxNano } from '../model/time.js';
import type { Clock } from '../runtime/clock.js';
import { hashText } from './digest.js';
import { checkBucketPage, checkLocateCount } from './index-limits.js';
import { BucketWalk } from './redis-bucket-walk.js';
import { digestSums } from './redis-digests.js';
import { type FoldProbe, foldedBeforeMs, isFoldedHour, probeCommand } from './redis-fold-reads.js';
import { placeId, shardOf } from './redis-layout.js';
import type { RedisCommand } from './redis-link.js';
import { parseCatalogueEntry, parsePosition, parseWatermarks, positionField } from './redis-marks.js';
import type { RedisShard } from './redis-shard.js';
import { pairsOf, type ShardView } from './redis-view.js';
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

/** Ids in one transaction: it holds Redis while it runs. All of a call's transactions are sent at once. */
const IDS_PER_TRANSACTION = 64;

/** The reading faces of the index in Redis. */
export class RedisIndexReads implements TraceIndexReader, FeedPositions, CatalogueReader, IndexDigests {
  readonly #walks: BucketWalk;

  constructor(
    protected readonly shards: readonly RedisShard[],
    clock: Clock,
  ) {
    this.#walks = new BucketWalk(shards, clock, (ids) => this.#locateAll('index bucket', ids, true));
  }

  async locate(
    traceIds: readonly TraceId[],
    { exactOnly = false }: LocateOptions = {},
  ): Promise<readonly TraceLocation[]> {
    checkLocateCount(traceIds.length);
    return this.#locateAll('index locate', traceIds, exactOnly);
  }

  async #locateAll(attempted: string, traceIds: readonly TraceId[], exactOnly: boolean): Promise<TraceLocation[]> {
    const byShard = new Map<RedisShard, number[]>();
    for (const [i, id] of traceIds.entries()) {
      const shard = this.shards[shardOf(placeId(id), this.shards.length)]!;
      const places = byShard.get(shard) ?? [];
      places.push(i);
      byShard.set(shard, places);
    }
    const found: TraceLocation[] = new Array(traceIds.length);
    const chunks = [...byShard].flatMap(([shard, places]) =>
      Array.from({ length: Math.ceil(places.length / IDS_PER_TRANSACTION) }, (_, i) => ({
        shard,
        places: places.slice(i * IDS_PER_TRANSACTION, (i + 1) * IDS_PER_TRANSACTION),
      })),
    );
    await Promise.all(
      chunks.map(async ({ shard, places }) => {
        const locations = await this.#locateIn(
          attempted,
          shard,
          places.map((place) => traceIds[place]!),
          exactOnly,
        );
        for (const [i, place] of places.entries()) found[place] = locations[i]!;
      }),
    );
    return found;
  }

  /** Records and watermarks of one moment. A Redis that was emptied has neither: nothing is proved then. */
  async #locateIn(
    attempted: string,
    shard: RedisShard,
    ids: readonly TraceId[],
    exactOnly: boolean,
  ): Promise<TraceLocation[]> {
    let probes: FoldProbe[] = [];
    const read = await shard.read(attempted, (view) => {
      probes = exactOnly ? [] : ids.flatMap((id) => shard.filters.probes(view, id));
      return [
        ['HGETALL', shard.keys.watermarks],
        ...ids.flatMap((id) => shard.probesOf(view, id, [...view.regionNames.keys()])),
        ...probes.map(probeCommand),
      ];
    });
    if (!read) return ids.map((traceId) => ({ traceId, records: [], watermarks: [] }));
    const { view, replies } = read;
    const watermarks = parseWatermarks(replies[0]);
    const numbers = [...view.regionNames.keys()];
    const each = numbers.length === 0 ? 0 : view.days.size;
    const rows = ids.map((id, i) =>
      shard.rowsFound(view, id, numbers, replies.slice(1 + i * each, 1 + (i + 1) * each)),
    );
    const records = await shard.unpack(attempted, view, rows.flat());
    const folded = await shard.filters.parts(attempted, view, probes, replies.slice(1 + ids.length * each));
    let at = 0;
    return ids.map((traceId, i) => {
      const own = records.slice(at, at + rows[i]!.length);
      at += own.length;
      own.sort((a, b) => (a.region < b.region ? -1 : 1));
      return { traceId, records: own, ...folded.get(traceId), watermarks: watermarks.ofTrace(traceIdBytes(traceId)) };
    });
  }

  async watermarks(): Promise<readonly VouchedWatermark[]> {
    const shard = this.shards[0]!;
    const read = await shard.read('index watermarks', () => [['HGETALL', shard.keys.watermarks]]);
    return read ? parseWatermarks(read.replies[0]).all() : [];
  }

  /** Kept in every shard; it speaks for all of them, so it is the lowest, and none where one has lost it. */
  async feedPosition(topic: string, partition: number): Promise<FeedPosition | null> {
    const positions = await Promise.all(
      this.shards.map(async (shard) => {
        const probe: RedisCommand = ['HGET', shard.keys.positions, positionField(topic, partition)];
        const read = await shard.read('index position', () => [probe]);
        return read && parsePosition(topic, partition, read.replies[0]);
      }),
    );
    const known = positions.filter((position) => position !== null);
    if (known.length < positions.length) return null;
    return {
      topic,
      partition,
      nextOffset: Math.min(...known.map((position) => position.nextOffset)),
      vouchedFromUnixNano: known.map((position) => position.vouchedFromUnixNano).reduce(maxNano),
    };
  }

  async catalogueTotals(): Promise<ReadonlyMap<RegionId, number>> {
    const shard = this.shards[0]!;
    const read = await shard.read('index catalogue totals', () => [['HGETALL', shard.keys.catalogueTotals]]);
    const pairs = read ? pairsOf(read.replies[0]) : [];
    return new Map(pairs.map(([region, total]) => [region.toString() as RegionId, Number(total.toString())]));
  }

  async catalogue(regions?: readonly RegionId[]): Promise<readonly (CatalogueEntry & { readonly region: RegionId })[]> {
    const shard = this.shards[0]!;
    const read = await shard.read('index catalogue', () => [['HGETALL', shard.keys.catalogue]]);
    if (!read) return [];
    const entries = pairsOf(read.replies[0]).map(([field, value]) => parseCatalogueEntry(field, value));
    return regions ? entries.filter(({ region }) => regions.includes(region)) : entries;
  }

  async digests(region: RegionId): Promise<readonly IndexDigest[]> {
    const sums = new Map<number, { count: number; sum: bigint }>();
    const views: ShardView[] = [];
    for (const shard of this.shards) {
      const read = await shard.read('index digests', ({ days }) =>
        [...days.keys()].map((day) => ['HGETALL', shard.keys.digests(day)]),
      );
      if (read) views.push(read.view);
      const number = read?.view.regionNumbers.get(region);
      for (const digest of (read?.replies ?? []).flatMap(digestSums)) {
        if (digest.regionNumber !== number) continue;
        const before = sums.get(digest.bucketStartMs) ?? { count: 0, sum: 0n };
        sums.set(digest.bucketStartMs, { count: before.count + digest.count, sum: before.sum + digest.sum });
      }
    }
    return [...sums]
      .filter(([hour, { count }]) => count > 0 && !views.some((view) => isFoldedHour(view, hour)))
      .sort(([a], [b]) => a - b)
      .map(([bucketStartMs, { count, sum }]) => ({ region, bucketStartMs, recordCount: count, hash: hashText(sum) }));
  }

  async foldedBeforeMs(): Promise<number> {
    const reads = await Promise.all(this.shards.map((shard) => shard.read('index folds', () => [])));
    return Math.max(0, ...reads.map((read) => (read ? foldedBeforeMs(read.view) : 0)));
  }

  async bucket(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]> {
    checkBucketPage(limit);
    return this.#walks.page(region, bucketStartMs, after, limit);
  }
}
