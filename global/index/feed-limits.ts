import { LIMITS } from '../model/limits.js';

/** Limits of the feed's records, held by the encoder and the decoder alike. */
export const FEED_LIMITS = {
  /** One record of `trace-metadata`. */
  recordBytesMax: 16 * 1024 * 1024,
  tracesMax: 65_536,
  catalogueMax: 65_536,
  /** Texts of one record: names and block ids. */
  stringsMax: 262_144,
  stringBytesMax: LIMITS.nameBytesMax,
  coverageEntriesMax: LIMITS.coverageEntriesMax,
  /** A record that names this many blocks may lack further ones: a join keeps the smallest. */
  blocksPerTraceMax: 4096,
  /** Counts of spans in one coverage entry. */
  spanCountMax: 0xffff_ffff,
  flagsMax: 0xffff,
  partitionsMax: 65_536,
} as const;
