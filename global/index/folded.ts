import { createHash } from 'node:crypto';
import type { RegionId } from '../model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../model/metadata.js';
import { maxNano, minNano, NANOS_PER_MS } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';
import type { FuseKeys } from './fuse-filter.js';
import { FOLD_AGAIN_SHARE, FOLDS_PER_DAY_MAX } from './index-limits.js';
import type { FoldedPart, TraceLocation } from './trace-index.js';

export const FOLD_DAY_MS = 86_400_000;
const DAY_NANO = BigInt(FOLD_DAY_MS) * NANOS_PER_MS;

/** Days since 1970 of a start. */
export function foldDayOf(startUnixNano: bigint): number {
  return Number(startUnixNano / DAY_NANO);
}

export function foldDayStart(day: number): bigint {
  return BigInt(day) * DAY_NANO;
}

/** Days before this one are over by the time. */
export function foldDaysBefore(beforeUnixNano: bigint): number {
  return foldDayOf(beforeUnixNano < 0n ? 0n : beforeUnixNano);
}

/** Start, end and flags of a record. */
export interface FoldTimes {
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  readonly flags: number;
}

/** No folded record ends later than this after its day; so a day's filters need not be kept for the sake of a few long traces. */
export const FOLDED_END_MS_MAX = FOLD_DAY_MS;

/**
 * What a record must be to be folded: it ended before the time and not long after its day, and its times can be believed. The others
 * stay exact.
 */
export function canFold({ startUnixNano, endUnixNano, flags }: FoldTimes, beforeUnixNano: bigint): boolean {
  const day = foldDayOf(startUnixNano);
  return (
    day < foldDaysBefore(beforeUnixNano) &&
    endUnixNano < beforeUnixNano &&
    endUnixNano < foldDayStart(day + 1) + BigInt(FOLDED_END_MS_MAX) * NANOS_PER_MS &&
    (flags & MetadataFlag.implausibleTime) === 0
  );
}

/** Whether a day that has so many exact records is to be folded (again). */
export function isWorthFolding(exact: number, folded: number, folds: number, recordsMin: number): boolean {
  return exact > 0 && exact >= recordsMin && folds < FOLDS_PER_DAY_MAX && exact >= folded * FOLD_AGAIN_SHARE;
}

/** Refuses a run while another goes on. */
export class OneAtATime {
  #running = false;

  constructor(private readonly attempted: string) {}

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running) throw new MeridianError('overloaded', `${this.attempted}: one is running already`, 'later');
    this.#running = true;
    try {
      return await work();
    } finally {
      this.#running = false;
    }
  }
}

/** Collects keys for one filter. */
export class KeyList implements FuseKeys {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  count = 0;

  constructor(readonly keysMax: number) {
    this.high = new Uint32Array(keysMax);
    this.low = new Uint32Array(keysMax);
  }

  get isFull(): boolean {
    return this.count >= this.keysMax;
  }

  /** Not to be called where it is full. */
  push({ high, low }: FoldKey): void {
    this.high[this.count] = high;
    this.low[this.count++] = low;
  }
}

/** The filter's key of a record: 64 bits of (trace, region), the same in every copy of the index. */
export interface FoldKey {
  readonly high: number;
  readonly low: number;
}

/** Makes keys; a region's share of the hash is made once. */
export class FoldKeys {
  readonly #salts = new Map<RegionId, readonly [number, number, number, number]>();

  /** The key of the trace whose 16 bytes these are. */
  of(id: Buffer, region: RegionId): FoldKey {
    const [s0, s1, s2, s3] = this.#salt(region);
    let a = id.readUInt32BE(0) ^ s0;
    let b = id.readUInt32BE(4) ^ s1;
    // Steps of a permutation of 64 bits, the other half of the id let in between.
    b ^= fold32(a, 0x9e3779b1);
    a ^= fold32(b, 0x85ebca77);
    a = (a + id.readUInt32BE(8)) ^ s2;
    b = (b + id.readUInt32BE(12)) ^ s3;
    b ^= fold32(a, 0xc2b2ae3d);
    a ^= fold32(b, 0x27d4eb2f);
    b ^= fold32(a, 0x165667b1);
    return { high: a >>> 0, low: b >>> 0 };
  }

  #salt(region: RegionId): readonly [number, number, number, number] {
    let salt = this.#salts.get(region);
    if (!salt) {
      const hash = createHash('sha256').update(`meridian fold 1 ${region}`).digest();
      salt = [hash.readUInt32BE(0), hash.readUInt32BE(4), hash.readUInt32BE(8), hash.readUInt32BE(12)];
      this.#salts.set(region, salt);
    }
    return salt;
  }
}

function fold32(value: number, factor: number): number {
  let h = Math.imul(value ^ (value >>> 16), factor);
  h = Math.imul(h ^ (h >>> 13), 0x7feb352d);
  return h ^ (h >>> 15);
}

/** Collects a location's folded parts: one per region, as wide as all of its days' together. */
export class FoldedParts {
  readonly #parts = new Map<RegionId, FoldedPart>();

  add(region: RegionId, startUnixNanoMin: bigint, endUnixNanoMax: bigint): void {
    const known = this.#parts.get(region);
    this.#parts.set(region, {
      region,
      startUnixNanoMin: known ? minNano(known.startUnixNanoMin, startUnixNanoMin) : startUnixNanoMin,
      endUnixNanoMax: known ? maxNano(known.endUnixNanoMax, endUnixNanoMax) : endUnixNanoMax,
    });
  }

  /** As a member of a location. */
  member(): Pick<TraceLocation, 'folded'> {
    if (this.#parts.size === 0) return {};
    return { folded: [...this.#parts.values()].sort((a, b) => (a.region < b.region ? -1 : 1)) };
  }
}

/** All that is known of when a trace was, as a proof of absence needs it. */
export interface KnownExtent {
  /** No known part began before, none ended after. */
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  readonly rootKnown: boolean;
}

/**
 * The extent of the known parts, `found` among them (what regions have answered, as records); null where no record says that there is such a trace at
 * all. Folded parts alone are no knowledge: a filter is wrong now and then, and a trace that began a second ago must not be taken for one of
 * last week, for then a region that has not told of it yet would be skipped. Beside a record they only widen the extent.
 */
export function knownExtent(location: TraceLocation, found: readonly TraceMetadata[] = []): KnownExtent | null {
  const known = [...location.records, ...found];
  if (known.length === 0) return null;
  const folded = location.folded ?? [];
  return {
    startUnixNano: [...known.map((r) => r.startUnixNano), ...folded.map((f) => f.startUnixNanoMin)].reduce(minNano),
    endUnixNano: [...known.map((r) => r.endUnixNano), ...folded.map((f) => f.endUnixNanoMax)].reduce(maxNano),
    rootKnown: known.some(({ root }) => root !== null),
  };
}
