import type { LogAppender, LogEntry } from '../../../global/log/span-log.js';
import { TOPICS } from '../../../global/log/topics.js';
import type { Clock } from '../../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { Logger } from '../../../global/runtime/logger.js';
import type { Circuit } from './circuit.js';
import { HangWatch, type Watched } from './hang-watch.js';
import type { Lane } from './lane.js';
import type { Spool } from './spool.js';
import type { ReachSpoolCrashPoint } from './spool-crash-points.js';
import { retryWaits, type SpoolLimits } from './spool-limits.js';
import type { Place } from './spool-types.js';

export interface ReplayObserver {
  /** All that is queued of the lane was handed to the log, in this very turn: what follows it may be sent. */
  handed(lane: Lane): void;
  succeeded(lane: Lane): void;
  failed(lane: Lane, error: unknown): void;
  hung(lane: Lane, beganMs: number): void;
  replayed(spanCount: number): void;
  /** Spans that the log refuses for good. */
  unreplayable(spanCount: number): void;
  /** Something was replayed and is durable; perhaps all. */
  drained(): void;
}

export interface ReplayOptions {
  readonly log: LogAppender;
  readonly spool: Spool;
  readonly circuit: Circuit;
  readonly lanes: ReadonlyMap<number, Lane>;
  readonly limits: SpoolLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly reach: ReachSpoolCrashPoint;
  readonly observer: ReplayObserver;
}

/** Records of one partition on their way back. */
interface Chunk extends Watched {
  readonly lane: Lane;
  readonly records: readonly (readonly Place[])[];
  readonly bytes: number;
  readonly isProbe: boolean;
  beganMs: number;
}

const RECORDS_MAX = 1024;
/** Attempts to read a file that fails; the next failure counts what it holds as damaged. */
const READ_FAILURES_MAX = 5;

/**
 * Brings spooled records to the log: each partition in its order, one append of it at a time, partitions side by side with the oldest first. While the
 * circuit is open it tries with one record after each wait. It holds no thread of control of its own: `pump` starts what can be started, and every
 * answer calls it again. Records leave the spool when the log has them and the position is durable.
 */
export class Replay {
  readonly #options: ReplayOptions;
  readonly #watch: HangWatch<Chunk>;
  readonly #closed = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;
  #probe: Chunk | null = null;
  #next = new Map<number, number>();
  #done: Place[] = [];
  #committing: Promise<void> | null = null;
  #wake = new AbortController();
  /** The spool may be closed. */
  #isOver = false;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#watch = new HangWatch(options.limits.hangMs, options.clock, (chunk) => this.#hung(chunk));
  }

  /** `next`: the position that an earlier process reached. */
  begin(next: ReadonlyMap<number, number>): void {
    this.#next = new Map(next);
  }

  /** Whether anything is in the spool, on its way there or back. */
  get hasBacklog(): boolean {
    if (this.#running.size > 0 || this.#done.length > 0 || this.#committing) return true;
    for (const { queue, storing, waiting } of this.#options.lanes.values()) {
      if (queue.length > 0 || storing > 0 || waiting.length > 0) return true;
    }
    return false;
  }

  pump(): void {
    if (this.#closed.signal.aborted) return;
    const { circuit, clock, limits } = this.#options;
    this.#wake.abort();
    const nowMs = clock.monotonicMs();
    const replayable = [...this.#options.lanes.values()].filter((lane) => lane.isReplayable);
    if (replayable.length === 0) return;
    replayable.sort((a, b) => a.queue.firstSequence - b.queue.firstSequence);
    if (circuit.isOpen) {
      if (this.#probe) return;
      if (nowMs < circuit.probeAtMs) this.#pumpAt(circuit.probeAtMs);
      else this.#start(replayable[0]!, 1, true);
      return;
    }
    let retryAtMs = Number.POSITIVE_INFINITY;
    for (const lane of replayable) {
      if (lane.retryAtMs > nowMs) retryAtMs = Math.min(retryAtMs, lane.retryAtMs);
      else if (this.#bytes < limits.replayBytesMax) this.#start(lane, lane.isSingle ? 1 : RECORDS_MAX, false);
    }
    if (retryAtMs < Number.POSITIVE_INFINITY) this.#pumpAt(retryAtMs);
  }

  #pumpAt(atMs: number): void {
    const { clock } = this.#options;
    const wake = new AbortController();
    this.#wake = wake;
    void clock.sleep(atMs - clock.monotonicMs(), wake.signal).then(() => {
      if (!wake.signal.aborted) this.pump();
    });
  }

  #start(lane: Lane, recordsMax: number, isProbe: boolean): void {
    const { spool, limits } = this.#options;
    const records = lane.queue.take(limits.chunkBytesMax, recordsMax);
    const places = records.flat();
    spool.pin(places);
    const bytes = places.reduce((sum, place) => sum + place.valueBytes, 0);
    const chunk: Chunk = { lane, records, bytes, isProbe, beganMs: 0 };
    lane.replay = 'reading';
    this.#bytes += bytes;
    if (isProbe) this.#probe = chunk;
    const running = this.#run(chunk).finally(() => {
      this.#running.delete(running);
      this.#bytes -= bytes;
      this.pump();
      this.#options.observer.drained();
    });
    this.#running.add(running);
  }

  async #run(chunk: Chunk): Promise<void> {
    const { lane, records } = chunk;
    const { spool, reach } = this.#options;
    let isRead = false;
    try {
      const entries: LogEntry[] = [];
      for (const places of records) {
        const entry = await spool.read(places, lane.readFailures >= READ_FAILURES_MAX);
        if (entry) entries.push(entry);
      }
      isRead = true;
      lane.readFailures = 0;
      reach('spool.before-replay');
      await this.#append(chunk, entries);
      reach('spool.after-replay');
      if (this.#probe === chunk) this.#probe = null;
      this.#succeeded(chunk);
    } catch (error) {
      if (this.#probe === chunk) this.#probe = null;
      if (error instanceof MeridianError && error.code === 'too-large') await this.#refused(chunk, error);
      else this.#failed(chunk, error, isRead);
    }
    lane.replay = null;
  }

  async #append(chunk: Chunk, entries: readonly LogEntry[]): Promise<void> {
    const { lane } = chunk;
    const { log, clock, observer } = this.#options;
    chunk.beganMs = clock.monotonicMs();
    this.#watch.add(chunk);
    lane.unanswered++;
    const appended = entries.length > 0 ? log.append(TOPICS.spans, lane.partition, entries) : Promise.resolve();
    lane.replay = 'with-log';
    observer.handed(lane);
    try {
      await appended;
    } finally {
      this.#watch.delete(chunk);
      lane.isHanging = false;
      lane.unanswered--;
    }
  }

  #hung(chunk: Chunk): void {
    const { circuit, clock, observer } = this.#options;
    // Its answer is still waited for, nothing else of the lane goes before.
    chunk.lane.isHanging = true;
    observer.hung(chunk.lane, chunk.beganMs);
    if (this.#probe !== chunk) return;
    this.#probe = null;
    circuit.probeFailed(clock.monotonicMs());
    this.pump();
  }

  #succeeded(chunk: Chunk): void {
    const { lane, records } = chunk;
    lane.succeeded();
    lane.isSingle = false;
    this.#options.observer.replayed(spansOf(records));
    this.#finish(chunk);
    this.#options.observer.succeeded(lane);
  }

  #finish({ lane, records }: Chunk): void {
    this.#next.set(lane.partition, records.at(-1)![0]!.sequence + 1);
    this.#done.push(...records.flat());
    this.#committing ??= this.#commit();
  }

  #failed(chunk: Chunk, error: unknown, isOfLog: boolean): void {
    const { lane, records, isProbe } = chunk;
    const { spool, circuit, clock, limits, logger, observer } = this.#options;
    spool.release(records.flat());
    lane.queue.putBack(records);
    // What the log refused counts where it is reported.
    if (!isOfLog) {
      lane.readFailures++;
      lane.failed(clock.monotonicMs(), retryWaits(limits));
    }
    logger.warn({ partition: lane.partition, detail: messageOf(error) }, 'spool: a replay failed, and is repeated');
    if (isOfLog) observer.failed(lane, error);
    if (isProbe) circuit.probeFailed(clock.monotonicMs());
  }

  /** The log says that a record is too large for it: which one is found by going one by one, and that one is set aside. */
  async #refused(chunk: Chunk, error: MeridianError): Promise<void> {
    const { lane, records } = chunk;
    const { spool, logger, observer } = this.#options;
    if (records.length > 1) {
      lane.isSingle = true;
      spool.release(records.flat());
      lane.queue.putBack(records);
      return;
    }
    const [places] = records;
    // Until it is aside nothing of the lane goes on.
    lane.replay = 'reading';
    const { partition, sequence } = places![0]!;
    const entry = await spool.read(places!, true);
    const spanCount = spansOf(records);
    const path =
      entry && (await spool.setAside({ partition, sequence, arrivedMs: 0, entry }, spanCount).catch(() => null));
    logger.error(
      { partition, spanCount, path, detail: error.message },
      'spool: the log refuses a record for good; it is set aside',
    );
    observer.unreplayable(spanCount);
    this.#finish(chunk);
    // It answered: it is there.
    observer.succeeded(lane);
  }

  async #commit(): Promise<void> {
    // What was replayed in the same turn goes together.
    await Promise.resolve();
    while (this.#done.length > 0 && !this.#isOver) {
      const places = this.#done.splice(0);
      try {
        await this.#options.spool.done(this.#next, places);
      } catch (error) {
        this.#options.logger.warn({ detail: messageOf(error) }, 'spool: the replay position cannot be written');
      }
    }
    this.#committing = null;
    this.#options.observer.drained();
  }

  /** Starts nothing more, and waits for what is under way no longer than `budgetMs`. */
  async close(budgetMs: number): Promise<void> {
    this.#closed.abort();
    this.#wake.abort();
    this.#watch.close();
    const ended = new AbortController();
    const finished = Promise.allSettled([...this.#running]);
    await Promise.race([finished, this.#options.clock.sleep(budgetMs, ended.signal)]);
    ended.abort();
    await this.#committing;
    this.#isOver = true;
  }
}

function spansOf(records: readonly (readonly Place[])[]): number {
  return records.flat().reduce((sum, { spanCount }) => sum + spanCount, 0);
}
