import { MeridianError } from '../runtime/errors.js';
import { FUSE_KEYS_MAX, type FuseShape, fuseBytes, fuseShape } from './fuse-filter.js';
import type { Day } from './redis-layout.js';

/**
 * A fold in Redis: a day's records, or those that came late, in pieces by the id as buckets see it (redis-layout.ts, `mixed`). All pieces of a fold have
 * filters of one shape, which is in the shard's state: so a reader knows which bytes of which key to ask for before it asks. It guesses the
 * seed, which is the first one but for tiny filters, and finds in the same answer whether it was right.
 */
export interface FoldView {
  readonly day: Day;
  /** From 0 on, of the folds of the day. */
  readonly number: number;
  readonly pieces: number;
  readonly shape: FuseShape;
  /** Keys that a filter of the shape takes. */
  readonly keysMax: number;
  /** Pieces before this one are done. */
  readonly next: number;
  readonly records: number;
  /** No record in it ended later. */
  readonly endUnixNanoMax: bigint;
}

/** Keys of one piece: 25 ms of work, and memory for it, at a time. */
export const PIECE_KEYS_MAX = 65_536;
export const PIECES_MAX = 1 << 20;

/** The field and the value of a fold in the shard's state. */
export function foldField(fold: FoldView): [field: string, value: string] {
  const { day, number, pieces, shape, keysMax, next, records, endUnixNanoMax } = fold;
  const value = [pieces, shape.segmentBits, shape.segments, keysMax, next, records, endUnixNanoMax].join(' ');
  return [foldFieldName(day, number), value];
}

export function foldFieldName(day: Day, number: number): string {
  return `f${day}:${number}`;
}

/** Throws `malformed`. */
export function parseFold(field: string, value: string): FoldView {
  const name = /^f(\d+):(\d+)$/.exec(field);
  const parts = /^(\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$/.exec(value);
  if (!name || !parts) {
    throw new MeridianError('malformed', `index in Redis: a fold "${field}" of "${value}"`, 'never');
  }
  const [pieces, segmentBits, segments, keysMax, next, records] = parts.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    day: name[1]!,
    number: Number(name[2]),
    pieces,
    shape: { segmentBits, segments },
    keysMax,
    next,
    records,
    endUnixNanoMax: BigInt(parts[7]!),
  };
}

/** Whether the same bytes of the same filters would be asked for. */
export function sameFolds(a: readonly FoldView[], b: readonly FoldView[]): boolean {
  const places = (folds: readonly FoldView[]) =>
    folds.map(({ day, number, pieces, shape }) => `${day} ${number} ${pieces} ${shape.segmentBits} ${shape.segments}`);
  if (a.length !== b.length) return false;
  const known = new Set(places(a));
  return places(b).every((place) => known.has(place));
}

/** The piece of an id. */
export function pieceOf(mixed: number, pieces: number): number {
  return Math.floor((mixed * pieces) / 2 ** 32);
}

/** The buckets, by number of so many bits, in which ids of the piece stand: first and last. Those at the ends hold ids of others too. */
export function bucketsOfPiece(piece: number, pieces: number, bits: number): { first: number; last: number } {
  const first = Math.ceil((piece * 2 ** 32) / pieces);
  const last = Math.ceil(((piece + 1) * 2 ** 32) / pieces) - 1;
  return { first: Math.floor(first / 2 ** (32 - bits)), last: Math.floor(last / 2 ** (32 - bits)) };
}

/** The pieces of another fold in which ids of this one's piece stand. */
export function overlappingPieces(piece: number, pieces: number, others: number): number[] {
  const first = pieceOf(Math.ceil((piece * 2 ** 32) / pieces), others);
  const last = pieceOf(Math.ceil(((piece + 1) * 2 ** 32) / pieces) - 1, others);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** Key, object and table entry of a string in Redis. */
const STRING_OVERHEAD_BYTES = 130;

/**
 * Into how many pieces so many records go, and the shape of each. Redis' allocator rounds up, by up to a fifth: so the number is chosen for which
 * the least is lost. Ids are spread evenly, so a piece rarely has more than four standard deviations above the mean; what is beyond stays exact.
 */
export function planFold(records: number): Pick<FoldView, 'pieces' | 'shape' | 'keysMax'> {
  const fewest = Math.max(1, Math.ceil(records / PIECE_KEYS_MAX));
  const most = Math.min(PIECES_MAX, fewest + Math.ceil(fewest / 2) + 4);
  let best: (Pick<FoldView, 'pieces' | 'shape' | 'keysMax'> & { bytes: number }) | null = null;
  for (let pieces = fewest; pieces <= most; pieces++) {
    const mean = records / pieces;
    const keysMax = Math.min(FUSE_KEYS_MAX, Math.max(1, Math.ceil(pieces === 1 ? mean : mean + 4 * Math.sqrt(mean))));
    const shape = fuseShape(keysMax);
    const bytes = pieces * (allocatedBytes(fuseBytes(shape)) + STRING_OVERHEAD_BYTES);
    if (!best || bytes < best.bytes) best = { pieces, shape, keysMax, bytes };
  }
  const { pieces, shape, keysMax } = best!;
  return { pieces, shape, keysMax };
}

/** What a string of this length takes: a header of 3, 5 or 9 bytes, a zero behind it, and up to jemalloc's next size: four to each doubling, 16 bytes apart at least. */
export function allocatedBytes(length: number): number {
  const bytes = length + 1 + (length < 256 ? 3 : length < 65_536 ? 5 : 9);
  const step = Math.max(16, 2 ** (Math.ceil(Math.log2(bytes)) - 3));
  return Math.ceil(bytes / step) * step;
}
