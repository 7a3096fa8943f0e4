import type { Registry } from 'prom-client';
import type { LogAppender } from '../../global/log/span-log.js';
import type { RegionId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import type { RedactorOptions } from '../../global/otlp/redact.js';
import type { ChannelSecurity, ListenAddress } from '../../global/runtime/channel-security.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { ReachCrashPoint } from '../../global/runtime/crash-points.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { SPOOL_BYTES_MIN, SPOOL_LIMITS } from './spool/spool-limits.js';

/** Limits and times of a collector; every one can be left to its default. */
export const COLLECTOR_DEFAULTS = {
  /** How long the spans of a request wait for company at most, while appends are under way; and while none is. */
  gatherMs: 5,
  gatherIdleMs: 1,
  gatherBytesMax: 1024 * 1024,
  /** At most what the log takes as one record. */
  recordBytesMax: 4 * 1024 * 1024,
  inFlightBytesMax: LIMITS.requestInflatedBytesMax,
  inFlightRequestsMax: 1024,
  /** Memory for bodies and records that may lie idle between two uses. */
  pooledBytesMax: 16 * 1024 * 1024,
  requestBytesMax: LIMITS.requestBytesMax,
  requestInflatedBytesMax: LIMITS.requestInflatedBytesMax,
  spansPerRequestMax: LIMITS.spansPerRequestMax,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 75_000,
  /** Per HTTP listener. */
  connectionsMax: 10_000,
  grpcStreamsPerConnectionMax: 100,
  grpcReceivingMax: 256,
  /** What a client is told to wait before it sends again. */
  retryAfterMs: 1000,
  drainMs: 10_000,
  /** Bytes on disk of the spool before the log (In6); 0 for none. */
  spoolBytesMax: SPOOL_LIMITS.bytesMax,
  /** An append that has no answer for as long goes to the spool. */
  spoolHangMs: SPOOL_LIMITS.hangMs,
  /** Origins of pages whose browsers may send spans; `*` for all. */
  corsOrigins: [] as readonly string[],
} as const;

export type CollectorLimits = {
  readonly [K in keyof typeof COLLECTOR_DEFAULTS]: Widened<(typeof COLLECTOR_DEFAULTS)[K]>;
};
type Widened<T> = T extends number ? number : T;

export interface CollectorOptions extends Partial<CollectorLimits> {
  readonly region: RegionId;
  /** Names this collector in every record it appends. */
  readonly collectorId: string;
  readonly log: LogAppender;
  /** Folder of the spool, of this collector alone and on a disk that outlives the process. Absent: no spool. */
  readonly spoolDir?: string;
  /** Partitions of `spans`. */
  readonly partitionCount: number;
  readonly listen: CollectorAddresses;
  readonly redaction: RedactorOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
  readonly security: ChannelSecurity;
  /** A random uint32; asked once, for the instance in the records' stamps. */
  readonly random32: () => number;
}

export interface CollectorAddresses {
  readonly otlpGrpc: ListenAddress;
  /** Also native spans. */
  readonly otlpHttp: ListenAddress;
  readonly zipkin: ListenAddress;
  readonly jaegerThrift: ListenAddress;
}

/** Throws `configuration` for limits that cannot hold together. */
export function checkLimits(limits: CollectorLimits): void {
  const broken =
    limits.inFlightBytesMax < limits.requestInflatedBytesMax
      ? 'inFlightBytesMax must hold one request of requestInflatedBytesMax, or such a request would be told to retry for ever'
      : limits.recordBytesMax < limits.gatherBytesMax
        ? 'recordBytesMax must be at least gatherBytesMax'
        : limits.spoolBytesMax !== 0 && limits.spoolBytesMax < SPOOL_BYTES_MIN
          ? `spoolBytesMax must be 0 (no spool) or at least ${SPOOL_BYTES_MIN}`
          : null;
  if (broken) throw new MeridianError('configuration', `collector limits: ${broken}`, 'never');
}
