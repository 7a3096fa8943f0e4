import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';

/** The parts of a block's name; see `BlockId`. */
export interface BlockName {
  readonly source: RegionId;
  /** Partition of `spans` that the block's segments came from. */
  readonly partition: number;
  /** Lowest offset of `spans` that its segments came from. */
  readonly firstOffset: number;
  readonly number: number;
}

/** No block id is longer: a region name of 32 characters and three safe integers. */
export const BLOCK_ID_BYTES_MAX = 32 + 3 * 17;

const BLOCK_ID = /^([a-z0-9-]+)\/(0|[1-9]\d{0,15})\/(0|[1-9]\d{0,15})\/(0|[1-9]\d{0,15})$/;

export function formatBlockId(name: BlockName): BlockId {
  return `${name.source}/${name.partition}/${name.firstOffset}/${name.number}` as BlockId;
}

/** The parts, or null where the text is no block id. */
export function parseBlockId(text: string): BlockName | null {
  const match = BLOCK_ID.exec(text);
  const source = match && parseRegionId(match[1]!);
  if (!match || !source) return null;
  const [partition, firstOffset, number] = match.slice(2).map(Number) as [number, number, number];
  if (![partition, firstOffset, number].every(Number.isSafeInteger)) return null;
  return { source, partition, firstOffset, number };
}

const PER_MS = 4096;
const SINCE_MS = Date.UTC(2020, 0, 1);

/**
 * Numbers blocks without memory of earlier processes: the milliseconds from 2020 to the assembler's start, times 4096, plus a counter.
 * A later start never gives a number twice as long as no process makes more than 4096 blocks per millisecond of its life.
 */
export function blockNumbers(incarnationMs: number): () => number {
  let next = Math.max(0, Math.trunc(incarnationMs) - SINCE_MS) * PER_MS;
  return () => next++;
}
