import type { EncodedBlock } from '../segments/segment.js';

/** A block (or what a store keeps as one) in the hot store, by the store's own name for its place. */
export interface AgedBlock {
  readonly place: string;
  /** Encoded. */
  readonly bytes: number;
}

/** Blocks whose newest time (`BlockEntry.newestUnixNano`) lies in one hour. */
export interface AgedHour {
  /** Start, Unix ms. */
  readonly hourMs: number;
  /** In a stable order. `AGED_BLOCKS_MAX` of them: there may be more, which are listed when these are gone. */
  readonly blocks: readonly AgedBlock[];
}

/** Most blocks that one `oldest` lists. */
export const AGED_BLOCKS_MAX = 10_000;

/** The old end of a hot store, for the cold tier to take over. Rejections as of the store. */
export interface AgedBlocks {
  /**
   * The oldest hour that begins at or after `fromMs`, ends at or before `beforeMs` (both whole hours, Unix ms) and has blocks; null where none has. Sees
   * everything that was written before the call.
   */
  oldest(fromMs: number, beforeMs: number): Promise<AgedHour | null>;
  /** The encoded blocks, in order; null for one that is not there any more. The caller owns them. */
  read(blocks: readonly AgedBlock[]): Promise<readonly (EncodedBlock | null)[]>;
  /** Removes exactly these, durably; resolves with how many were still there. */
  remove(blocks: readonly AgedBlock[]): Promise<number>;
}
