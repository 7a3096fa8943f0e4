import type { RegionId } from '../model/ids.js';
import type { CatalogueEntry } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { pairsOf } from './redis-view.js';
import type { FeedPosition, VouchedWatermark } from './trace-index.js';
import { Watermarks } from './watermarks.js';

/*
 * Watermarks in Redis: the fields `w {region} {partition}` -> nanoseconds, padded; what it vouches for (a digit 1 and 2^64 - 1 less the start,
 * padded, so that vouching for more sorts behind; a digit 0 and zeros for nothing); partition count. And `p {region} {partition count}` -> empty
 * for each count that a region ever had. Positions: JSON of [topic, partition] -> next offset, vouched from. The catalogue: JSON of [region, service, operation, kind] -> last seen, padded.
 */

/** Decimal digits of any 64-bit count, so that values compare as text. */
export function padded(value: number | bigint): string {
  return String(typeof value === 'number' ? Math.max(0, Math.trunc(value)) : value).padStart(20, '0');
}

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const NOTHING_VOUCHED = `0${padded(0)}`;

export function watermarkFields(watermark: VouchedWatermark): string[] {
  const { region, partition, partitionCount, watermarkUnixNano, vouchedFromUnixNano: from } = watermark;
  const vouched = from === undefined ? NOTHING_VOUCHED : `1${padded(U64_MAX - from)}`;
  const value = `${padded(watermarkUnixNano)} ${vouched} ${partitionCount}`;
  return [`w ${region} ${partition}`, value, `p ${region} ${partitionCount}`, ''];
}

export function positionFields({ topic, partition, nextOffset, vouchedFromUnixNano }: FeedPosition): string[] {
  return [positionField(topic, partition), `${nextOffset} ${vouchedFromUnixNano}`];
}

export function positionField(topic: string, partition: number): string {
  return JSON.stringify([topic, partition]);
}

/** The position in a field's value; null where the field is not there. */
export function parsePosition(topic: string, partition: number, value: unknown): FeedPosition | null {
  if (!Buffer.isBuffer(value)) return null;
  const [next, vouched] = value.toString().split(' ') as [string, string];
  return { topic, partition, nextOffset: Number(next), vouchedFromUnixNano: BigInt(vouched) };
}

/** The watermarks of an HGETALL. */
export function parseWatermarks(reply: unknown): Watermarks {
  const watermarks = new Watermarks();
  for (const [field, value] of pairsOf(reply)) {
    const [kind, region, number] = field.toString().split(' ') as [string, RegionId, string];
    if (kind === 'p') {
      watermarks.knowCount(region, Number(number));
      continue;
    }
    const [nano, vouched, count] = value.toString().split(' ') as [string, string, string];
    watermarks.raise({
      region,
      partition: Number(number),
      partitionCount: Number(count),
      watermarkUnixNano: BigInt(nano),
      ...(vouched.startsWith('1') ? { vouchedFromUnixNano: U64_MAX - BigInt(vouched.slice(1)) } : {}),
    });
  }
  return watermarks;
}

export function catalogueField({ region, service, operation, kind }: CatalogueEntry & { region: RegionId }): string {
  return JSON.stringify([region, service, operation, kind]);
}

/** The entry of a field and its value. Throws `malformed`. */
export function parseCatalogueEntry(field: Buffer, value: Buffer): CatalogueEntry & { readonly region: RegionId } {
  const parts: unknown = JSON.parse(field.toString());
  if (!Array.isArray(parts) || parts.length !== 4) {
    throw new MeridianError('malformed', `index catalogue: entry ${field.toString()}`, 'never');
  }
  const [region, service, operation, kind] = parts as [RegionId, string, string, number];
  return { region, service, operation, kind, lastSeenMs: Number(value.toString()) };
}
