import type { RegionId, TraceId } from '../model/ids.js';
import type { TraceMetadata } from '../model/metadata.js';
import { unixNanoToMs } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';
import { DigestChanges } from './digest.js';
import { CATALOGUE_MARGIN_MS } from './index-limits.js';
import { WRITE_ATTEMPTS_MAX } from './redis-apply.js';
import { BUCKETS_AT_ONCE } from './redis-bucket-walk.js';
import { digestSteps } from './redis-digests.js';
import { bucketNumber, type Day, dayStartNano, fieldOf, ODD_DAY, placeId, unplace } from './redis-layout.js';
import { padded } from './redis-marks.js';
import { startOfDayRow } from './redis-row.js';
import { WriteSteps } from './redis-script.js';
import type { FoundRow, RedisShard } from './redis-shard.js';
import { pairsOf, type ShardView } from './redis-view.js';

const ATTEMPTED = 'index expire';

/**
 * Removes the traces of the shard all of whose records ended before the time, and days that are left empty. Walks the days that began before it, some
 * buckets at a time, in turn with `apply`. Gives the number of records.
 */
export async function expireShard(shard: RedisShard, beforeUnixNano: bigint): Promise<number> {
  const read = await shard.read(ATTEMPTED, () => []);
  if (!read) return 0;
  const walked = new Map([...read.view.days].filter(([day]) => day === ODD_DAY || dayStartNano(day) < beforeUnixNano));
  if (walked.size === 0) return 0;
  // Days differ in bits: ranges are of the coarsest, so that all rows of a trace are in one.
  const bits = Math.min(...walked.values());
  const keysPerRange = [...walked.values()].reduce((sum, own) => sum + 2 ** (own - bits), 0);
  const atOnce = Math.max(1, Math.floor(BUCKETS_AT_ONCE / keysPerRange));
  let removed = 0;
  for (let from = 0; from < 2 ** bits; from += atOnce) {
    const ranges = Math.min(atOnce, 2 ** bits - from);
    removed += await shard.exclusive(() =>
      expireRange(shard, { generation: read.view.generation, walked, bits, from, ranges }, beforeUnixNano),
    );
  }
  for (const day of walked.keys()) await shard.exclusive(() => dropEmptyDay(shard, day));
  return removed;
}

/** Ranges of bucket numbers, as numbers of so many bits, on some days. */
interface Range {
  readonly generation: string;
  readonly walked: ReadonlyMap<Day, number>;
  readonly bits: number;
  readonly from: number;
  readonly ranges: number;
}

async function expireRange(shard: RedisShard, range: Range, beforeUnixNano: bigint): Promise<number> {
  const buckets = [...range.walked].flatMap(([day, bits]) => {
    const finer = 2 ** (bits - range.bits);
    return Array.from({ length: range.ranges * finer }, (_, i) => ({ day, bits, number: range.from * finer + i }));
  });
  return changing(
    shard,
    ATTEMPTED,
    async (view, replies, steps) => {
      if (view.generation !== range.generation) return 0;
      const rows: FoundRow[] = [];
      for (const [i, { day, bits, number }] of buckets.entries()) {
        for (const [field, value] of pairsOf(replies[i])) {
          const { traceId, regionNumber } = unplace(field, number, bits);
          rows.push({ traceId, region: view.regionNames.get(regionNumber)!, day, value });
        }
      }
      const gone = await goneOf(shard, view, range, rows, beforeUnixNano);
      const digests = new Map<Day, DigestChanges>();
      for (const [{ day, traceId, region }, metadata] of gone) {
        const bits = view.days.get(day)!;
        const placed = placeId(traceId);
        const number = view.regionNumbers.get(region)!;
        steps.remove(shard.keys.bucket(day, bucketNumber(placed, bits)), [fieldOf(placed, number, bits)]);
        const changes = digests.get(day) ?? new DigestChanges();
        changes.remove(metadata);
        digests.set(day, changes);
      }
      for (const [day, changes] of digests) {
        const sums = digestSteps(changes, (region) => view.regionNumbers.get(region as RegionId)!);
        steps.addToDigests(shard.keys.digests(day), 0, sums);
      }
      return gone.length;
    },
    () => buckets.map(({ day, number }) => ['HGETALL', shard.keys.bucket(day, number)]),
  );
}

/** The rows of traces that go, those on days outside the walk among them. */
async function goneOf(
  shard: RedisShard,
  view: ShardView,
  range: Range,
  rows: readonly FoundRow[],
  beforeUnixNano: bigint,
): Promise<[FoundRow, TraceMetadata][]> {
  const young = new Set<TraceId>();
  for (const { day, traceId, value } of rows) {
    // The start is in front and tells most young rows without unpacking.
    if (day !== ODD_DAY && startOfDayRow(value, dayStartNano(day)) >= beforeUnixNano) young.add(traceId);
  }
  const perhaps = rows.filter(({ traceId }) => !young.has(traceId));
  if (perhaps.length === 0) return [];
  const ids = [...new Set(perhaps.map(({ traceId }) => traceId))];
  const others = [...view.days.keys()].some((day) => !range.walked.has(day))
    ? await rowsOnOtherDays(shard, view, range, ids)
    : [];
  const all = [...perhaps, ...others];
  const unpacked = await shard.unpack(ATTEMPTED, view, all);
  for (const { traceId, endUnixNano } of unpacked) if (endUnixNano >= beforeUnixNano) young.add(traceId);
  return all.map((row, i): [FoundRow, TraceMetadata] => [row, unpacked[i]!]).filter(([row]) => !young.has(row.traceId));
}

async function rowsOnOtherDays(
  shard: RedisShard,
  view: ShardView,
  range: Range,
  ids: readonly TraceId[],
): Promise<FoundRow[]> {
  const numbers = [...view.regionNames.keys()];
  // What was written since the view makes the write fail, so this may be of a later moment.
  const replies = await shard.link.roundTrip(
    ATTEMPTED,
    ids.flatMap((id) => shard.probesOf(view, id, numbers)),
  );
  const each = view.days.size;
  return ids
    .flatMap((id, i) => shard.rowsFound(view, id, numbers, replies.slice(i * each, (i + 1) * each)))
    .filter(({ day }) => !range.walked.has(day));
}

/** A day whose digests count nothing has no records. To be called in turn with writes. */
export async function dropEmptyDay(shard: RedisShard, day: Day): Promise<void> {
  await changing(
    shard,
    ATTEMPTED,
    async (view, [count], steps) => {
      if (Number(count) > 0 || !view.days.has(day)) return;
      steps.remove(shard.keys.meta, [`d${day}`]);
      steps.unlink(shard.keys.names(day));
      steps.unlink(shard.keys.digests(day));
    },
    () => [['HLEN', shard.keys.digests(day)]],
  );
  shard.names.forget();
}

/** Removes the catalogue's entries that were last seen more than CATALOGUE_MARGIN_MS before the time. */
export async function expireCatalogue(shard: RedisShard, beforeUnixNano: bigint): Promise<void> {
  const oldest = padded(unixNanoToMs(beforeUnixNano) - CATALOGUE_MARGIN_MS);
  await shard.exclusive(() =>
    changing(
      shard,
      ATTEMPTED,
      async (_view, [catalogue], steps) => {
        const old = pairsOf(catalogue).filter(([, seen]) => seen.toString() < oldest);
        steps.remove(
          shard.keys.catalogue,
          old.map(([field]) => field),
        );
      },
      () => [['HGETALL', shard.keys.catalogue]],
    ),
  );
}

/** Reads, lets `change` say what is to be done, and does it unless another process wrote meanwhile: then again. Nothing where there is no index. */
export async function changing<T>(
  shard: RedisShard,
  attempted: string,
  change: (view: ShardView, replies: readonly unknown[], steps: WriteSteps) => Promise<T>,
  probes: Parameters<RedisShard['read']>[1],
): Promise<T> {
  for (let attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt++) {
    const read = await shard.read(attempted, probes);
    if (!read) throw new MeridianError('unavailable', `${attempted}: Redis has lost the index meanwhile`, 'later');
    const steps = new WriteSteps();
    const result = await change(read.view, read.replies, steps);
    if (steps.isEmpty || typeof (await shard.write(attempted, read.view, steps)) === 'object') return result;
  }
  throw new MeridianError('unavailable', `${attempted}: others wrote ${WRITE_ATTEMPTS_MAX} times in between`, 'later');
}
