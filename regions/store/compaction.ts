import type { SmallPack } from './store-tables.js';

/**
 * Which small packs are packed together. A quiet region makes blocks of a few spans a second, which compress badly (a frame of 5
 * spans takes about three times as much a span as one of 600) and cost a row each. Packs are joined within a window
 * of starts, so that a pack stays a narrow place in the order of a search, and each span is packed again once or twice, not more.
 */
export const COMPACTION = {
  /** A pack of this many bytes is left as it is. */
  packBytesMin: 24 * 1024,
  /** A group is packed when it has this many bytes, or this many packs. */
  groupBytesMin: 48 * 1024,
  groupPacksMin: 64,
  /** Packs of one group start in the same window. */
  windowMs: 15 * 60_000,
  /** Small packs remembered; the oldest are left as they are beyond it. */
  rememberedMax: 16_384,
  /** Segments that one pack takes at most. */
  segmentsMax: 2048,
} as const;

const WINDOW_NANOS = BigInt(COMPACTION.windowMs) * 1_000_000n;

/** Remembers small packs and tells which group is due. Pure bookkeeping. */
export class CompactionPlan {
  readonly #groups = new Map<string, SmallPack[]>();
  #remembered = 0;

  get remembered(): number {
    return this.#remembered;
  }

  /** Ignores packs that are large enough. */
  note(pack: SmallPack): void {
    if (pack.bytes >= COMPACTION.packBytesMin) return;
    const key = `${pack.source} ${pack.startUnixNanoMax / WINDOW_NANOS}`;
    const group = this.#groups.get(key);
    if (group) group.push(pack);
    else this.#groups.set(key, [pack]);
    this.#remembered++;
    while (this.#remembered > COMPACTION.rememberedMax) this.#forgetOldest();
  }

  /** A group that is to be packed now, oldest pack first, taken out of the plan; null for none. */
  takeDue(): readonly SmallPack[] | null {
    for (const [key, group] of this.#groups) {
      if (!isDue(group)) continue;
      const taken = takeUpTo(group, COMPACTION.groupBytesMin * 2);
      const rest = group.slice(taken.length);
      if (rest.length === 0) this.#groups.delete(key);
      else this.#groups.set(key, rest);
      this.#remembered -= taken.length;
      return taken;
    }
    return null;
  }

  #forgetOldest(): void {
    for (const [key, group] of this.#groups) {
      this.#groups.delete(key);
      this.#remembered -= group.length;
      return;
    }
  }
}

function isDue(group: readonly SmallPack[]): boolean {
  if (group.length < 2) return false;
  if (group.length >= COMPACTION.groupPacksMin) return true;
  return group.reduce((sum, { bytes }) => sum + bytes, 0) >= COMPACTION.groupBytesMin;
}

function takeUpTo(group: readonly SmallPack[], bytesMax: number): SmallPack[] {
  let bytes = 0;
  const end = group.findIndex((pack, i) => {
    bytes += pack.bytes;
    return i >= 2 && bytes > bytesMax;
  });
  return group.slice(0, end === -1 ? group.length : end);
}
