import type { RegionId } from '../model/ids.js';
import { MeridianError } from '../runtime/errors.js';
import { type FoldView, parseFold, sameFolds } from './redis-fold-layout.js';
import { type Day, LAYOUT_VERSION, LAYOUT_VERSION_BEFORE, ODD_DAY } from './redis-layout.js';

/** A shard's state (the hash `meta`) as it was at one moment. */
export interface ShardView {
  /** Made anew whenever the index is made or cleared: it tells a flushed Redis from one that still holds what was applied. */
  readonly generation: string;
  /** Grows by one with each write. */
  readonly writes: number;
  readonly shards: number;
  readonly regionNames: ReadonlyMap<number, RegionId>;
  readonly regionNumbers: ReadonlyMap<RegionId, number>;
  /** Bits of bucket numbers by day, newest day first, ODD_DAY last. */
  readonly days: ReadonlyMap<Day, number>;
  /** The counter of writes when the day was begun: a day that was dropped and begun anew has another dictionary. */
  readonly begun: ReadonlyMap<Day, number>;
  /** Newest day first, then by number. */
  readonly folds: readonly FoldView[];
}

/** The fields and values of an HGETALL. */
export function pairsOf(reply: unknown): [Buffer, Buffer][] {
  if (!Array.isArray(reply)) throw new MeridianError('malformed', 'index: Redis replied no list of fields', 'never');
  const pairs: [Buffer, Buffer][] = [];
  for (let i = 0; i + 1 < reply.length; i += 2) pairs.push([reply[i] as Buffer, reply[i + 1] as Buffer]);
  return pairs;
}

/** The values of an HMGET; null where a field is not there. */
export function valuesOf(reply: unknown): readonly (Buffer | null)[] {
  if (!Array.isArray(reply)) throw new MeridianError('malformed', 'index: Redis replied no list of values', 'never');
  return reply as (Buffer | null)[];
}

/** The state; null where there is none: the index was never made, or lost. Throws `unknown-version`. */
export function parseView(reply: unknown): ShardView | null {
  const fields = pairsOf(reply);
  if (fields.length === 0) return null;
  const single = new Map<string, string>();
  const regionNames = new Map<number, RegionId>();
  const days: [Day, number][] = [];
  const begun = new Map<Day, number>();
  const folds: FoldView[] = [];
  for (const [fieldBytes, valueBytes] of fields) {
    const field = fieldBytes.toString();
    const value = valueBytes.toString();
    const region = /^r(\d+)$/.exec(field);
    const day = /^d(\d+|odd)$/.exec(field);
    if (region) regionNames.set(Number(region[1]), value as RegionId);
    else if (day) {
      const [bits, writes] = value.split(' ').map(Number) as [number, number];
      days.push([day[1]!, bits]);
      begun.set(day[1]!, writes);
    } else if (/^f\d/.test(field)) folds.push(parseFold(field, value));
    else single.set(field, value);
  }
  const version = Number(single.get('version'));
  if (version !== LAYOUT_VERSION && version !== LAYOUT_VERSION_BEFORE) {
    throw new MeridianError(
      'unknown-version',
      `index in Redis: layout version ${single.get('version')}, this build knows ${LAYOUT_VERSION}; remove its keys to have it rebuilt from the log`,
      'never',
    );
  }
  const age = (day: Day) => (day === ODD_DAY ? -1 : Number(day));
  // Redis gives fields in an order that may change; what is read of one state and asked of the next needs one that does not.
  const regions = [...regionNames].sort(([a], [b]) => a - b);
  folds.sort((a, b) => Number(b.day) - Number(a.day) || a.number - b.number);
  days.sort(([a], [b]) => age(b) - age(a));
  return {
    generation: single.get('generation') ?? '',
    writes: Number(single.get('writes')),
    shards: Number(single.get('shards')),
    regionNames: new Map(regions),
    regionNumbers: new Map(regions.map(([number, name]) => [name, number])),
    days: new Map(days),
    begun,
    folds,
  };
}

/** Whether the same fields of the same buckets would be probed. */
export function samePlaces(a: ShardView, b: ShardView): boolean {
  return (
    a.generation === b.generation &&
    a.regionNames.size === b.regionNames.size &&
    a.days.size === b.days.size &&
    sameFolds(a.folds, b.folds) &&
    [...a.days].every(([day, bits]) => b.days.get(day) === bits && a.begun.get(day) === b.begun.get(day))
  );
}
