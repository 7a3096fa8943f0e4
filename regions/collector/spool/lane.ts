import type { LogEntry } from '../../../global/log/span-log.js';
import { type BackoffRange, backoffMs } from '../../../global/runtime/backoff.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { DurableAppend } from './durable-appender.js';
import { LaneQueue } from './lane-queue.js';

/** One call of `append` until its caller is told. */
export class Call {
  /** Monotonic, of the moment at which the log got it. */
  beganMs = 0;
  /** The log has it and has not answered. */
  isWithLog = false;
  /** It went to the spool: it is not sent there twice. */
  isSpooled = false;
  /** It is on its way into the spool. */
  isStoring = false;
  /** Attempts, of the log and of the spool, that may still succeed. */
  #open = 0;
  #isSettled = false;
  readonly #failures: unknown[] = [];

  constructor(
    readonly lane: Lane,
    readonly entries: readonly LogEntry[],
    /** Of the first entry. */
    readonly sequence: number,
    readonly arrivedMs: number,
    private readonly settle: { resolve(append: DurableAppend): void; reject(error: unknown): void },
  ) {}

  get bytes(): number {
    return this.entries.reduce((sum, { value }) => sum + value.length, 0);
  }

  begin(): void {
    this.#open++;
  }

  succeed(firstOffset: number): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.settle.resolve(this.isWithLog || this.isStoring ? { firstOffset, isStillRead: true } : { firstOffset });
  }

  /** One of its attempts failed; with the last one the caller is told, by all of them. */
  fail(error: unknown): void {
    this.#failures.push(error);
    if (--this.#open > 0 || this.#isSettled) return;
    this.#isSettled = true;
    const [first] = this.#failures;
    const final = this.#failures.find((failure) => failure instanceof MeridianError && failure.code === 'too-large');
    const all = this.#failures.map(messageOf).join('; ');
    const isOne = final !== undefined || this.#failures.length === 1;
    this.settle.reject(isOne ? (final ?? first) : new MeridianError('unavailable', all, 'later', { cause: first }));
  }
}

/** What the spool knows of one partition. */
export class Lane {
  readonly queue: LaneQueue;
  /** Calls that wait in memory for the last spooled records to be handed to the log, in order. */
  waiting: Call[] = [];
  waitingBytes = 0;
  /** Appends at the log, of calls and of replays, without an answer. */
  unanswered = 0;
  /** Calls on their way into the spool. */
  storing = 0;
  storingBytes = 0;
  /** Those of them that the log had first: their place is before others. */
  rescuing = 0;
  /** Records on their way back from the spool: being read, or with the log. */
  replay: 'reading' | 'with-log' | null = null;
  /** The log has not answered to a replay for longer than the limit. */
  isHanging = false;
  /** Appends that failed one after the other, and when to replay again. */
  failures = 0;
  retryAtMs = 0;
  /** Reads of the spool's files that failed one after the other. */
  readFailures = 0;
  /** The next replay is of one record only, to find the one that the log refuses. */
  isSingle = false;

  constructor(readonly partition: number) {
    this.queue = new LaneQueue(partition);
  }

  /** Nothing is before the next call that the log has not at least been handed. */
  get isClear(): boolean {
    if (this.queue.length > 0 || this.storing > 0 || this.waiting.length > 0) return false;
    // What the log has is before it already, unless that is likely to come back.
    return this.replay === null || (this.replay === 'with-log' && this.failures === 0 && !this.isHanging);
  }

  failed(nowMs: number, wait: BackoffRange): void {
    this.failures++;
    this.retryAtMs = nowMs + backoffMs(wait, this.failures);
  }

  succeeded(): void {
    this.failures = 0;
    this.retryAtMs = 0;
  }

  /** Something of it can be replayed, and nothing that belongs before it is still under way. */
  get isReplayable(): boolean {
    return this.queue.length > 0 && this.replay === null && this.unanswered === 0 && this.rescuing === 0;
  }

  /** Bytes that stand before a call, in the spool or on their way there. */
  get backlogBytes(): number {
    return this.queue.valueBytes + this.storingBytes;
  }
}
