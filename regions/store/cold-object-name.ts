import { createHash } from 'node:crypto';
import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import { msToUnixNano, unixNanoToMs } from '../../global/model/time.js';

export const HOUR_MS = 3_600_000;
export const HOUR_NANOS = msToUnixNano(HOUR_MS);
/** What all names of cold objects begin with. */
export const COLD_ROOT = 'cold/';

/**
 * Name of a cold object: `cold/{source}/{day}/{hour}-{content}-{blocks}.cold`, e.g. `cold/us-east-1/2026-01-31/07-0123456789abcdef01234567-512.cold`. All its
 * blocks have their newest time (`BlockEntry.newestUnixNano`) in that hour (UTC). `content` is told by the blocks alone: the same blocks make the same name, others
 * another one, so that nothing is ever overwritten by something else, also where two packers are at work.
 */
export interface ColdObjectName {
  readonly source: RegionId;
  /** Start of the hour, Unix ms. */
  readonly hourMs: number;
  /** 24 hex digits. */
  readonly content: string;
  readonly blocks: number;
}

const NAME = /^cold\/([a-z0-9-]+)\/(\d{4}-\d{2}-\d{2})\/(\d{2})-([0-9a-f]{24})-([1-9]\d{0,6})\.cold$/;

export function formatColdName({ source, hourMs, content, blocks }: ColdObjectName): string {
  const iso = new Date(hourMs).toISOString();
  return `${COLD_ROOT}${source}/${iso.slice(0, 10)}/${iso.slice(11, 13)}-${content}-${blocks}.cold`;
}

/** The parts, or null where the text is no such name. */
export function parseColdName(text: string): ColdObjectName | null {
  const match = NAME.exec(text);
  const source = match && parseRegionId(match[1]!);
  if (!match || !source) return null;
  const hourMs = Date.parse(`${match[2]}T${match[3]}:00:00Z`);
  if (Number.isNaN(hourMs)) return null;
  return { source, hourMs, content: match[4]!, blocks: Number(match[5]) };
}

/** The hour that a block of this newest time is kept with, Unix ms. */
export function hourOf(newestUnixNano: bigint): number {
  const ms = unixNanoToMs(newestUnixNano);
  return ms - (ms % HOUR_MS);
}

/** Whether blocks of the hour may have their newest time at or after this one. */
export function mayReach(hourMs: number, unixNano: bigint): boolean {
  return msToUnixNano(hourMs) + HOUR_NANOS > unixNano;
}

/** What a block is known by in the cold tier: two blocks of one id may differ (packs that the embedded store has joined). */
export interface BlockIdentity {
  readonly id: string;
  readonly length: number;
  /** CRC-32 of the encoded block. */
  readonly crc: number;
}

export function identityKey({ id, length, crc }: BlockIdentity): string {
  return `${id} ${length} ${crc}`;
}

/** `content` of a name: the same for the same blocks in any order. */
export function contentOf(blocks: readonly BlockIdentity[]): string {
  const hash = createHash('sha256');
  for (const key of blocks.map(identityKey).sort()) hash.update(key).update('\n');
  return hash.digest('hex').slice(0, 24);
}
