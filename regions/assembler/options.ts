import type { Registry } from 'prom-client';
import type { LogAppender, LogConsumers, LogOffsets, LogReads } from '../../global/log/span-log.js';
import type { PartitionCounts } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { ReachCrashPoint } from '../../global/runtime/crash-points.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { SamplingPolicy } from '../../global/sampling/sampling-policy.js';

const MIB = 1024 * 1024;

/** Every time-out and limit of the assembler. */
export const ASSEMBLER_DEFAULTS = {
  /** A trace closes when nothing came for this long and it looks whole (an entry span, no parent missing). */
  settleMs: 2_000,
  idleMs: 30_000,
  ageMs: 300_000,
  segmentBytesMax: 4 * MIB,
  segmentSpansMax: 50_000,
  /** Beyond these the oldest open traces are closed early. Bytes include what an open trace costs beside its spans. */
  openBytesMax: 512 * MIB,
  openTracesMax: 600_000,
  /** A newly seen trace is announced within this. */
  announceMs: 100,
  /** How often the end of the log is asked for. */
  watermarkMs: 200,
  /** How often a partition where nothing comes publishes its watermark: one small record each. */
  idleWatermarkMs: 1_000,
  blockMs: 500,
  blockSegmentsMax: 64,
  blockBytesMax: MIB,
  passBlocksMax: 8,
  passAnnouncementsMax: 8_192,
  /** Payload bytes of closed segments that are not in the log yet, per partition; beyond it no records are taken. */
  unpublishedBytesMax: 32 * MIB,
  /** Payloads kept in memory of blocks that the store does not have yet; older ones are read back from the log when asked for. */
  blockCacheBytesMax: 256 * MIB,
  /** Segments that the store does not have yet; beyond it no records are taken. */
  heldSegmentsMax: 1_000_000,
  /** How often the writer's commit is asked for. */
  writerPollMs: 200,
  /** After this the store's search shows what it was given (`SegmentStoreWriter`). */
  storeRefreshMs: 1_000,
  /** A commit that no block causes (duplicates, records that could not be read) waits this long. */
  commitMs: 1_000,
  batchBytesMax: MIB,
  /** Repeated records are recognised within this many of a collector, of this many collectors, per partition. */
  stampSequencesMax: 1_024,
  stampInstancesMax: 32,
  catalogueRefreshMs: 3_600_000,
  catalogueOperationsPerServiceMax: 10_000,
  catalogueOperationsMax: 100_000,
  catalogueEntriesPerPassMax: 4_096,
  /** Waits between attempts when the log is down: the first, doubled up to the last. */
  retryMs: 100,
  retryMsMax: 5_000,
  /** How long a stop tries to flush; what is left is read again by the next owner. */
  drainMs: 10_000,
  /** How often time-outs are looked at. */
  tickMs: 50,
} as const;

export type AssemblerLimits = { readonly [Name in keyof typeof ASSEMBLER_DEFAULTS]: number };

export interface AssemblerOptions {
  /** The region whose spans these are. */
  readonly source: RegionId;
  /** The region in whose log this runs; where it differs from `source`, the mirrored `spans` topic is read. */
  readonly home: RegionId;
  readonly log: LogAppender & LogConsumers & LogOffsets & LogReads;
  /** Of `spans` those of the source, of `segments` and `trace-metadata` those of the home. */
  readonly partitions: PartitionCounts;
  readonly policy: SamplingPolicy;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
  /** Distinguishes this start from all earlier ones, e.g. the wall clock at the start, in milliseconds; larger each time. */
  readonly incarnation: number;
  /** From 0 to below 1; needed where several processes assemble one region. */
  readonly random?: () => number;
  readonly limits?: Partial<AssemblerLimits>;
  /**
   * Told of a broken invariant in work that nobody awaits. Default: thrown, so that the process ends and is restarted (nothing is lost:
   * what was not committed is read again).
   */
  readonly onFatal?: (error: unknown) => void;
}
