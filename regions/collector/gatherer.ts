import type { LogEntry } from '../../global/log/span-log.js';
import { TOPICS } from '../../global/log/topics.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { ReachCrashPoint } from '../../global/runtime/crash-points.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { spansRecordHeaders } from '../log/spans-record.js';
import type { BufferPool } from './buffer-pool.js';
import type { DurableAppender } from './spool/durable-appender.js';

/** The spans of one request that belong to one partition: `TracesData`. */
export interface PartitionPiece {
  readonly partition: number;
  readonly bytes: Uint8Array;
  readonly spanCount: number;
}

export interface GathererOptions {
  readonly log: DurableAppender;
  readonly clock: Clock;
  readonly crash: ReachCrashPoint;
  readonly pool: BufferPool;
  readonly collectorId: string;
  /** This start of the collector, random (uint32): with a sequence that grows it is the stamp of each record. */
  readonly instance: number;
  /** How long pieces wait for company at most, while appends are under way. */
  readonly gatherMs: number;
  /** The same while the log has nothing to do. */
  readonly gatherIdleMs: number;
  /** A partition that holds as much is appended without waiting further. */
  readonly gatherBytesMax: number;
  /** A record holds no more, unless a single piece is larger: pieces are never cut. */
  readonly recordBytesMax: number;
  readonly observer: GatherObserver;
}

/** What happened, for metrics and health. */
export interface GatherObserver {
  appended(partition: number, bytes: number, pieces: number): void;
  appendFailed(partition: number, error: MeridianError): void;
}

/** Settles when every partition that the request touched has. */
interface Waiter {
  open: number;
  failure: MeridianError | null;
  resolve(): void;
  reject(error: MeridianError): void;
}

interface Gathering {
  openedMs: number;
  bytes: number;
  readonly pieces: Uint8Array[];
  readonly waiters: Waiter[];
}

/**
 * Turns many small requests into few large records: pieces of all requests wait for company, then every partition that has some gets ONE
 * record, `TracesData` messages joined by concatenation. They wait until the appends under way are done, but no longer than `gatherMs`: a log
 * that is busy would let them wait anyway, and an idle one is used almost at once. The appends of one partition keep the order of the calls.
 * It bounds nothing by itself: whoever calls it is admitted first (admission.ts).
 */
export class Gatherer {
  readonly #options: GathererOptions;
  readonly #open = new Map<number, Gathering>();
  readonly #appending = new Set<Promise<void>>();
  #sequence = 0;
  #timer: object | null = null;
  #closed = false;

  constructor(options: GathererOptions) {
    this.#options = options;
  }

  /**
   * Resolves when all pieces are durable. Rejects when any could not be appended, with the error that weighs most (a permanent one before
   * a passing one); the others may be in the log all the same, and again after a retry: readers de-duplicate.
   */
  append(pieces: readonly PartitionPiece[]): Promise<void> {
    if (pieces.length === 0) return Promise.resolve();
    if (this.#closed) {
      return Promise.reject(new MeridianError('shutting-down', 'the collector is shutting down', 'later'));
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { open: pieces.length, failure: null, resolve, reject };
      for (const piece of pieces) this.#add(piece, waiter);
      this.#startTimer();
    });
  }

  /** Appends what waits and resolves when nothing is under way any more. Later calls of `append` reject with `shutting-down`. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#flushAll();
    await Promise.allSettled([...this.#appending]);
  }

  #add(piece: PartitionPiece, waiter: Waiter): void {
    const { gatherBytesMax, recordBytesMax, clock } = this.#options;
    let gathering = this.#open.get(piece.partition);
    if (gathering && gathering.bytes + piece.bytes.length > recordBytesMax) {
      this.#flush(piece.partition, gathering);
      gathering = undefined;
    }
    if (!gathering) {
      gathering = { openedMs: clock.nowMs(), bytes: 0, pieces: [], waiters: [] };
      this.#open.set(piece.partition, gathering);
    }
    gathering.bytes += piece.bytes.length;
    gathering.pieces.push(piece.bytes);
    gathering.waiters.push(waiter);
    if (gathering.bytes >= gatherBytesMax) this.#flush(piece.partition, gathering);
  }

  #startTimer(): void {
    if (this.#timer || this.#open.size === 0) return;
    // Not aborted when it is of no use any more: at this rate that costs more than to let it wake and find so.
    const timer = {};
    this.#timer = timer;
    const { clock, gatherIdleMs, gatherMs } = this.#options;
    void clock.sleep(this.#appending.size === 0 ? gatherIdleMs : gatherMs).then(() => {
      if (this.#timer === timer) this.#flushAll();
    });
  }

  #flushAll(): void {
    this.#timer = null;
    for (const [partition, gathering] of this.#open) this.#flush(partition, gathering);
  }

  #flush(partition: number, gathering: Gathering): void {
    this.#open.delete(partition);
    const appending = this.#append(partition, gathering).then(
      () => settle(gathering.waiters, null),
      (error: unknown) => {
        const failure = appendFailure(error, partition);
        this.#options.observer.appendFailed(partition, failure);
        settle(gathering.waiters, failure);
      },
    );
    this.#appending.add(appending);
    void appending.finally(() => {
      this.#appending.delete(appending);
      if (this.#appending.size === 0 && this.#open.size > 0) this.#flushAll();
    });
  }

  async #append(partition: number, gathering: Gathering): Promise<void> {
    const { log, crash, pool, collectorId, instance, observer } = this.#options;
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) >>> 0;
    const joined = gathering.pieces.length > 1 ? pool.join(gathering.pieces, gathering.bytes) : null;
    const entry: LogEntry = {
      key: null,
      value: joined ? joined.bytes : gathering.pieces[0]!,
      headers: spansRecordHeaders({ stamp: { instance, sequence }, receivedMs: gathering.openedMs, collectorId }),
    };
    crash('collector.before-append');
    const { isStillRead } = await log.append(TOPICS.spans, partition, [entry]);
    // Only here: after a rejection the log may still be reading.
    if (!isStillRead) joined?.release();
    crash('collector.after-append');
    observer.appended(partition, gathering.bytes, gathering.pieces.length);
  }
}

function settle(waiters: readonly Waiter[], failure: MeridianError | null): void {
  for (const waiter of waiters) {
    if (failure && (!waiter.failure || failure.retry === 'never')) waiter.failure = failure;
    if (--waiter.open > 0) continue;
    if (waiter.failure) waiter.reject(waiter.failure);
    else waiter.resolve();
  }
}

/**
 * What the client is told. `too-large` is its own doing and permanent; every other failure of the log passes, or is ours to mend,
 * and the spans are good: send them again later.
 */
function appendFailure(error: unknown, partition: number): MeridianError {
  if (error instanceof MeridianError && (error.code === 'too-large' || error.retry === 'later')) return error;
  return new MeridianError(
    'unavailable',
    `appending to partition ${partition} of ${TOPICS.spans}: ${messageOf(error)}`,
    'later',
    { cause: error },
  );
}
