import type { SpoolClass } from './spool-class.js';

export interface StoredSegment {
  readonly id: number;
  readonly class: SpoolClass;
  readonly bytes: number;
  /** Something of it is being replayed. */
  readonly isPinned: boolean;
}

export interface RoomPlan {
  /** Segments to give up, in this order. */
  readonly evict: readonly number[];
  /** For each piece whether it is kept. None is: the record is refused, and its sender keeps it. */
  readonly keep: readonly boolean[];
}

/**
 * How a record finds room (In6). What was acknowledged is given up for a higher class only: lowest class first, oldest segment first.
 * Where not even the record's highest piece finds room, nothing is given up and the record is refused; where only lower pieces do not,
 * those are left out. `segments` are in order of age. Pure.
 */
export function planRoom(
  bytesMax: number,
  usedBytes: number,
  segments: readonly StoredSegment[],
  pieces: readonly { readonly class: SpoolClass; readonly bytes: number }[],
): RoomPlan {
  let free = bytesMax - usedBytes;
  const needed = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
  if (needed <= free) return { evict: [], keep: pieces.map(() => true) };
  const keep = pieces.map(() => false);
  const evict: number[] = [];
  const evictable = segments.filter((segment) => !segment.isPinned).sort((a, b) => a.class - b.class || a.id - b.id);
  const highestFirst = pieces.map((_, i) => i).sort((a, b) => pieces[b]!.class - pieces[a]!.class);
  for (const [rank, i] of highestFirst.entries()) {
    const piece = pieces[i]!;
    const lower = evictable.filter((segment) => segment.class < piece.class);
    const within = free + lower.reduce((sum, segment) => sum + segment.bytes, 0);
    if (piece.bytes > within) {
      if (rank === 0) return { evict: [], keep };
      continue;
    }
    while (free < piece.bytes) {
      const given = evictable.shift()!;
      evict.push(given.id);
      free += given.bytes;
    }
    free -= piece.bytes;
    keep[i] = true;
  }
  return { evict, keep };
}
