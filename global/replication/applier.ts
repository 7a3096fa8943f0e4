import { setMaxListeners } from 'node:events';
import type { Registry } from 'prom-client';
import type { FeedPosition, FeedPositions, ReceivedRecord, TraceIndexWriter } from '../index/trace-index.js';
import {
  type LogAppender,
  type LogBatch,
  type LogConsumers,
  type LogOffsets,
  type LogReads,
  mirroredTopic,
  type PartitionAssignment,
  type PartitionHandler,
} from '../log/span-log.js';
import { GROUPS, TOPICS } from '../log/topics.js';
import type { RegionId } from '../model/ids.js';
import { unixNanoToMs } from '../model/time.js';
import { Backoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { ReachCrashPoint } from '../runtime/crash-points.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import type { HealthCheck, PartHealth, Service } from '../runtime/service.js';
import { applierMetrics } from './applier-metrics.js';
import { decodeFeedBatch, slicesOf } from './feed-batch.js';
import { FeedProgress } from './feed-progress.js';
import { beginRun, continueRun, type FeedOrigin, type FeedRun, lossBefore } from './feed-run.js';
import { missedFrom, missedRecords } from './missed-records.js';
import { PoisonAccount } from './poison.js';

export interface ApplierLimits {
  /** Bytes of feed records taken from the log at a time, per partition. */
  readonly batchBytesMax: number;
  /** Traces given to the index in one call (but at least one record). */
  readonly tracesPerApplyMax: number;
  /** Partitions that have something wait this long for others, to share a transaction of the index. */
  readonly gatherMs: number;
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  /** The home region's watermarks older than this show as `degraded`. */
  readonly lagDegradedMs: number;
}

export const APPLIER_LIMITS: ApplierLimits = {
  batchBytesMax: 256 * 1024,
  tracesPerApplyMax: 500,
  gatherMs: 10,
  backoffFirstMs: 100,
  backoffMaxMs: 5_000,
  lagDegradedMs: 60_000,
};

export interface ApplierOptions {
  readonly home: RegionId;
  /** The regions whose feeds are applied: `trace-metadata` of the home region, `{source}.trace-metadata` of the others. */
  readonly sources: readonly RegionId[];
  readonly log: LogConsumers & LogAppender & LogOffsets & LogReads;
  readonly index: TraceIndexWriter & FeedPositions;
  /**
   * Mirrored records that do not carry the link's header came by a mirror that never skips a record without failing (MirrorMaker with
   * `auto.offset.reset=none` for its consumer). Otherwise nothing is vouched for on the word of such a mirror.
   */
  readonly mirrorsNeverSkip?: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
  /** From 0 to below 1, for jitter; none where it is left out. */
  readonly random?: () => number;
  readonly limits?: Partial<ApplierLimits>;
}

export interface Applier extends Service {
  health(): HealthCheck;
}

/**
 * Brings the feeds into the index: decode > apply > commit, per feed partition in the order of the log, one batch at a time: a
 * watermark never overtakes the records before it. It notes how far the feed was received without a gap (feed-run.ts), in the index and
 * with the records, and stamps each watermark with what it vouches for. While the index is unavailable it waits and tries again. A record that
 * cannot be read goes to `trace-metadata.dlq`, and the watermarks behind it are held back (poison.ts). A record of a version that is not known yet
 * is waited at: a later build reads it, and nothing behind it may pass.
 */
export function createApplier(options: ApplierOptions): Applier {
  return new LogApplier(options);
}

class LogApplier implements Applier {
  readonly #limits: ApplierLimits;
  readonly #metrics;
  readonly #poison: PoisonAccount;
  readonly #stopped = new AbortController();
  /** What was applied of each feed partition, by place. */
  readonly #progress = new Map<string, FeedProgress>();
  readonly #waitingAt = new Map<string, { message: string; sinceMs: number }>();
  #subscription: { stop(): Promise<void> } | null = null;
  #gathering: Promise<void> | null = null;

  constructor(private readonly options: ApplierOptions) {
    this.#limits = { ...APPLIER_LIMITS, ...options.limits };
    this.#poison = new PoisonAccount(options.log);
    // Every partition that waits listens to it.
    setMaxListeners(0, this.#stopped.signal);
    this.#metrics = applierMetrics(options.registry, { lags: () => this.#lags(), vouched: () => this.#vouched() });
  }

  async start(): Promise<void> {
    const { home, sources, log } = this.options;
    await this.#poison.refresh();
    this.#subscription = await log.subscribe({
      group: GROUPS.applier,
      topics: sources.map((s) => (s === home ? TOPICS.traceMetadata : mirroredTopic(s, TOPICS.traceMetadata))),
      from: 'earliest',
      batchBytesMax: this.#limits.batchBytesMax,
      assigned: (assignment) => this.#own(assignment),
    });
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#subscription?.stop();
  }

  #own(assignment: PartitionAssignment): PartitionHandler {
    // Another member may have put records of this partition aside.
    let fresh = false;
    let run: FeedRun | null = null;
    this.#progressOf(assignment).owned(this.options.clock.nowMs());
    return {
      records: async (batch) => {
        if (!fresh) await this.#retrying(batch, () => this.#poison.refresh());
        fresh = true;
        const from = await this.#missedBefore(batch);
        if (from !== null) run = await this.#applyMissed(batch, from);
        run = await this.#applyBatch(batch, await this.#runAt(batch, run, assignment.startOffset));
        await assignment.commit(batch.records.at(-1)!.offset + 1);
        this.options.crash('applier.after-commit');
      },
      close: async () => {
        this.#waitingAt.delete(placeOf(assignment));
        this.#progressOf(assignment).givenAway(this.options.clock.nowMs());
      },
    };
  }

  /** Where the index stops before the batch begins. It is asked each time: it may have been emptied while it was open. */
  #missedBefore(batch: LogBatch): Promise<number | null> {
    const { index, log } = this.options;
    const { topic, partition, records } = batch;
    return this.#retrying(batch, async () => {
      const stored = await index.feedPosition(topic, partition);
      const firstOffset = records[0]!.offset;
      if (stored && stored.nextOffset >= firstOffset) return null;
      return missedFrom(stored, firstOffset, (await log.starts(topic))[partition] ?? 0);
    });
  }

  /** Brings the index from `from` up to the batch, from the log. The group's commit stays where it is: it is beyond that already. */
  async #applyMissed(batch: LogBatch, from: number): Promise<FeedRun | null> {
    const { log, logger } = this.options;
    const { topic, partition } = batch;
    const place = { topic, partition, from, to: batch.records[0]!.offset };
    logger.info(place, 'the index is behind its commit: reading the feed again');
    let run: FeedRun | null = null;
    let next = from;
    const { batchBytesMax } = this.#limits;
    for (;;) {
      const missed = await this.#retrying(batch, () => missedRecords(log, batch, next, batchBytesMax));
      if (!missed) break;
      run = await this.#applyBatch(missed, await this.#runAt(missed, run, next));
      next = missed.records.at(-1)!.offset + 1;
    }
    logger.info(place, 'the index has caught up with its commit');
    return run;
  }

  /** The run that the batch continues. The index is asked each time: it may have been emptied while it was open, and then all begins anew. */
  async #runAt(batch: LogBatch, run: FeedRun | null, firstOffset: number): Promise<FeedRun> {
    const { index, log } = this.options;
    const { topic, partition, records } = batch;
    return this.#retrying(batch, async () => {
      const stored = await index.feedPosition(topic, partition);
      if (run && stored && stored.nextOffset === run.nextOffset) return run;
      const startOffset = run ? records[0]!.offset : firstOffset;
      const [starts, ends] = await Promise.all([log.starts(topic), log.ends(topic)]);
      const [logStart, logEnd] = [starts[partition] ?? 0, ends[partition] ?? 0];
      return beginRun({ stored, startOffset, first: records[0]!, logStart, logEnd });
    });
  }

  /** The log's start, where offsets are missing and it matters whether the log forgot them. */
  async #startOf({ topic, partition, records }: LogBatch, run: FeedRun): Promise<number> {
    let due = run.nextOffset;
    const dense = records.every(({ offset }) => {
      const ok = offset <= due;
      due = Math.max(due, offset + 1);
      return ok;
    });
    if (dense) return 0;
    return this.#retrying({ topic, partition }, async () => (await this.options.log.starts(topic))[partition] ?? 0);
  }

  async #applyBatch(batch: LogBatch, before: FeedRun): Promise<FeedRun> {
    const { index, crash, clock } = this.options;
    await this.#gather();
    const { found, run } = await this.#decode(batch, before);
    const position: FeedPosition = { topic: batch.topic, partition: batch.partition, ...run };
    crash('applier.before-apply');
    const slices = slicesOf(found, this.#limits.tracesPerApplyMax);
    const last = slices.pop() ?? [];
    for (const slice of slices) await this.#retrying(batch, () => index.apply(slice));
    await this.#retrying(batch, () => index.apply(last, position));
    crash('applier.after-apply');
    const now = clock.nowMs();
    for (const { appendedMs } of batch.records)
      this.#metrics.delaySeconds.observe(Math.max(0, now - appendedMs) / 1000);
    this.#metrics.records.inc(batch.records.length);
    const progress = this.#progressOf(batch);
    for (const { watermark } of found) if (watermark) progress.note(watermark);
    progress.vouchedFromUnixNano = run.vouchedFromUnixNano;
    return run;
  }

  /** The batch's records; those that cannot be read are put aside, and a version that is not known is waited at. */
  async #decode(batch: LogBatch, before: FeedRun): Promise<{ found: ReceivedRecord[]; run: FeedRun }> {
    const { topic, partition } = batch;
    const found: ReceivedRecord[] = [];
    const origin = this.#originOf(topic);
    const logStart = await this.#startOf(batch, before);
    let run = before;
    for (const result of decodeFeedBatch(batch)) {
      const { record, logRecord } = result;
      const { offset, appendedMs } = logRecord;
      if (result.error?.code === 'unknown-version') {
        const { error } = result;
        // What came before it is not held up.
        await this.#retrying(batch, () => this.options.index.apply(found));
        await this.#retrying(batch, () => Promise.reject(new MeridianError(error.code, error.message, 'later')));
      }
      // A record that cannot be used is as good as lost: what it told of was appended before it was.
      const lossMs = result.error ? appendedMs : lossBefore(logRecord, origin);
      run = continueRun(run, offset, appendedMs, logStart, lossMs);
      if (result.error) {
        const { code, message } = result.error;
        this.options.logger.error(
          { topic, partition, offset: logRecord.offset, code, message },
          'feed record put aside',
        );
        if (!this.#poison.isHole(topic, partition, logRecord.offset)) {
          await this.#retrying(batch, () => this.#poison.add(topic, partition, logRecord, code, message));
        }
        this.#metrics.poison.inc();
      } else if (record) {
        if (this.#poison.isHole(topic, partition, logRecord.offset)) {
          await this.#retrying(batch, () => this.#poison.resolve(topic, partition, logRecord));
        }
        const held = record.watermark && this.#poison.hasHoleBefore(topic, partition, logRecord.offset);
        const { vouchedFromUnixNano } = run;
        const watermark = record.watermark && !held ? { ...record.watermark, vouchedFromUnixNano } : null;
        found.push({ ...record, watermark });
      }
    }
    return { found, run };
  }

  /** Tries until it succeeds or the service stops (it then rejects with `shutting-down`: the batch comes again). */
  async #retrying<T>(batch: { topic: string; partition: number }, attempt: () => Promise<T>): Promise<T> {
    const { clock, logger, random } = this.options;
    const place = placeOf(batch);
    const backoff = new Backoff(clock, random ?? (() => 1), {
      firstMs: this.#limits.backoffFirstMs,
      maxMs: this.#limits.backoffMaxMs,
    });
    for (;;) {
      if (this.#stopped.signal.aborted) {
        throw new MeridianError('shutting-down', `applying ${place}: the applier stops`, 'later');
      }
      try {
        const result = await attempt();
        this.#waitingAt.delete(place);
        return result;
      } catch (error) {
        const sinceMs = this.#waitingAt.get(place)?.sinceMs ?? clock.nowMs();
        this.#waitingAt.set(place, { message: messageOf(error), sinceMs });
        this.#metrics.retries.inc();
        logger.warn({ place, err: error }, 'applying feed records failed; trying again');
        await backoff.wait(this.#stopped.signal);
      }
    }
  }

  #gather(): Promise<void> {
    if (this.#limits.gatherMs === 0) return Promise.resolve();
    this.#gathering ??= this.options.clock.sleep(this.#limits.gatherMs, this.#stopped.signal).then(() => {
      this.#gathering = null;
    });
    return this.#gathering;
  }

  #originOf(topic: string): FeedOrigin {
    if (topic === TOPICS.traceMetadata) return 'own';
    return this.options.mirrorsNeverSkip ? 'mirrored-whole' : 'mirrored';
  }

  #progressOf(place: { topic: string; partition: number }): FeedProgress {
    const key = placeOf(place);
    let progress = this.#progress.get(key);
    if (!progress) {
      const { home, sources } = this.options;
      const source = sources.find((s) => place.topic === mirroredTopic(s, TOPICS.traceMetadata)) ?? home;
      progress = new FeedProgress(source);
      this.#progress.set(key, progress);
    }
    return progress;
  }

  /** The latest time of the partitions that are owned here, by source. */
  #vouched(): { source: RegionId; fromMs: number }[] {
    return this.#bySource(
      ({ vouchedFromUnixNano }) => (vouchedFromUnixNano === null ? null : unixNanoToMs(vouchedFromUnixNano)),
      Math.max,
    ).map(([source, fromMs]) => ({ source, fromMs }));
  }

  /** Age of the oldest watermark of the partitions that are owned here, by source. Sources that published none yet are left out. */
  #lags(): { source: RegionId; lagMs: number }[] {
    const now = this.options.clock.nowMs();
    return this.#bySource(({ oldestMs }) => oldestMs, Math.min).map(([source, oldestMs]) => ({
      source,
      lagMs: Math.max(0, now - oldestMs),
    }));
  }

  #bySource(
    of: (progress: FeedProgress) => number | null,
    join: (a: number, b: number) => number,
  ): [RegionId, number][] {
    const found = new Map<RegionId, number>();
    for (const progress of this.#progress.values()) {
      const value = progress.isOwned ? of(progress) : null;
      if (value === null) continue;
      const known = found.get(progress.source);
      found.set(progress.source, known === undefined ? value : join(known, value));
    }
    return [...found];
  }

  health(): HealthCheck {
    return { part: 'index', check: async () => this.#health() };
  }

  #health(): PartHealth {
    const part = 'index';
    const waiting = [...this.#waitingAt][0];
    if (waiting) {
      const [place, { message, sinceMs }] = waiting;
      return { part, state: 'down', detail: `waiting at ${place}: ${message}`, sinceMs };
    }
    const holes = this.#poison.holeCount;
    if (holes > 0) return { part, state: 'degraded', detail: `${holes} feed records could not be read` };
    const { home } = this.options;
    const lagMs = this.#lags().find(({ source }) => source === home)?.lagMs ?? 0;
    if (lagMs > this.#limits.lagDegradedMs) {
      return { part, state: 'degraded', detail: `the watermark of ${home} is ${Math.round(lagMs / 1000)} s old` };
    }
    return { part, state: 'ok' };
  }
}

function placeOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`;
}
