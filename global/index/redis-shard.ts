import type { RegionId, TraceId } from '../model/ids.js';
import type { TraceMetadata } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { FoldProbes } from './redis-fold-reads.js';
import {
  bucketNumber,
  type Day,
  dayStartNano,
  fieldOf,
  type Keys,
  keysOf,
  ODD_DAY,
  type PlacedId,
  placeId,
} from './redis-layout.js';
import type { RedisCommand, RedisLink } from './redis-link.js';
import { type DayNames, NameMemory } from './redis-names.js';
import { unpackDayRow, unpackOddRow } from './redis-row.js';
import { outcomeOf, type WriteOutcome, type WriteSteps } from './redis-script.js';
import { parseView, type ShardView, samePlaces, valuesOf } from './redis-view.js';

/** How often a read starts again because days or regions were added meanwhile. */
const READ_ATTEMPTS_MAX = 10;

/** A packed record and where it stands. */
export interface FoundRow {
  readonly traceId: TraceId;
  readonly region: RegionId;
  readonly day: Day;
  readonly value: Buffer;
}

export interface ShardRead {
  readonly view: ShardView;
  readonly replies: readonly unknown[];
}

/** One shard of the index: its keys, its state as last seen, its names. Writers within this process take turns. */
export class RedisShard {
  readonly keys: Keys;
  readonly names = new NameMemory();
  readonly filters = new FoldProbes(this);
  #view: ShardView | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  /** The counter after this process' last write, and how often another's came in between. */
  #ownWrites = -1;
  #epoch = 0;

  constructor(
    readonly link: RedisLink,
    prefix: string,
    number: number,
    private readonly shards: number,
  ) {
    this.keys = keysOf(prefix, number);
  }

  /**
   * The replies to the commands that `probes` makes of the shard's state, all of one moment with that state; null where there is no index. One
   * round trip, but for the first and those after a new day or region came up.
   */
  async read(attempted: string, probes: (view: ShardView) => readonly RedisCommand[]): Promise<ShardRead | null> {
    for (let attempt = 0; attempt < READ_ATTEMPTS_MAX; attempt++) {
      const before = this.#view;
      const commands = before ? probes(before) : [];
      const [meta, ...replies] = await this.link.transaction(attempted, [['HGETALL', this.keys.meta], ...commands]);
      const view = parseView(meta);
      this.#view = view;
      if (!view) return null;
      if (view.shards !== this.shards) {
        const message = `${attempted}: the index in Redis has ${view.shards} shards, ${this.shards} are configured`;
        throw new MeridianError('configuration', message, 'never');
      }
      if (before && samePlaces(before, view)) return { view, replies };
    }
    throw new MeridianError(
      'unavailable',
      `${attempted}: days and regions changed ${READ_ATTEMPTS_MAX} times`,
      'later',
    );
  }

  /** Does the steps if nothing was written since the view. Where it rejects they may have been done or not. */
  async write(attempted: string, view: ShardView, steps: WriteSteps): Promise<WriteOutcome> {
    try {
      const command = steps.command(this.keys.meta, view.generation, view.writes);
      const [reply] = await this.link.roundTrip(attempted, [command]);
      const outcome = outcomeOf(reply);
      if (typeof outcome === 'object' && view.writes === this.#ownWrites) this.#ownWrites = outcome.writes;
      return outcome;
    } catch (error) {
      this.names.forget();
      throw error;
    }
  }

  /** All names of the day as of the view or later: what a writer needs to give numbers. A round trip only where another process wrote. */
  async currentNames(attempted: string, view: ShardView, day: Day): Promise<DayNames> {
    if (view.writes !== this.#ownWrites) {
      this.#epoch++;
      this.#ownWrites = view.writes;
    }
    const known = this.names.of(view, day);
    if (known.currentEpoch === this.#epoch) return known;
    const names = await this.#learnNames(attempted, view, day);
    names.currentEpoch = this.#epoch;
    return names;
  }

  /** Runs when those before it have ended. */
  exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(run);
    this.#turn = result.catch(() => {});
    return result;
  }

  bucketKey(day: Day, bits: number, placed: PlacedId): string {
    return this.keys.bucket(day, bucketNumber(placed, bits));
  }

  /** One command per day for the records of a trace, newest day first; `rowsFound` reads the replies. */
  probesOf(view: ShardView, traceId: TraceId, regionNumbers: readonly number[]): RedisCommand[] {
    if (regionNumbers.length === 0) return [];
    const placed = placeId(traceId);
    return [...view.days].map(([day, bits]) => [
      'HMGET',
      this.bucketKey(day, bits, placed),
      ...regionNumbers.map((number) => fieldOf(placed, number, bits)),
    ]);
  }

  /** The rows in the replies to `probesOf`. */
  rowsFound(
    view: ShardView,
    traceId: TraceId,
    regionNumbers: readonly number[],
    replies: readonly unknown[],
  ): FoundRow[] {
    if (regionNumbers.length === 0) return [];
    const found: FoundRow[] = [];
    [...view.days.keys()].forEach((day, i) => {
      valuesOf(replies[i]).forEach((value, r) => {
        if (value) found.push({ traceId, region: view.regionNames.get(regionNumbers[r]!)!, day, value });
      });
    });
    return found;
  }

  /**
   * Unpacks. Names that are not known yet are fetched (a round trip for all of a day's): once for each name and process. Throws `unavailable` where the
   * dictionary is gone because the index was flushed in between.
   */
  async unpack(attempted: string, view: ShardView, rows: readonly FoundRow[]): Promise<TraceMetadata[]> {
    this.names.trim();
    for (;;) {
      const missing = new Map<Day, number>();
      const unpacked: TraceMetadata[] = [];
      for (const { traceId, region, day, value } of rows) {
        if (day === ODD_DAY) {
          unpacked.push(unpackOddRow(traceId, region, value));
          continue;
        }
        const names = this.names.of(view, day);
        let unknown = -1;
        const textOf = (number: number): string | undefined => {
          const text = names.text(number);
          if (text === undefined) unknown = number;
          return text;
        };
        try {
          unpacked.push(unpackDayRow(traceId, region, value, dayStartNano(day), textOf));
        } catch (error) {
          if (unknown < 0) throw error;
          missing.set(day, Math.max(unknown, missing.get(day) ?? 0));
        }
      }
      if (missing.size === 0) return unpacked;
      for (const [day, number] of missing) await this.#fetchNames(attempted, view, day, number);
    }
  }

  /** Learns all names of the day up to the number at least. */
  async #fetchNames(attempted: string, view: ShardView, day: Day, upTo: number): Promise<void> {
    const names = await this.#learnNames(attempted, view, day);
    if (names.size <= upTo) throw this.#lost(attempted, `name ${upTo} of day ${day}`);
  }

  /** Learns the names of the day that were added since it was last asked. */
  async #learnNames(attempted: string, view: ShardView, day: Day): Promise<DayNames> {
    const key = this.keys.names(day);
    const names = this.names.of(view, day);
    for (;;) {
      const from = names.size;
      const numbers = Array.from({ length: NAMES_AT_ONCE }, (_, i) => from + i);
      const [generation, size, reply] = await this.link.transaction(attempted, [
        ['HGET', this.keys.meta, 'generation'],
        ['HLEN', key],
        ['HMGET', key, ...numbers],
      ]);
      if (String(generation) !== view.generation) throw this.#lost(attempted, `generation ${view.generation}`);
      for (const [i, text] of valuesOf(reply).entries()) {
        if (text !== null && names.size === from + i) names.push(text.toString());
      }
      if (names.size >= Number(size)) return names;
      if (names.size === from) throw this.#lost(attempted, `name ${from} of day ${day}`);
    }
  }

  #lost(attempted: string, what: string): MeridianError {
    return new MeridianError('unavailable', `${attempted}: ${what} is gone from Redis at ${this.link.where}`, 'later');
  }
}

/** Names that one round trip asks for. */
const NAMES_AT_ONCE = 1_000;
