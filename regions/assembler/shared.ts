import type { LogAppender } from '../../global/log/span-log.js';
import type { PartitionCounts } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { ReachCrashPoint } from '../../global/runtime/crash-points.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { SamplingPolicy } from '../../global/sampling/sampling-policy.js';
import type { NameTable } from '../segments/summarize.js';
import type { CatalogueWindow } from './catalogue-window.js';
import type { HeldSegments } from './held-segments.js';
import type { AssemblerMetrics } from './metrics.js';
import type { AssemblerLimits } from './options.js';
import type { Takeover } from './takeover.js';

/** What all partitions of one assembler share. */
export interface AssemblerShared {
  readonly source: RegionId;
  readonly log: LogAppender;
  readonly partitions: PartitionCounts;
  readonly limits: AssemblerLimits;
  readonly policy: SamplingPolicy;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly crash: ReachCrashPoint;
  readonly metrics: AssemblerMetrics;
  readonly held: HeldSegments;
  readonly catalogue: CatalogueWindow;
  readonly names: NameTable;
  /** Numbers for the blocks of one ownership; no other ownership of any partition gives them. */
  readonly newBlockNumbers: () => () => number;
  readonly takeover: Takeover;
  /** Aborted when the assembler stops: nothing waits for room any more. */
  readonly stopping: AbortSignal;
  /** Closes the oldest traces of any partition while there are too many. */
  readonly relieve: () => void;
  /** For the health check: something was tried again. */
  readonly troubled: (detail: string) => void;
  readonly onFatal: (error: unknown) => void;
}
