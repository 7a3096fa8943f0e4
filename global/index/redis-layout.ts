import type { TraceId } from '../model/ids.js';
import { NANOS_PER_MS } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';

/**
 * What stands where in Redis. Version 2 (1 had no folded days). All keys of a shard share a hash tag, so that they are on one node of a cluster and one script may touch
 * them together; a single node has one shard. `{P}` is the prefix, `{s}` (braces included) the tag, days count from 1970.
 *
 *   {P}meta:{s}           hash: version, shards, generation, writes, `r{number}` -> region, `d{day}` -> bits of the day's bucket numbers, and
 *                         the counter of writes when the day was begun
 *   {P}m:{day}:{s}:{n}    hash, one listpack: rest of the id + region number -> packed value (redis-row.ts); n in hex
 *   {P}m:odd:{s}:{n}      the same for records that no retained day holds (ODD_DAY)
 *   {P}n:{day}:{s}        hash: number -> name, the dictionary of the day
 *   {P}d:{day}:{s}        hash: region number + hour -> digest sums (redis-digests.ts)
 *   {P}f:{day}:{s}:{fold}:{piece}  string: the filter (fuse-filter.ts) of one piece of a folded day; `f{day}:{fold}` in meta describes the fold
 *                         (redis-fold-layout.ts)
 *   {P}w:{s}              hash: watermarks (redis-marks.ts), {P}p:{s} hash: feed positions; the same in each shard, each with its own records
 *   {P}c:{s}              hash: catalogue, {P}t:{s} hash: catalogue entries ever added by region; shard 0 only
 *
 * The bucket of a trace is not a plain prefix of its id: ids need not be random in front (times, ids of 8 bytes). The last four
 * bytes are mixed with a hash of the first twelve, which can be undone, so buckets fill evenly and yet no bit of the id is stored twice.
 */
export const LAYOUT_VERSION = 2;
/** Its keys are this version's too; a writer marks it as that when it opens it. */
export const LAYOUT_VERSION_BEFORE = 1;

/** Of records that start outside the retained days, or whose day has too many names; they hold their names themselves. */
export const ODD_DAY = 'odd';
/** Days since 1970 as decimal text, or ODD_DAY. */
export type Day = string;
/** Buckets of ODD_DAY: few records are there. */
export const ODD_BITS = 8;

export const BUCKET_BITS_MIN = 4;
export const BUCKET_BITS_MAX = 24;
/** Mean fields of a bucket that `bucketBitsFor` stays below: a quarter of `hash-max-listpack-entries` 512. */
export const BUCKET_FILL_MAX = 128;

export const DAY_MS = 86_400_000;
const DAY_NANO = BigInt(DAY_MS) * NANOS_PER_MS;

/**
 * Bits of bucket numbers so that a day's records (one a trace and region) make at most BUCKET_FILL_MAX fields a bucket in the mean, in each
 * shard: between 64 and 128 where the expectation is right. Fewer fields cost memory (about 150 bytes a bucket), more cost a scan each.
 */
export function bucketBitsFor(recordsPerDay: number, shards: number): number {
  const bits = Math.ceil(Math.log2(Math.max(1, recordsPerDay / shards / BUCKET_FILL_MAX)));
  return Math.min(BUCKET_BITS_MAX, Math.max(BUCKET_BITS_MIN, bits));
}

export function dayOf(unixNano: bigint): Day {
  return String(unixNano / DAY_NANO);
}

export function dayStartNano(day: Day): bigint {
  return BigInt(day) * DAY_NANO;
}

export interface Keys {
  readonly meta: string;
  readonly watermarks: string;
  readonly positions: string;
  readonly catalogue: string;
  readonly catalogueTotals: string;
  /** All keys of the shard, as SCAN's MATCH. */
  readonly pattern: string;
  names(day: Day): string;
  digests(day: Day): string;
  bucket(day: Day, number: number): string;
  filter(day: Day, fold: number, piece: number): string;
}

export function keysOf(prefix: string, shard: number): Keys {
  const tag = `{${shard}}`;
  return {
    meta: `${prefix}meta:${tag}`,
    watermarks: `${prefix}w:${tag}`,
    positions: `${prefix}p:${tag}`,
    catalogue: `${prefix}c:${tag}`,
    catalogueTotals: `${prefix}t:${tag}`,
    pattern: `${prefix.replace(/[*?[\]\\^]/g, '\\$&')}*${tag}*`,
    names: (day) => `${prefix}n:${day}:${tag}`,
    digests: (day) => `${prefix}d:${day}:${tag}`,
    bucket: (day, number) => `${prefix}m:${day}:${tag}:${number.toString(16)}`,
    filter: (day, fold, piece) => `${prefix}f:${day}:${tag}:${fold}:${piece.toString(16)}`,
  };
}

/** Bytes of an id in front of those that are mixed. */
const KEPT_BYTES = 12;

/** An id as buckets see it. */
export interface PlacedId {
  /** The first twelve bytes. */
  readonly kept: Buffer;
  /** The last four, mixed: the bucket's number is its upper bits, the shard its lower. */
  readonly mixed: number;
}

export function placeId(traceId: TraceId): PlacedId {
  const id = Buffer.from(traceId, 'hex');
  return { kept: id.subarray(0, KEPT_BYTES), mixed: spread(id.readUInt32BE(KEPT_BYTES) ^ mixOf(id)) };
}

/** Shards are a power of two. */
export function shardOf({ mixed }: PlacedId, shards: number): number {
  return mixed & (shards - 1);
}

export function bucketNumber({ mixed }: PlacedId, bits: number): number {
  return mixed >>> (32 - bits);
}

/** Bytes of a field: the kept bytes, what the bucket's number leaves of the mixed ones, the region. */
export function fieldBytes(bits: number): number {
  return KEPT_BYTES + restBytes(bits) + 1;
}

function restBytes(bits: number): number {
  return Math.ceil((32 - bits) / 8);
}

export function fieldOf({ kept, mixed }: PlacedId, regionNumber: number, bits: number): Buffer {
  const field = Buffer.allocUnsafe(fieldBytes(bits));
  kept.copy(field);
  field.writeUIntBE(mixed & restMask(bits), KEPT_BYTES, restBytes(bits));
  field[field.length - 1] = regionNumber;
  return field;
}

function restMask(bits: number): number {
  return 2 ** (32 - bits) - 1;
}

/** The id and region number of a field in the bucket. Throws `malformed`. */
export function unplace(field: Buffer, bucket: number, bits: number): { traceId: TraceId; regionNumber: number } {
  const { id, regionNumber } = unplaceBytes(field, bucket, bits);
  return { traceId: id.toString('hex') as TraceId, regionNumber };
}

/** As `unplace`, the id as bytes and as buckets see it. */
export function unplaceBytes(
  field: Buffer,
  bucket: number,
  bits: number,
): { id: Buffer; mixed: number; regionNumber: number } {
  if (field.length !== fieldBytes(bits)) {
    throw new MeridianError('malformed', `index: a field of ${field.length} bytes, not ${fieldBytes(bits)}`, 'never');
  }
  const id = Buffer.alloc(16);
  field.copy(id, 0, 0, KEPT_BYTES);
  const mixed = ((bucket << (32 - bits)) | field.readUIntBE(KEPT_BYTES, restBytes(bits))) >>> 0;
  id.writeUInt32BE((unspread(mixed) ^ mixOf(id)) >>> 0, KEPT_BYTES);
  return { id, mixed, regionNumber: field[field.length - 1]! };
}

/** 32 bits of the first twelve bytes, mixed as murmur3 does (x86_32, by Austin Appleby, public domain). */
function mixOf(id: Buffer): number {
  let h = 0x6d657269;
  for (let at = 0; at < KEPT_BYTES; at += 4) {
    let k = Math.imul(id.readUInt32LE(at), 0xcc9e2d51);
    k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h ^= k;
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  return h;
}

/** Its last step: each bit moves all others, and it can be undone. */
function spread(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The factors are the inverses modulo 2^32. */
function unspread(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x7ed1b41d);
  h = Math.imul(h ^ (h >>> 13) ^ (h >>> 26), 0xa5cb9243);
  return (h ^ (h >>> 16)) >>> 0;
}
