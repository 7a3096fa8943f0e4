import type { RegionId } from '../model/ids.js';
import { maxNano } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';
import { DigestChanges } from './digest.js';
import {
  canFold,
  FOLDED_END_MS_MAX,
  type FoldKey,
  FoldKeys,
  foldDaysBefore,
  isWorthFolding,
  KeyList,
} from './folded.js';
import { buildFuseFilter, FuseFilter } from './fuse-filter.js';
import { SLACK_MS } from './redis-apply.js';
import { digestSteps, digestSums } from './redis-digests.js';
import {
  bucketsOfPiece,
  type FoldView,
  foldField,
  foldFieldName,
  overlappingPieces,
  pieceOf,
  planFold,
} from './redis-fold-layout.js';
import { DAY_MS, type Day, dayStartNano, ODD_DAY, unplaceBytes } from './redis-layout.js';
import type { RedisCommand } from './redis-link.js';
import { changing, dropEmptyDay } from './redis-retention.js';
import { timesOfDayRow } from './redis-row.js';
import type { RedisShard } from './redis-shard.js';
import { pairsOf, type ShardView } from './redis-view.js';

const ATTEMPTED = 'index fold';
/** Buckets read, and buckets emptied by one script, at a time. */
const BUCKETS_READ_AT_ONCE = 64;
const BUCKETS_EMPTIED_AT_ONCE = 16;
/** A filter with fewer keys than this share of what its shape takes is not worth it; the records stay. */
const PIECE_FILL_MIN = 1 / 4;

/** Folds the days that are due, oldest first. Gives the number of records that went. */
export async function foldShards(
  shards: readonly RedisShard[],
  beforeUnixNano: bigint,
  recordsMin: number,
  retentionMs: number,
): Promise<number> {
  let removed = 0;
  for (const day of await daysDue(shards, foldDaysBefore(beforeUnixNano), recordsMin)) {
    for (const shard of shards) removed += await new DayFold(shard, day, beforeUnixNano, retentionMs).run();
  }
  return removed;
}

/** What a day has, in all shards; `folds`: the most that a shard has. */
interface DayTotals {
  exact: number;
  folded: number;
  folds: number;
  isOpen: boolean;
}

async function daysDue(shards: readonly RedisShard[], daysBefore: number, recordsMin: number): Promise<Day[]> {
  const totals = new Map<Day, DayTotals>();
  const totalsOf = (day: Day) => {
    const known = totals.get(day) ?? { exact: 0, folded: 0, folds: 0, isOpen: false };
    totals.set(day, known);
    return known;
  };
  for (const shard of shards) {
    const read = await shard.read(ATTEMPTED, (view) => [...view.days.keys()].map((day) => digestsOf(shard, day)));
    for (const [i, day] of [...(read?.view.days.keys() ?? [])].entries()) {
      if (day !== ODD_DAY && Number(day) < daysBefore) totalsOf(day).exact += exactRecords(read!.replies[i]);
    }
    for (const { day, records, next, pieces } of read?.view.folds ?? []) {
      const total = totalsOf(day);
      total.folded += records;
      total.folds = Math.max(total.folds, read!.view.folds.filter((fold) => fold.day === day).length);
      total.isOpen ||= next < pieces;
    }
  }
  return [...totals]
    .filter(([, { exact, folded, folds, isOpen }]) => isOpen || isWorthFolding(exact, folded, folds, recordsMin))
    .map(([day]) => day)
    .sort((a, b) => Number(a) - Number(b));
}

function digestsOf(shard: RedisShard, day: Day): RedisCommand {
  return ['HGETALL', shard.keys.digests(day)];
}

function exactRecords(digests: unknown): number {
  return digestSums(digests).reduce((sum, { count }) => sum + count, 0);
}

/** A record that may be folded, and where it stands. */
interface Candidate {
  readonly region: RegionId;
  readonly key: FoldKey;
  readonly mixed: number;
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  readonly field: Buffer;
}

/** A filter of the day's: piece `piece` of `pieces` of a fold. */
interface Earlier {
  readonly number: number;
  readonly pieces: number;
  readonly piece: number;
  readonly filter: FuseFilter;
}

/**
 * One fold of one day. Piece by piece: gather the keys, write the filter, then remove what the filter has, some buckets at a time. Each write is made onto
 * the state that was read for it. A filter is never written twice: whatever was removed for its sake, it has. So wherever this is cut off, records stand
 * in the filter, or exactly, or in both; the next call goes on with the piece.
 */
class DayFold {
  readonly #keys = new FoldKeys();
  readonly #dayStart: bigint;
  #number = 0;
  #generation = '';
  #removed = 0;

  constructor(
    private readonly shard: RedisShard,
    private readonly day: Day,
    private readonly beforeUnixNano: bigint,
    private readonly retentionMs: number,
  ) {
    this.#dayStart = dayStartNano(day);
  }

  async run(): Promise<number> {
    const fold = await this.#begin();
    if (!fold) return 0;
    for (let piece = fold.next; piece < fold.pieces; piece++) {
      await this.#foldPiece(fold, piece);
      await this.#advance(piece + 1);
    }
    await this.#end();
    return this.#removed;
  }

  /** Goes on with the day's fold that is not done, or begins one; null where the shard has nothing of the day. */
  #begin(): Promise<FoldView | null> {
    return this.#change(
      async (view, [digests], steps) => {
        this.#generation = view.generation;
        const folds = view.folds.filter(({ day }) => day === this.day);
        const open = folds.find(({ next, pieces }) => next < pieces);
        this.#number = open?.number ?? 1 + Math.max(-1, ...folds.map(({ number }) => number));
        if (open) return open;
        const exact = exactRecords(digests);
        if (exact === 0) return null;
        const plan = planFold(exact);
        const fold = { day: this.day, number: this.#number, ...plan, next: 0, records: 0, endUnixNanoMax: 0n };
        steps.set(this.shard.keys.meta, 0, foldField(fold));
        return fold;
      },
      [digestsOf(this.shard, this.day)],
    );
  }

  async #foldPiece(fold: FoldView, piece: number): Promise<void> {
    const earlier = await this.#earlierFilters(fold, piece);
    if (!earlier.some(({ number }) => number === fold.number)) {
      const { keys, endUnixNanoMax } = await this.#gather(fold, piece, earlier);
      const filter =
        keys.count >= Math.max(1, fold.keysMax * PIECE_FILL_MIN) ? buildFuseFilter(keys, fold.shape) : null;
      if (filter) {
        const stored = await this.#store(piece, filter, keys.count, endUnixNanoMax);
        earlier.push({ number: fold.number, pieces: fold.pieces, piece, filter: new FuseFilter(stored) });
      }
    }
    if (earlier.length > 0) await this.#empty(fold, piece, earlier);
  }

  /** The filters of the day that ids of the piece may be in; this piece's own, where an earlier call wrote it. */
  async #earlierFilters(fold: FoldView, piece: number): Promise<Earlier[]> {
    const read = await this.shard.read(ATTEMPTED, () => []);
    const wanted = (read?.view.folds ?? [])
      .filter(({ day }) => day === this.day)
      .flatMap(({ number, pieces }) =>
        (number === fold.number ? [piece] : overlappingPieces(piece, fold.pieces, pieces)).map((other) => ({
          number,
          pieces,
          piece: other,
        })),
      );
    const replies = await this.shard.link.roundTrip(
      ATTEMPTED,
      wanted.map((place) => ['GET', this.shard.keys.filter(this.day, place.number, place.piece)]),
    );
    return wanted.flatMap((place, i) =>
      Buffer.isBuffer(replies[i]) ? [{ ...place, filter: new FuseFilter(replies[i]) }] : [],
    );
  }

  /** The keys of the piece's records that no filter has yet. Beyond what the shape takes they are left. */
  async #gather(
    fold: FoldView,
    piece: number,
    earlier: readonly Earlier[],
  ): Promise<{ keys: KeyList; endUnixNanoMax: bigint }> {
    const keys = new KeyList(fold.keysMax);
    let endUnixNanoMax = 0n;
    const { view } = await this.#read();
    const bits = view.days.get(this.day);
    if (bits === undefined) return { keys, endUnixNanoMax };
    for (const numbers of chunksOf(bucketsOfPiece(piece, fold.pieces, bits), BUCKETS_READ_AT_ONCE)) {
      const replies = await this.shard.link.roundTrip(
        ATTEMPTED,
        numbers.map((bucket) => ['HGETALL', this.shard.keys.bucket(this.day, bucket)]),
      );
      for (const [i, reply] of replies.entries()) {
        for (const record of this.#candidates(view, fold, piece, numbers[i]!, bits, reply)) {
          if (keys.isFull || foldThatHas(earlier, record) !== null) continue;
          keys.push(record.key);
          endUnixNanoMax = maxNano(endUnixNanoMax, record.endUnixNano);
        }
      }
    }
    return { keys, endUnixNanoMax };
  }

  #candidates(
    view: ShardView,
    fold: FoldView,
    piece: number,
    bucket: number,
    bits: number,
    reply: unknown,
  ): Candidate[] {
    const found: Candidate[] = [];
    for (const [field, value] of pairsOf(reply)) {
      const { id, mixed, regionNumber } = unplaceBytes(field, bucket, bits);
      if (pieceOf(mixed, fold.pieces) !== piece) continue;
      const times = timesOfDayRow(value, this.#dayStart);
      const region = view.regionNames.get(regionNumber);
      if (region === undefined || !canFold(times, this.beforeUnixNano)) continue;
      const { startUnixNano, endUnixNano } = times;
      found.push({ region, key: this.#keys.of(id, region), mixed, startUnixNano, endUnixNano, field });
    }
    return found;
  }

  /** Writes the filter and its bound, unless another process did: gives the one that is there. */
  async #store(piece: number, filter: Buffer, records: number, endUnixNano: bigint): Promise<Buffer> {
    const key = this.shard.keys.filter(this.day, this.#number, piece);
    const isThere = await this.#change(
      async (view, [exists], steps) => {
        if (Number(exists) > 0) return true;
        const fold = this.#own(view);
        steps.put(key, this.#expireAtS(), filter);
        const endUnixNanoMax = maxNano(fold.endUnixNanoMax, endUnixNano);
        steps.set(this.shard.keys.meta, 0, foldField({ ...fold, records: fold.records + records, endUnixNanoMax }));
        return false;
      },
      [['EXISTS', key]],
    );
    if (!isThere) return filter;
    const [stored] = await this.shard.link.roundTrip(ATTEMPTED, [['GET', key]]);
    if (!Buffer.isBuffer(stored)) throw this.#lost(`the filter ${key}`);
    return stored;
  }

  /** Filters outlive all that was folded by as much as buckets do. */
  #expireAtS(): number {
    const endMs = (Number(this.day) + 1) * DAY_MS + FOLDED_END_MS_MAX;
    return Math.ceil((endMs + this.retentionMs + SLACK_MS) / 1000);
  }

  /** Removes the records that the filters have. */
  async #empty(fold: FoldView, piece: number, filters: readonly Earlier[]): Promise<void> {
    const bits = (await this.#read()).view.days.get(this.day);
    if (bits === undefined) return;
    for (const numbers of chunksOf(bucketsOfPiece(piece, fold.pieces, bits), BUCKETS_EMPTIED_AT_ONCE)) {
      this.#removed += await this.#change(
        async (view, replies, steps) => {
          // It was emptied and begun anew since: the next fold will see it.
          if (view.days.get(this.day) !== bits) return 0;
          const ends = new Map<number, bigint>();
          const digests = new DigestChanges();
          let removed = 0;
          for (const [i, reply] of replies.entries()) {
            const fields: Buffer[] = [];
            for (const record of this.#candidates(view, fold, piece, numbers[i]!, bits, reply)) {
              const number = foldThatHas(filters, record);
              if (number === null) continue;
              fields.push(record.field);
              digests.uncount(record.region, record.startUnixNano);
              ends.set(number, maxNano(ends.get(number) ?? 0n, record.endUnixNano));
            }
            if (fields.length === 0) continue;
            removed += fields.length;
            const key = this.shard.keys.bucket(this.day, numbers[i]!);
            if (fields.length * 2 === (reply as unknown[]).length) steps.unlink(key);
            else steps.remove(key, fields);
          }
          if (removed === 0) return 0;
          for (const [number, end] of ends) {
            const known = view.folds.find((row) => row.day === this.day && row.number === number);
            // Dropped, as all in it had expired: then so have these.
            if (known && end > known.endUnixNanoMax) {
              steps.set(this.shard.keys.meta, 0, foldField({ ...known, endUnixNanoMax: end }));
            }
          }
          const numberOf = (region: string) => view.regionNumbers.get(region as RegionId)!;
          steps.addToDigests(this.shard.keys.digests(this.day), 0, digestSteps(digests, numberOf));
          return removed;
        },
        numbers.map((bucket) => ['HGETALL', this.shard.keys.bucket(this.day, bucket)]),
      );
    }
  }

  #advance(next: number): Promise<void> {
    return this.#change(async (view, _replies, steps) => {
      steps.set(this.shard.keys.meta, 0, foldField({ ...this.#own(view), next }));
    }, []);
  }

  /** A fold that has nothing is none. A day that has no record left is none either, but for its folds. */
  async #end(): Promise<void> {
    await this.#change(async (view, _replies, steps) => {
      if (this.#own(view).records === 0) {
        steps.remove(this.shard.keys.meta, [foldFieldName(this.day, this.#number)]);
      }
    }, []);
    await this.shard.exclusive(() => dropEmptyDay(this.shard, this.day));
  }

  #own(view: ShardView): FoldView {
    const own = view.folds.find(({ day, number }) => day === this.day && number === this.#number);
    if (!own) throw this.#lost(`fold ${this.#number} of day ${this.day}`);
    return own;
  }

  async #read() {
    const read = await this.shard.read(ATTEMPTED, () => []);
    if (read?.view.generation !== this.#generation) throw this.#lost('the index that was being folded');
    return read;
  }

  /** In turn with `apply`. */
  #change<T>(
    change: Parameters<typeof changing<T>>[2],
    probes: ReturnType<Parameters<typeof changing<T>>[3]>,
  ): Promise<T> {
    return this.shard.exclusive(() =>
      changing(
        this.shard,
        ATTEMPTED,
        async (view, replies, steps) => {
          if (this.#generation !== '' && view.generation !== this.#generation) {
            throw this.#lost('the index that was being folded');
          }
          return change(view, replies, steps);
        },
        () => probes,
      ),
    );
  }

  #lost(what: string): MeridianError {
    return new MeridianError('unavailable', `${ATTEMPTED}: ${what} is gone from Redis`, 'later');
  }
}

/** Only the filter that a reader would ask counts: that of the id's piece. */
function foldThatHas(filters: readonly Earlier[], { key, mixed }: Candidate): number | null {
  const has = ({ pieces, piece, filter }: Earlier) =>
    pieceOf(mixed, pieces) === piece && filter.mayHave(key.high, key.low);
  return filters.find(has)?.number ?? null;
}

function* chunksOf({ first, last }: { first: number; last: number }, atOnce: number): Generator<number[]> {
  for (let from = first; from <= last; from += atOnce) {
    yield Array.from({ length: Math.min(atOnce, last - from + 1) }, (_, i) => from + i);
  }
}
