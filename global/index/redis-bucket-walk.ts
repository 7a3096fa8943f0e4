import type { RegionId, TraceId } from '../model/ids.js';
import type { TraceMetadata } from '../model/metadata.js';
import { msToUnixNano } from '../model/time.js';
import type { Clock } from '../runtime/clock.js';
import { bucketOf, bucketRange } from './digest.js';
import { LOCATE_MAX } from './index-limits.js';
import { type Day, dayOf, dayStartNano, ODD_DAY, unplace } from './redis-layout.js';
import { startOfDayRow, unpackOddRow } from './redis-row.js';
import type { RedisShard } from './redis-shard.js';
import { pairsOf } from './redis-view.js';
import type { TraceLocation } from './trace-index.js';

/** Buckets in one round trip of a walk. */
export const BUCKETS_AT_ONCE = 64;
/** Ids that one walk over a day remembers for the pages to come. */
const RUN_IDS_MAX = 100_000;
/** After this a walk is made anew. */
const RUN_AGE_MAX_MS = 60_000;

/** The ids of an hour's records behind `after`, in order: all of them, or the first RUN_IDS_MAX. */
interface Run {
  readonly region: RegionId;
  readonly bucketStartMs: number;
  readonly after: TraceId | null;
  readonly ids: readonly TraceId[];
  readonly complete: boolean;
  readonly madeMs: number;
}

/**
 * Pages of an hour's records in order of id. Redis has them in no order, so the day is walked once and the ids are remembered for the pages that
 * follow; a first page always walks. The records themselves are read page by page.
 */
export class BucketWalk {
  #run: Run | null = null;

  constructor(
    private readonly shards: readonly RedisShard[],
    private readonly clock: Clock,
    private readonly locate: (ids: readonly TraceId[]) => Promise<readonly TraceLocation[]>,
  ) {}

  async page(
    region: RegionId,
    bucketStartMs: number,
    after: TraceId | null,
    limit: number,
  ): Promise<readonly TraceMetadata[]> {
    const page: TraceMetadata[] = [];
    let last = after;
    while (page.length < limit) {
      const run = this.#fits(region, bucketStartMs, last) ?? (await this.#walk(region, bucketStartMs, last));
      const from = firstBehind(run.ids, last);
      const ids = run.ids.slice(from, from + Math.min(limit - page.length, LOCATE_MAX));
      if (ids.length === 0) {
        if (run.complete) break;
        this.#run = null;
        continue;
      }
      for (const { records } of await this.locate(ids)) {
        const own = records.find((record) => record.region === region);
        // It may have moved to an earlier hour since the walk, or expired.
        if (own && bucketOf(own.startUnixNano) === bucketStartMs) page.push(own);
      }
      last = ids.at(-1)!;
    }
    return page;
  }

  /** The remembered run where it can go on from there. */
  #fits(region: RegionId, bucketStartMs: number, after: TraceId | null): Run | null {
    const run = this.#run;
    if (!run || after === null || run.region !== region || run.bucketStartMs !== bucketStartMs) return null;
    if (this.clock.monotonicMs() - run.madeMs > RUN_AGE_MAX_MS) return null;
    if (run.after !== null && after < run.after) return null;
    return run.complete || after < run.ids.at(-1)! ? run : null;
  }

  async #walk(region: RegionId, bucketStartMs: number, after: TraceId | null): Promise<Run> {
    let ids: TraceId[] = [];
    let complete = true;
    const cut = () => {
      ids.sort();
      if (ids.length <= RUN_IDS_MAX) return;
      ids = ids.slice(0, RUN_IDS_MAX);
      complete = false;
    };
    for (const shard of this.shards) {
      for await (const id of idsIn(shard, region, bucketStartMs)) {
        if (after !== null && id <= after) continue;
        ids.push(id);
        if (ids.length >= RUN_IDS_MAX * 2) cut();
      }
    }
    cut();
    // A record that moved while the day was walked may have been met twice.
    ids = ids.filter((id, i) => id !== ids[i - 1]);
    const run: Run = { region, bucketStartMs, after, ids, complete, madeMs: this.clock.monotonicMs() };
    this.#run = run;
    return run;
  }
}

function firstBehind(ids: readonly TraceId[], after: TraceId | null): number {
  if (after === null) return 0;
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle]! <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function* idsIn(shard: RedisShard, region: RegionId, bucketStartMs: number): AsyncGenerator<TraceId> {
  const { first, last } = bucketRange(bucketStartMs);
  const read = await shard.read('index bucket', () => []);
  const number = read?.view.regionNumbers.get(region);
  if (!read || number === undefined) return;
  for (const day of [dayOf(msToUnixNano(bucketStartMs)), ODD_DAY]) {
    const bits = read.view.days.get(day);
    if (bits === undefined) continue;
    for await (const { bucket, field, value } of fieldsOf(shard, day, bits)) {
      const { traceId, regionNumber } = unplace(field, bucket, bits);
      if (regionNumber !== number) continue;
      const start =
        day === ODD_DAY ? unpackOddRow(traceId, region, value).startUnixNano : startOfDayRow(value, dayStartNano(day));
      if (start >= first && start <= last) yield traceId;
    }
  }
}

async function* fieldsOf(
  shard: RedisShard,
  day: Day,
  bits: number,
): AsyncGenerator<{ bucket: number; field: Buffer; value: Buffer }> {
  const count = 2 ** bits;
  for (let from = 0; from < count; from += BUCKETS_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(BUCKETS_AT_ONCE, count - from) }, (_, i) => from + i);
    const replies = await shard.link.roundTrip(
      'index bucket',
      numbers.map((bucket) => ['HGETALL', shard.keys.bucket(day, bucket)]),
    );
    for (const [i, reply] of replies.entries()) {
      for (const [field, value] of pairsOf(reply)) yield { bucket: numbers[i]!, field, value };
    }
  }
}
