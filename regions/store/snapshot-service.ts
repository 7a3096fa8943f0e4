import cron from 'node-cron';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { LogOffsets, LogReads } from '../../global/log/span-log.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { HealthCheck, PartHealth, Service } from '../../global/runtime/service.js';
import type { SegmentStoreWriter } from './segment-store.js';
import { RestoreMarker } from './snapshot-marker.js';
import {
  type SnapshotEngine,
  type SnapshotKind,
  type SnapshotPosition,
  type SnapshotRecord,
  type SnapshotRetention,
  snapshotFor,
  snapshotName,
  snapshotsToRemove,
} from './snapshot-record.js';
import { type ReplayCounts, type ReplaySpan, replayInto, replaySpans } from './snapshot-restore.js';

export interface SnapshotServiceOptions {
  readonly engine: SnapshotEngine;
  /** What the writers of the store read: their groups and topics. */
  readonly views: readonly { readonly group: string; readonly topic: string }[];
  readonly log: LogOffsets & LogReads;
  readonly store: SegmentStoreWriter;
  /** Stops what writes into the store, does the work, and starts it again, whatever the work's end. */
  readonly whileStopped: <T>(work: () => Promise<T>) => Promise<T>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** A file of the region's own: tells the next process that a restore was interrupted. */
  readonly markerFile: string;
  /** Five or six cron fields, UTC; empty: none of that kind. Default: minute 7 of every hour. */
  readonly hourlyCron?: string;
  /** Default: 00:37 every day. */
  readonly dailyCron?: string;
  /** Default 24. */
  readonly hourlyKept?: number;
  /** Default 8: a week of points in time, as far as the log goes back. */
  readonly dailyKept?: number;
  /** Where the beat comes from; node-cron where it is left out. Returns how to end it. */
  readonly schedule?: (expression: string, beat: () => void) => () => void;
}

export const SNAPSHOT_DEFAULTS = {
  hourlyCron: '7 * * * *',
  dailyCron: '37 0 * * *',
  hourlyKept: 24,
  dailyKept: 8,
} as const;
/** A newest snapshot older than this shows in health, where hourly or daily ones are scheduled. */
const AGE_DEGRADED_MS = { hourly: 3 * 3_600_000, daily: 50 * 3_600_000 } as const;

export interface SnapshotStatus {
  /** Newest first. */
  readonly snapshots: readonly SnapshotRecord[];
  readonly lastFailure: { readonly atMs: number; readonly what: string; readonly error: string } | null;
  readonly restore: RestoreStatus | null;
}

export interface RestoreStatus {
  readonly snapshot: string;
  readonly toMs: number | null;
  readonly stage: 'copying' | 'replaying' | 'done' | 'failed';
  readonly blocks: number;
  readonly unreadable: number;
  readonly error?: string;
}

export interface RestoreRequest {
  /** The state of the store is to be that of this moment (Unix ms); null: of now. */
  readonly toMs: number | null;
  /** A snapshot by name; left out: the newest at or before the time. */
  readonly snapshot?: string;
}

/** What a restore would do. */
export interface RestorePlan {
  readonly snapshot: SnapshotRecord;
  readonly toMs: number | null;
  /** What of the log would be written again, per partition; `end` as of now. */
  readonly replay: readonly ReplaySpan[];
}

/** Takes snapshots on a schedule and on request, one thing at a time, and restores the store to a point in time. */
export interface Snapshots extends Service {
  create(kind?: SnapshotKind): Promise<SnapshotRecord>;
  status(): Promise<SnapshotStatus>;
  /** What `restore` would do now, without doing any of it. Rejects as it would. */
  plan(request: RestoreRequest): Promise<RestorePlan>;
  /**
   * Puts the store into the state of a snapshot and writes again, from the log, what came after it and until the time. Writers stand still meanwhile. Afterwards they go
   * on at the end of the log: what came after a time in the past stays out of the store, and `meridian replay store --from TIME` brings it in. Rejects with
   * `not-found` where no snapshot is old enough, `refused` where the log does not go back to it; the store is untouched then. Where it fails later the store is
   * incomplete, health says so, and restoring again is safe.
   */
  restore(request: RestoreRequest): Promise<RestoreStatus>;
  /** The same, but resolves when the restore has begun and can no longer be refused; `status` tells how it goes on. */
  beginRestore(request: RestoreRequest): Promise<RestoreStatus>;
  health(): HealthCheck;
}

export function createSnapshots(options: SnapshotServiceOptions): Snapshots {
  return new SnapshotService(options);
}

type CompleteOptions = SnapshotServiceOptions &
  SnapshotRetention & { readonly hourlyCron: string; readonly dailyCron: string };

class SnapshotService implements Snapshots {
  readonly #options: CompleteOptions;
  readonly #marker: RestoreMarker;
  readonly #failures: Counter<'what'>;
  readonly #taken: Counter<'kind'>;
  #newestMs = 0;
  #lastFailure: SnapshotStatus['lastFailure'] = null;
  #restore: RestoreStatus | null = null;
  #busy: string | null = null;
  #ends: (() => void)[] = [];
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: SnapshotServiceOptions) {
    this.#options = { ...SNAPSHOT_DEFAULTS, ...options };
    this.#marker = new RestoreMarker(options.markerFile);
    const registers = [options.registry];
    this.#failures = new Counter({
      name: 'meridian_snapshot_failures_total',
      help: 'Snapshots and restores that failed',
      labelNames: ['what'],
      registers,
    });
    this.#taken = new Counter({
      name: 'meridian_snapshot_taken_total',
      help: 'Snapshots taken',
      labelNames: ['kind'],
      registers,
    });
    const age = () => (this.#newestMs === 0 ? Number.NaN : (options.clock.nowMs() - this.#newestMs) / 1000);
    new Gauge({
      name: 'meridian_snapshot_newest_age_seconds',
      help: 'Age of the newest snapshot; NaN where there is none',
      registers,
      collect() {
        this.set(age());
      },
    });
  }

  async start(): Promise<void> {
    const snapshot = await this.#marker.read();
    if (snapshot !== null) {
      const error = 'the process ended before it was done; restore again';
      this.#restore = { snapshot, toMs: null, stage: 'failed', blocks: 0, unreadable: 0, error };
      this.#options.logger.error({ snapshot }, `a restore was interrupted: the store is incomplete; ${error}`);
    }
    const { hourlyCron, dailyCron, schedule = scheduleWithCron } = this.#options;
    // Without a schedule there need not even be a place for snapshots.
    if (hourlyCron || dailyCron) await this.#list().catch((error: unknown) => this.#failed('list', error));
    for (const [kind, expression] of [
      ['hourly', hourlyCron],
      ['daily', dailyCron],
    ] as const) {
      if (expression) this.#ends.push(schedule(expression, () => this.#beat(kind)));
    }
  }

  async stop(): Promise<void> {
    for (const end of this.#ends.splice(0)) end();
    await this.#running.catch(() => {});
  }

  create(kind: SnapshotKind = 'manual'): Promise<SnapshotRecord> {
    return this.#alone(`snapshot (${kind})`, () => this.#create(kind));
  }

  async status(): Promise<SnapshotStatus> {
    return { snapshots: await this.#list(), lastFailure: this.#lastFailure, restore: this.#restore };
  }

  async plan({ toMs, snapshot: name }: RestoreRequest): Promise<RestorePlan> {
    const snapshot = this.#chosen(await this.#list(), toMs, name);
    // Where the log no longer goes back to the snapshot, this rejects.
    return { snapshot, toMs, replay: await replaySpans(this.#options.log, snapshot.positions, toMs) };
  }

  restore(request: RestoreRequest): Promise<RestoreStatus> {
    return this.#alone('restore', () => this.#restoreTo(request));
  }

  beginRestore(request: RestoreRequest): Promise<RestoreStatus> {
    return new Promise((resolve, reject) => {
      this.#alone('restore', () => this.#restoreTo(request, resolve)).catch((error: unknown) => {
        this.#options.logger.error({ error: messageOf(error) }, 'restore failed');
        // Of no effect where it had begun.
        reject(error);
      });
    });
  }

  health(): HealthCheck {
    return { part: 'snapshots', check: async () => this.#health() };
  }

  #beat(kind: SnapshotKind): void {
    this.create(kind).catch((error: unknown) =>
      this.#options.logger.warn({ kind, error: messageOf(error) }, 'scheduled snapshot failed; the next one comes'),
    );
  }

  /** One at a time: a snapshot of a store that is being restored would be worth nothing. */
  async #alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new MeridianError('refused', `${what}: a ${this.#busy} is under way`, 'later');
    this.#busy = what;
    try {
      const running = work();
      this.#running = running;
      const result = await running;
      this.#lastFailure = null;
      return result;
    } catch (error) {
      this.#failed(what, error);
      throw error;
    } finally {
      this.#busy = null;
    }
  }

  #failed(what: string, error: unknown): void {
    this.#failures.inc({ what });
    this.#lastFailure = { atMs: this.#options.clock.nowMs(), what, error: messageOf(error) };
  }

  async #create(kind: SnapshotKind): Promise<SnapshotRecord> {
    const { engine, clock, logger } = this.#options;
    if (this.#restore?.stage === 'failed') {
      const message = `snapshot (${kind}): the restore of ${this.#restore.snapshot} has not ended well, the store is incomplete: restore again first`;
      throw new MeridianError('refused', message, 'later');
    }
    // Committed comes after stored: whatever lies before these offsets is in the copy.
    const positions = await this.#positions();
    const takenMs = clock.nowMs();
    const record = { name: snapshotName(kind, takenMs), kind, takenMs, positions };
    await engine.create(record);
    this.#taken.inc({ kind });
    this.#newestMs = takenMs;
    logger.info({ name: record.name, tookMs: clock.nowMs() - takenMs }, 'took a snapshot of the store');
    for (const { name } of snapshotsToRemove(await engine.list(), this.#options)) await engine.remove(name);
    return record;
  }

  async #positions(): Promise<SnapshotPosition[]> {
    const { log, views } = this.#options;
    return Promise.all(
      views.map(async ({ group, topic }) => {
        const [committed, starts] = await Promise.all([log.committed(group, topic), log.starts(topic)]);
        return { group, topic, offsets: starts.map((start, partition) => committed[partition] ?? start) };
      }),
    );
  }

  async #list(): Promise<SnapshotRecord[]> {
    const records = [...(await this.#options.engine.list())].sort((a, b) => b.takenMs - a.takenMs);
    this.#newestMs = records[0]?.takenMs ?? 0;
    return records;
  }

  async #restoreTo(
    { toMs, snapshot }: RestoreRequest,
    begun: (status: RestoreStatus) => void = () => {},
  ): Promise<RestoreStatus> {
    const { engine, log, store, whileStopped, clock, logger } = this.#options;
    // Before anything is touched: whether it can be done at all.
    const { snapshot: record } = await this.plan({ toMs, ...(snapshot === undefined ? {} : { snapshot }) });
    let status: RestoreStatus = { snapshot: record.name, toMs, stage: 'copying', blocks: 0, unreadable: 0 };
    const tell = (change: Partial<RestoreStatus>) => {
      status = { ...status, ...change };
      this.#restore = status;
    };
    logger.warn({ snapshot: record.name, toMs }, 'restoring the store: it is incomplete until this ends');
    const startMs = clock.nowMs();
    const before = this.#restore;
    let touched = false;
    try {
      await whileStopped(async () => {
        // Should we end after this, writers begin with what the snapshot does not have.
        for (const { group, topic, offsets } of record.positions) {
          for (const [partition, offset] of offsets.entries()) await log.rewind(group, topic, partition, offset);
        }
        await this.#marker.set(record.name);
        touched = true;
        tell({});
        begun(status);
        await engine.restore(record.name);
        tell({ stage: 'replaying' });
        const spans = await replaySpans(log, record.positions, toMs);
        const counts = await replayInto(store, log, spans, (so: ReplayCounts) => tell({ ...so }));
        for (const { group, topic, partition, to, end } of spans) {
          await log.rewind(group, topic, partition, toMs === null ? to : end);
        }
        await this.#marker.clear();
        tell({ stage: 'done', ...counts });
      });
    } catch (error) {
      if (touched) tell({ stage: 'failed', error: messageOf(error) });
      else this.#restore = before;
      throw error;
    }
    logger.info({ ...status, tookMs: clock.nowMs() - startMs }, 'restored the store');
    return status;
  }

  #chosen(records: readonly SnapshotRecord[], toMs: number | null, name: string | undefined): SnapshotRecord {
    const time = toMs ?? Number.MAX_SAFE_INTEGER;
    const record = name === undefined ? snapshotFor(records, time) : records.find((one) => one.name === name);
    const known = records.map((one) => one.name).join(', ') || 'none';
    const wanted = name ?? (toMs === null ? 'of the newest snapshot' : `to ${new Date(toMs).toISOString()}`);
    if (!record)
      throw new MeridianError('not-found', `restore ${wanted}: no such snapshot; there are: ${known}`, 'never');
    if (record.takenMs > time) {
      throw new MeridianError('invalid', `restore ${wanted}: it was taken after the time that is asked for`, 'never');
    }
    return record;
  }

  #health(): PartHealth {
    const part = 'snapshots';
    const { hourlyCron, dailyCron, clock } = this.#options;
    const restore = this.#restore;
    if (restore && restore.stage !== 'done') {
      const detail = `restore of ${restore.snapshot}: ${restore.stage}, ${restore.blocks} blocks replayed${restore.error ? `: ${restore.error}` : ''}; the store is incomplete`;
      return { part, state: restore.stage === 'failed' ? 'down' : 'degraded', detail };
    }
    if (this.#lastFailure) {
      const { what, error, atMs } = this.#lastFailure;
      return { part, state: 'degraded', detail: `${what}: ${error}`, sinceMs: atMs };
    }
    const ageMs = clock.nowMs() - this.#newestMs;
    const limitMs = hourlyCron ? AGE_DEGRADED_MS.hourly : dailyCron ? AGE_DEGRADED_MS.daily : null;
    if (limitMs !== null && this.#newestMs > 0 && ageMs > limitMs) {
      return { part, state: 'degraded', detail: `the newest snapshot is ${Math.round(ageMs / 60_000)} minutes old` };
    }
    return { part, state: 'ok' };
  }
}

function scheduleWithCron(expression: string, beat: () => void): () => void {
  if (!cron.validate(expression)) {
    throw new MeridianError('configuration', `snapshot schedule: "${expression}" is no cron expression`, 'never');
  }
  const task = cron.schedule(expression, beat, { timezone: 'UTC' });
  return () => void task.destroy();
}
