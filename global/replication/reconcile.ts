import cron, { type ScheduledTask } from 'node-cron';
import { BUCKET_MS } from '../index/digest.js';
import type { IndexDigest, IndexDigests, TraceIndexFolding, TraceIndexWriter } from '../index/trace-index.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { RegionIndexReads } from '../region-api/region-client.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import type { Service } from '../runtime/service.js';

export interface ReconcileLimits {
  /** Records in one page of a bucket (the region API gives at most 1,000). */
  readonly pageRecords: number;
  /** Pages of one bucket; a peer whose bucket does not end by then is left. */
  readonly pagesMax: number;
  /** Buckets that a peer may name for one region; it is left beyond that. */
  readonly bucketsMax: number;
}

export const RECONCILE_LIMITS: ReconcileLimits = { pageRecords: 1000, pagesMax: 100_000, bucketsMax: 100_000 };
/** A bucket that ended less than this ago may still change everywhere. */
export const YOUNG_BUCKET_MS = 5 * 60_000;
/** A young bucket differs as long as traffic flows, by what is on its way; it is compared only while it has no more records than this. */
export const YOUNG_BUCKET_RECORDS_MAX = 10_000;
const CALL_DEADLINE_MS = 30_000;

export interface ReconcilePeer {
  readonly region: RegionId;
  readonly client: RegionIndexReads;
}

export interface ReconcileOptions {
  readonly home: RegionId;
  /** The regions whose records are compared, the home region's own among them. */
  readonly sources: readonly RegionId[];
  readonly peers: readonly ReconcilePeer[];
  readonly index: TraceIndexWriter & IndexDigests & Pick<TraceIndexFolding, 'foldedBeforeMs'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Buckets that began before this are left alone: copies forget them at different moments. */
  readonly oldestMs?: number;
  readonly signal?: AbortSignal;
  readonly limits?: Partial<ReconcileLimits>;
  /** Told after each differing bucket. */
  readonly progress?: (report: PeerReport, source: RegionId) => void;
}

export interface PeerReport {
  readonly peer: RegionId;
  bucketsCompared: number;
  bucketsDiffering: number;
  /** Records that were taken from the peer (many of them known already). */
  recordsJoined: number;
  /** Buckets whose digests are equal after the repair, among the differing: the others hold what only this side has. */
  bucketsEqualAfter: number;
  /** Why the comparison with this peer ended early; null: it did not. */
  error: string | null;
}

export interface ReconcileReport {
  readonly startedMs: number;
  readonly tookMs: number;
  readonly peers: readonly PeerReport[];
}

/**
 * Makes this region's index hold all that its peers' hold: compares digests per source region and hour, and joins in the peer's records of
 * each differing bucket. It only adds; that each region does it makes all equal. A peer that fails is reported, the others go on.
 * Rejects with what the own index rejects with.
 *
 * What is folded here is not compared, nor taken (docs/decisions/0012): its records are gone on purpose, and a peer that has not folded yet would give
 * all of them back. What is folded there is not among the peer's digests, so nothing is taken for missing on either side, whoever folds first.
 * A fold may begin at any time, so how far this index is folded is asked after its digests, and again before records are taken.
 */
export async function reconcile(options: ReconcileOptions): Promise<ReconcileReport> {
  const { peers, clock, logger, home } = options;
  const startedMs = clock.nowMs();
  const begun = clock.monotonicMs();
  const reports: PeerReport[] = [];
  for (const peer of peers) {
    if (options.signal?.aborted) break;
    const report: PeerReport = {
      peer: peer.region,
      bucketsCompared: 0,
      bucketsDiffering: 0,
      recordsJoined: 0,
      bucketsEqualAfter: 0,
      error: null,
    };
    reports.push(report);
    for (const source of options.sources) {
      try {
        await reconcileSource(options, peer, source, report);
      } catch (error) {
        if (error instanceof OwnIndexFailed) throw error.cause;
        report.error = messageOf(error);
        logger.warn({ home, peer: peer.region, source, err: error }, 'reconciling with a peer ended early');
        break;
      }
    }
  }
  const report = { startedMs, tookMs: clock.monotonicMs() - begun, peers: reports };
  logger.info({ home, report }, 'reconciled the index');
  return report;
}

/** Tells our own index's failure from the peer's. */
class OwnIndexFailed extends Error {}

async function own<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new OwnIndexFailed('own index', { cause: error });
  }
}

async function reconcileSource(
  options: ReconcileOptions,
  peer: ReconcilePeer,
  source: RegionId,
  report: PeerReport,
): Promise<void> {
  const { index, oldestMs = 0 } = options;
  const call = callOptions(options);
  const theirs = await peer.client.indexDigests(source, call);
  const { bucketsMax } = { ...RECONCILE_LIMITS, ...options.limits };
  if (theirs.length > bucketsMax) {
    throw new MeridianError('too-large', `${peer.region} names ${theirs.length} buckets of ${source}`, 'never');
  }
  const ours = new Map((await own(index.digests(source))).map((digest) => [digest.bucketStartMs, digest]));
  // Not before: a day that was folded between the two would be missing above, and seem to be wanted.
  const cutoffMs = Math.max(oldestMs, await own(index.foldedBeforeMs()));
  const youngMs = options.clock.nowMs() - YOUNG_BUCKET_MS - BUCKET_MS;
  const compared = theirs.filter(
    ({ bucketStartMs, recordCount }) =>
      bucketStartMs >= cutoffMs && (bucketStartMs < youngMs || recordCount <= YOUNG_BUCKET_RECORDS_MAX),
  );
  report.bucketsCompared += compared.length;
  const differing = compared.filter((digest) => !sameDigest(digest, ours.get(digest.bucketStartMs)));
  report.bucketsDiffering += differing.length;
  for (const { bucketStartMs } of differing) {
    if (options.signal?.aborted) return;
    await pullBucket(options, peer, source, bucketStartMs, report);
    options.progress?.(report, source);
  }
  if (differing.length === 0) return;
  const after = new Map((await own(index.digests(source))).map((digest) => [digest.bucketStartMs, digest]));
  for (const digest of differing) if (sameDigest(digest, after.get(digest.bucketStartMs))) report.bucketsEqualAfter++;
}

function sameDigest(a: IndexDigest, b: IndexDigest | undefined): boolean {
  return b !== undefined && a.hash === b.hash && a.recordCount === b.recordCount;
}

async function pullBucket(
  options: ReconcileOptions,
  peer: ReconcilePeer,
  source: RegionId,
  bucketStartMs: number,
  report: PeerReport,
): Promise<void> {
  const { pageRecords, pagesMax } = { ...RECONCILE_LIMITS, ...options.limits };
  let after: TraceId | null = null;
  // One page more than the limit: it must be the empty one.
  for (let page = 0; page <= pagesMax; page++) {
    const traces = await peer.client.indexBucket(source, bucketStartMs, after, pageRecords, callOptions(options));
    if (traces.length === 0) return;
    if (page === pagesMax) break;
    if (bucketStartMs < (await own(options.index.foldedBeforeMs()))) return;
    for (const trace of traces) {
      if (trace.region !== source || (after !== null && trace.traceId <= after)) {
        throw new MeridianError(
          'malformed',
          `${peer.region} sent ${trace.traceId}@${trace.region} out of order`,
          'never',
        );
      }
      after = trace.traceId;
    }
    // Blocks are the source's own business; a peer knows none.
    const bare = traces.map((trace) => (trace.blocks.length === 0 ? trace : { ...trace, blocks: [] }));
    await own(options.index.apply([{ region: source, traces: bare, watermark: null, catalogue: [] }]));
    report.recordsJoined += traces.length;
    if (options.signal?.aborted) return;
  }
  throw new MeridianError('too-large', `${peer.region}: bucket ${bucketStartMs} of ${source} does not end`, 'never');
}

function callOptions({ signal }: ReconcileOptions) {
  return { deadlineMs: CALL_DEADLINE_MS, ...(signal ? { signal } : {}) };
}

/** The oldest bucket that is worth comparing where records are kept so long: one hour younger than what expiry may take. */
export function reconcileOldestMs(nowMs: number, retentionMs: number): number {
  return nowMs - retentionMs + BUCKET_MS;
}

export interface ReconcileScheduleOptions {
  /** Five or six cron fields, in UTC. Default: every 15 minutes. */
  readonly cron?: string;
  readonly run: (signal: AbortSignal) => Promise<unknown>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Each run waits up to this long first, so that the regions do not all ask at once. Default 60 s. */
  readonly jitterMs?: number;
  /** Where the beat comes from; node-cron where it is left out. Returns how to end it. */
  readonly schedule?: (expression: string, beat: () => void) => () => void;
}

/** Runs reconcile on a schedule, one run at a time; a run that fails is logged and the next comes. `stop` waits for the running one. */
export function createReconcileSchedule(options: ReconcileScheduleOptions): Service {
  const { run, clock, logger, random, jitterMs = 60_000, cron: expression = '*/15 * * * *' } = options;
  const stopped = new AbortController();
  const schedule = options.schedule ?? scheduleWithCron;
  let end = () => {};
  let running: Promise<void> | null = null;
  const beat = async (): Promise<void> => {
    await clock.sleep(random() * jitterMs, stopped.signal);
    if (stopped.signal.aborted) return;
    try {
      await run(stopped.signal);
    } catch (error) {
      logger.warn({ err: error }, 'scheduled reconcile failed; the next one comes');
    }
  };
  return {
    start: async () => {
      end = schedule(expression, () => {
        running ??= beat().finally(() => {
          running = null;
        });
      });
    },
    stop: async () => {
      end();
      stopped.abort();
      await running;
    },
  };
}

function scheduleWithCron(expression: string, beat: () => void): () => void {
  if (!cron.validate(expression)) {
    throw new MeridianError('configuration', `reconcile schedule: "${expression}" is no cron expression`, 'never');
  }
  const task: ScheduledTask = cron.schedule(expression, beat, { timezone: 'UTC' });
  return () => void task.destroy();
}
