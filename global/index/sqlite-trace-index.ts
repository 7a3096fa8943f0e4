import { join } from 'node:path';
import type { Registry } from 'prom-client';
import type { RegionId, TraceId } from '../model/ids.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import { OneAtATime } from './folded.js';
import { FOLD_RECORDS_MIN } from './index-limits.js';
import { type IndexMetrics, indexMetrics } from './index-metrics.js';
import { applyTransaction } from './sqlite-apply.js';
import { type ConnectionSource, ReadOnlySource, SqliteConnection, WritableSource } from './sqlite-connection.js';
import { foldDays } from './sqlite-fold.js';
import { SqliteIndexReads } from './sqlite-reads.js';
import { clearAll, expireTraces, type SweepState } from './sqlite-retention.js';
import { openForWriting } from './sqlite-schema.js';
import type { FeedPosition, LocateOptions, ReceivedRecord, TraceIndex, TraceLocation } from './trace-index.js';

/** A transaction takes further calls of `apply` up to this many traces: it holds the event loop while it runs. */
export const TRACES_PER_TRANSACTION_MAX = 1000;
/** Calls of `apply` that wait for a transaction. */
export const PENDING_APPLIES_MAX = 4096;

export const INDEX_FILE = 'index.db';

export interface SqliteTraceIndexOptions {
  /** The folder of the file `index.db` (and SQLite's `-wal` and `-shm`); a writer makes it where it is missing. */
  readonly folder: string;
  /** A reader of a file that another process writes. It may not exist yet: calls then reject with `unavailable`. */
  readonly readOnly?: boolean;
  /** The region whose records keep their blocks. */
  readonly home: RegionId;
  readonly clock: Clock;
  readonly registry: Registry;
  readonly logger: Logger;
}

/**
 * The embedded index: one SQLite file (WAL, synchronous FULL), one writing process, any number of reading ones. One connection in
 * each; statements are short and run on the caller's thread.
 * Rejects with `unavailable` where the file cannot be opened for writing, with `unknown-version` where its layout is another build's.
 */
export async function openSqliteTraceIndex(options: SqliteTraceIndexOptions): Promise<TraceIndex> {
  const metrics = indexMetrics(options.registry);
  const file = join(options.folder, INDEX_FILE);
  if (options.readOnly) return new ReadOnlyIndex(new ReadOnlySource(file), options.clock, metrics);
  const connection = new SqliteConnection(openForWriting(file), true);
  return new WritableIndex(new WritableSource(connection), options, metrics);
}

/** Readers' half, measured; writing is refused. */
class ReadOnlyIndex extends SqliteIndexReads implements TraceIndex {
  constructor(
    source: ConnectionSource,
    private readonly timer: Clock,
    private readonly measured: IndexMetrics,
  ) {
    super(source);
  }

  override async locate(traceIds: readonly TraceId[], options?: LocateOptions): Promise<readonly TraceLocation[]> {
    const begun = this.timer.monotonicMs();
    const found = await super.locate(traceIds, options);
    this.measured.locateSeconds.observe((this.timer.monotonicMs() - begun) / 1000);
    return found;
  }

  async apply(_records: readonly ReceivedRecord[], _position?: FeedPosition): Promise<void> {
    throw this.#refused('apply');
  }

  async expire(_beforeUnixNano: bigint): Promise<number> {
    throw this.#refused('expire');
  }

  async fold(_beforeUnixNano: bigint, _recordsMin?: number): Promise<number> {
    throw this.#refused('fold');
  }

  async clear(): Promise<void> {
    throw this.#refused('clear');
  }

  #refused(what: string): MeridianError {
    return new MeridianError('refused', `index ${what}: this index is open for reading only`, 'never');
  }

  async close(): Promise<void> {
    this.source.close();
  }
}

interface PendingApply {
  readonly records: readonly ReceivedRecord[];
  readonly position: FeedPosition | null;
  resolve(): void;
  reject(error: unknown): void;
}

class WritableIndex extends ReadOnlyIndex implements TraceIndex {
  readonly #pending: PendingApply[] = [];
  readonly #folds = new OneAtATime('index fold');
  readonly #sweep: SweepState = { sweepAtTexts: 10_000 };
  #draining: Promise<void> | null = null;
  #closing = false;

  constructor(
    private readonly writable: WritableSource,
    private readonly options: SqliteTraceIndexOptions,
    private readonly metrics: IndexMetrics,
  ) {
    super(writable, options.clock, metrics);
  }

  /** Calls that come together share a transaction, and with it the wait for the disk. */
  override apply(records: readonly ReceivedRecord[], position: FeedPosition | null = null): Promise<void> {
    if (records.length === 0 && !position) return Promise.resolve();
    if (this.#closing) {
      return Promise.reject(new MeridianError('shutting-down', 'index apply: the index is closed', 'later'));
    }
    if (this.#pending.length >= PENDING_APPLIES_MAX) {
      return Promise.reject(
        new MeridianError('overloaded', `index apply: ${PENDING_APPLIES_MAX} calls wait already`, 'later'),
      );
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ records, position, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#commitSome();
    }
    this.#draining = null;
  }

  /** One transaction of what waits: whole calls in order, up to the limit but at least one. */
  #commitSome(): void {
    const records: ReceivedRecord[] = [];
    const positions: FeedPosition[] = [];
    let traces = 0;
    let calls = 0;
    for (const call of this.#pending) {
      const more = call.records.reduce((sum, record) => sum + record.traces.length, 0);
      if (calls > 0 && traces + more > TRACES_PER_TRANSACTION_MAX) break;
      traces += more;
      calls++;
      records.push(...call.records);
      if (call.position) positions.push(call.position);
    }
    const taken = this.#pending.splice(0, calls);
    const begun = this.options.clock.monotonicMs();
    try {
      const changed = this.writable.use('index apply', (connection) =>
        applyTransaction(connection, this.options.home, records, positions),
      );
      this.metrics.appliedTraces.inc(traces);
      this.metrics.changedRecords.inc(changed);
      this.metrics.applySeconds.observe((this.options.clock.monotonicMs() - begun) / 1000);
      for (const call of taken) call.resolve();
    } catch (error) {
      this.options.logger.warn({ err: error, calls }, 'index apply failed');
      for (const call of taken) call.reject(error);
    }
  }

  override async expire(beforeUnixNano: bigint): Promise<number> {
    const removed = await expireTraces(this.writable, beforeUnixNano, this.#sweep);
    this.metrics.expiredRecords.inc(removed);
    return removed;
  }

  override async fold(beforeUnixNano: bigint, recordsMin = FOLD_RECORDS_MIN): Promise<number> {
    const removed = await this.#folds.run(() => foldDays(this.writable, beforeUnixNano, recordsMin));
    this.metrics.foldedRecords.inc(removed);
    return removed;
  }

  override async clear(): Promise<void> {
    await this.#draining;
    this.writable.use('index clear', clearAll);
  }

  override async close(): Promise<void> {
    this.#closing = true;
    await this.#draining;
    await super.close();
  }
}
