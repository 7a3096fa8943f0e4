import type { Registry } from 'prom-client';
import type { LogAppender, LogEntry } from '../../../global/log/span-log.js';
import { TOPICS } from '../../../global/log/topics.js';
import type { Clock } from '../../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { Logger } from '../../../global/runtime/logger.js';
import { Circuit } from './circuit.js';
import type { DurableAppend, DurableAppender } from './durable-appender.js';
import { HangWatch } from './hang-watch.js';
import { Call, Lane } from './lane.js';
import { Replay } from './replay.js';
import { Spool } from './spool.js';
import type { ReachSpoolCrashPoint } from './spool-crash-points.js';
import { realSpoolFiles, SpoolDisk, type SpoolFiles } from './spool-disk.js';
import type { SpoolReport } from './spool-health.js';
import { checkSpoolLimits, retryWaits, type SpoolLimits, segmentBytes } from './spool-limits.js';
import { SpoolMetrics } from './spool-metrics.js';
import type { SpoolObserver } from './spool-types.js';

export interface SpoolingAppenderOptions {
  readonly log: LogAppender;
  /** Of this collector alone; made where it is not there. */
  readonly folder: string;
  readonly limits: SpoolLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly reach: ReachSpoolCrashPoint;
  /** Default: the real ones. */
  readonly files?: SpoolFiles;
}

/**
 * Stands before the log and takes `spans` when the log does not (In6): an append that failed or hangs, and all that come while the circuit is open, go
 * to a bounded spool on disk, and from there to the log as soon as it takes them. An append resolves when its entries are durable in either. The
 * entries of a partition reach the log in the order of the calls: while some of them are in the spool, later ones go behind them; around
 * an append that failed they may be repeated. What is spooled when the process ends is replayed by the next `open`.
 */
export class SpoolingAppender implements DurableAppender {
  readonly #log: LogAppender;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: SpoolLimits;
  readonly #spool: Spool;
  readonly #metrics: SpoolMetrics;
  readonly #circuit: Circuit;
  readonly #replay: Replay;
  readonly #watch: HangWatch<Call>;
  readonly #lanes = new Map<number, Lane>();
  #sequence = 1;
  /** A call that is let through although the circuit is open, as there is nothing in the spool to try the log with. */
  #probe: Call | null = null;
  #awaySinceMs: number | null = null;
  #bytesWhenAway = 0;
  #lastFailure = '';

  constructor(options: SpoolingAppenderOptions) {
    const { log, folder, limits, clock, logger, reach, files = realSpoolFiles } = options;
    checkSpoolLimits(limits);
    this.#log = log;
    this.#clock = clock;
    this.#logger = logger;
    this.#limits = limits;
    this.#metrics = new SpoolMetrics(options.registry, () => this.report());
    const segmentBytesMax = segmentBytes(limits.bytesMax);
    const disk = new SpoolDisk({ folder, segmentBytesMax, files, logger, reach });
    this.#spool = new Spool(disk, limits, this.#observer(), reach, logger);
    const probe = { firstMs: limits.probeMs, maxMs: limits.probeMaxMs };
    this.#circuit = new Circuit({ failuresToOpen: limits.failuresToOpen, probe });
    this.#watch = new HangWatch(limits.hangMs, clock, (call) => this.#hung(call));
    this.#replay = new Replay({
      log,
      spool: this.#spool,
      circuit: this.#circuit,
      lanes: this.#lanes,
      limits,
      clock,
      logger,
      reach,
      observer: {
        handed: (lane) => this.#sendWaiting(lane),
        succeeded: (lane) => this.#answered(lane),
        failed: (lane, error) => this.#failed(lane, error),
        hung: (lane, beganMs) => this.#hangs(lane, beganMs),
        replayed: (spanCount) => this.#metrics.replayed(spanCount),
        unreplayable: (spanCount) => this.#metrics.unreplayable(spanCount),
        drained: () => this.#back(),
      },
    });
  }

  /** Finds what an earlier process left, and begins to replay it. Before the first `append`. Throws `configuration` and `unknown-version`. */
  async open(): Promise<void> {
    const next = await this.#spool.open();
    for (const sequence of next.values()) this.#sequence = Math.max(this.#sequence, sequence);
    this.#replay.begin(next);
    const { records, bytes } = this.#spool.state();
    if (records === 0) return;
    this.#logger.info({ records, bytes }, 'spool: replaying what an earlier process left');
    this.#away();
    this.#replay.pump();
  }

  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<DurableAppend> {
    if (topic !== TOPICS.spans || entries.length === 0) return this.#log.append(topic, partition, entries);
    const lane = this.#lane(partition);
    const sequence = this.#sequence;
    this.#sequence += entries.length;
    return new Promise((resolve, reject) => {
      this.#place(new Call(lane, entries, sequence, this.#clock.nowMs(), { resolve, reject }));
    });
  }

  #place(call: Call): void {
    const { lane } = call;
    if (lane.isClear && (!this.#circuit.isOpen || this.#isProbe(call))) {
      this.#send(call);
      return;
    }
    const mayWait =
      !this.#circuit.isOpen &&
      lane.failures === 0 &&
      !lane.isHanging &&
      lane.backlogBytes <= this.#limits.chunkBytesMax;
    if (mayWait && lane.waitingBytes + call.bytes <= this.#limits.waitBytesMax) {
      // The end of a replay: were these spooled too, there would always be something left to replay.
      lane.waiting.push(call);
      lane.waitingBytes += call.bytes;
      return;
    }
    this.#spoolWaiting(lane);
    this.#store(call);
  }

  #isProbe(call: Call): boolean {
    if (this.#probe || this.#replay.hasBacklog || this.#clock.monotonicMs() < this.#circuit.probeAtMs) return false;
    this.#probe = call;
    return true;
  }

  #send(call: Call): void {
    const { lane, entries } = call;
    call.begin();
    call.isWithLog = true;
    call.beganMs = this.#clock.monotonicMs();
    lane.unanswered++;
    this.#watch.add(call);
    this.#log.append(TOPICS.spans, lane.partition, entries).then(
      ({ firstOffset }) => {
        this.#settled(call);
        call.succeed(firstOffset);
        lane.succeeded();
        this.#answered(lane);
      },
      (error: unknown) => {
        const isProbe = this.#settled(call);
        const isFinal = isTooLarge(error);
        if (isProbe) this.#circuit.probeFailed(this.#clock.monotonicMs());
        if (!isFinal) this.#failed(lane, error);
        if (!isFinal && !call.isSpooled) this.#store(call, true);
        call.fail(error);
        this.#replay.pump();
      },
    );
  }

  /** Returns whether it was the probe. */
  #settled(call: Call): boolean {
    this.#watch.delete(call);
    call.isWithLog = false;
    call.lane.unanswered--;
    if (this.#probe !== call) return false;
    this.#probe = null;
    return true;
  }

  #hung(call: Call): void {
    this.#hangs(call.lane, call.beganMs);
    this.#store(call, true);
  }

  #store(call: Call, isRescue = false): void {
    const { lane, entries, bytes, arrivedMs } = call;
    call.begin();
    call.isSpooled = true;
    call.isStoring = true;
    lane.storing++;
    lane.storingBytes += bytes;
    if (isRescue) lane.rescuing++;
    this.#away();
    const { partition } = lane;
    const puts = entries.map((entry, i) =>
      this.#spool.put({ partition, sequence: call.sequence + i, arrivedMs, entry }),
    );
    void Promise.allSettled(puts).then((results) => {
      call.isStoring = false;
      lane.storing--;
      lane.storingBytes -= bytes;
      if (isRescue) lane.rescuing--;
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) call.fail(failed.reason);
      else call.succeed(-1);
      this.#sendWaiting(lane);
      this.#replay.pump();
      if (failed) this.#back();
    });
  }

  /** All that was before them was handed to the log: they follow, in one turn, so nothing can come between. */
  #sendWaiting(lane: Lane): void {
    if (lane.waiting.length === 0 || this.#circuit.isOpen) return;
    if (lane.queue.length > 0 || lane.storing > 0 || lane.replay === 'reading') return;
    const calls = lane.waiting.splice(0);
    lane.waitingBytes = 0;
    for (const call of calls) this.#send(call);
  }

  #spoolWaiting(lane: Lane): void {
    lane.waitingBytes = 0;
    for (const call of lane.waiting.splice(0)) this.#store(call);
  }

  #answered(lane: Lane): void {
    const wasOpen = this.#circuit.isOpen;
    this.#circuit.succeeded(this.#clock.monotonicMs());
    if (wasOpen) {
      for (const other of this.#lanes.values()) other.succeeded();
      const { records, bytes } = this.#spool.state();
      this.#logger.info({ records, bytes }, 'the log takes spans again: the spool is replayed');
    }
    if (wasOpen || lane.queue.length > 0) this.#replay.pump();
    if (wasOpen) this.#back();
  }

  #failed(lane: Lane, error: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    this.#lastFailure = messageOf(error);
    lane.failed(nowMs, retryWaits(this.#limits));
    if (this.#circuit.failed(nowMs)) this.#opened();
    this.#spoolWaiting(lane);
  }

  #hangs(lane: Lane, beganMs: number): void {
    this.#lastFailure = `no answer from the log to partition ${lane.partition} within ${this.#limits.hangMs} ms`;
    if (this.#circuit.hung(beganMs, this.#clock.monotonicMs())) this.#opened();
    this.#spoolWaiting(lane);
  }

  #opened(): void {
    this.#away();
    this.#logger.error({ detail: this.#lastFailure }, 'the log does not take spans: they go to the spool');
    for (const lane of this.#lanes.values()) this.#spoolWaiting(lane);
    this.#replay.pump();
  }

  #away(): void {
    if (this.#awaySinceMs !== null) return;
    this.#awaySinceMs = this.#clock.nowMs();
    this.#bytesWhenAway = this.#spool.state().bytes;
  }

  #back(): void {
    if (this.#awaySinceMs === null || this.#circuit.isOpen || this.#replay.hasBacklog) return;
    const awayMs = this.#clock.nowMs() - this.#awaySinceMs;
    this.#awaySinceMs = null;
    this.#logger.info({ awayMs, droppedSpans: this.#metrics.droppedSpans }, 'the spool is empty: spans go to the log');
  }

  #lane(partition: number): Lane {
    let lane = this.#lanes.get(partition);
    if (!lane) {
      lane = new Lane(partition);
      this.#lanes.set(partition, lane);
    }
    return lane;
  }

  #observer(): SpoolObserver {
    return {
      stored: (places) => {
        for (const place of places) {
          this.#lane(place.partition).queue.add(place);
          this.#sequence = Math.max(this.#sequence, place.sequence + 1);
        }
      },
      evicted: (segment) => {
        for (const lane of this.#lanes.values()) lane.queue.forget(segment);
      },
      dropped: (spoolClass, spanCount) => this.#metrics.dropped(spoolClass, spanCount),
      refused: (reason) => this.#metrics.refused(reason),
      damaged: (spanCount) => this.#metrics.unreplayable(spanCount),
    };
  }

  /** What health and metrics say. */
  report(): SpoolReport {
    const lanes = [...this.#lanes.values()];
    return {
      isOpen: this.#circuit.isOpen,
      awaySinceMs: this.#awaySinceMs,
      bytesWhenAway: this.#bytesWhenAway,
      nowMs: this.#clock.nowMs(),
      partitionsBehind: lanes.filter((lane) => !lane.isClear || lane.replay !== null).length,
      partitionsKnown: lanes.length,
      lastFailure: this.#lastFailure,
      bytesMax: this.#limits.bytesMax,
      spool: this.#spool.state(),
      droppedSpans: this.#metrics.droppedSpans,
    };
  }

  /** Finishes what was put, and what is being replayed if that takes no longer than `budgetMs`. What is spooled stays for the next start. */
  async close(budgetMs: number): Promise<void> {
    this.#watch.close();
    for (const lane of this.#lanes.values()) this.#spoolWaiting(lane);
    await this.#replay.close(budgetMs);
    await this.#spool.close();
  }
}

function isTooLarge(error: unknown): boolean {
  return error instanceof MeridianError && error.code === 'too-large';
}
