import type { BackoffRange } from '../../../global/runtime/backoff.js';
import { MeridianError } from '../../../global/runtime/errors.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The named limits and times of the spool. */
export const SPOOL_LIMITS = {
  /** All spool files together, bytes (In6). */
  bytesMax: 100_000_000,
  /** Key, headers and value of one record. A larger one is refused while the log is away: only the log can say whether it takes it. */
  entryBytesMax: 8 * MIB,
  /** What one write to the disk takes at most, but at least one record. */
  groupBytesMax: 4 * MIB,
  /** Records that wait for the disk, bytes; beyond it they are refused. */
  queuedBytesMax: 64 * MIB,
  /** An append without an answer for as long goes to the spool. */
  hangMs: 2000,
  failuresToOpen: 3,
  probeMs: 500,
  probeMaxMs: 5000,
  /** Replayed records of one partition in one append, bytes before compression, but at least one record. */
  chunkBytesMax: 512 * KIB,
  /** The same of all partitions at once. */
  replayBytesMax: 8 * MIB,
  /** New records of a partition that wait in memory for the last of its spooled ones to be handed to the log, bytes. */
  waitBytesMax: MIB,
  /** Spool files held in memory while they are replayed, bytes, but at least one file. */
  cacheBytesMax: 16 * MIB,
} as const;

export type SpoolLimits = { readonly [K in keyof typeof SPOOL_LIMITS]: number };

/** The least that `bytesMax` may be. */
export const SPOOL_BYTES_MIN = 64 * KIB;
const SEGMENTS = 64;
const SEGMENT_BYTES_MAX = 4 * MIB;

/** A file is closed, and the next one begun, when it holds as many bytes: what is dropped at once is a small part of the whole. */
export function segmentBytes(bytesMax: number): number {
  return Math.min(SEGMENT_BYTES_MAX, Math.ceil(bytesMax / SEGMENTS));
}

/** Records that the log refuses for good are kept aside up to this many bytes. */
export function asideBytesMax(bytesMax: number): number {
  return Math.floor(bytesMax / 10);
}

/** Waits before the log, or a partition that failed, is tried again. */
export function retryWaits({ probeMs, probeMaxMs }: SpoolLimits): BackoffRange {
  return { firstMs: probeMs, maxMs: probeMaxMs };
}

/** Throws `configuration`. */
export function checkSpoolLimits(limits: SpoolLimits): void {
  const broken =
    limits.bytesMax < SPOOL_BYTES_MIN
      ? `spoolBytesMax must be 0 (no spool) or at least ${SPOOL_BYTES_MIN}`
      : limits.entryBytesMax > 16 * MIB
        ? 'entryBytesMax must be at most 16 MiB'
        : limits.failuresToOpen < 1
          ? 'failuresToOpen must be at least 1'
          : null;
  if (broken) throw new MeridianError('configuration', `spool limits: ${broken}`, 'never');
}
