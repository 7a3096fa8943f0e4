import type { RegionId } from '../../global/model/ids.js';
import type { RegionStatus } from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { admitCall, afterEvent, BREAKER_CLOSED, type BreakerOptions, type BreakerState } from './breaker.js';
import type { RegionFailure } from './outcome.js';

export interface RegionHealthOptions extends BreakerOptions {
  /** A timeout counts against the region only if it had at least this long: a caller's tiny deadline must not open the circuit for all. */
  readonly timeoutCountsFromMs: number;
  /** A region whose polls fail for this long counts as lost. */
  readonly lostAfterMs: number;
}

export const REGION_HEALTH_DEFAULTS: RegionHealthOptions = {
  failuresMax: 3,
  openMs: 5000,
  timeoutCountsFromMs: 500,
  lostAfterMs: 30_000,
};

/** What the last failure was, and since when the region has been failing. */
export interface Failing {
  readonly failure: RegionFailure;
  /** Wall clock of the first failure after the last success. */
  readonly sinceMs: number;
}

/**
 * What this router remembers of one region: its breaker, since when it fails, its last status. Lost with the process and learnt
 * again within seconds. Reads and health polls are told apart: a region whose polls succeed may still answer garbage.
 */
export class RegionHealth {
  #breaker: BreakerState = BREAKER_CLOSED;
  #reads: Failing | null = null;
  #polls: Failing | null = null;
  #status: RegionStatus | null = null;
  #answeringSinceMs: number | null = null;
  #wasLost = false;

  constructor(
    readonly region: RegionId,
    private readonly clock: Clock,
    readonly options: RegionHealthOptions = REGION_HEALTH_DEFAULTS,
  ) {}

  /** May a read go to the region now? Where not, why not. */
  admit(): { readonly admitted: true } | { readonly admitted: false; readonly failing: Failing } {
    const { admitted, state } = admitCall(this.#breaker, this.clock.monotonicMs(), this.options);
    this.#breaker = state;
    if (admitted) return { admitted };
    return { admitted, failing: this.failing() ?? { failure: CIRCUIT_OPEN, sinceMs: this.clock.nowMs() } };
  }

  readSucceeded(): void {
    this.#reads = null;
    this.#polls = null;
    this.#step('success');
  }

  /** Returns since when the region has been failing, this failure included. `hadMs` is the time that the call was given. */
  readFailed(failure: RegionFailure, hadMs: number): Failing {
    const counts = failure.counts && (failure.state !== 'timeout' || hadMs >= this.options.timeoutCountsFromMs);
    if (!counts) return { failure, sinceMs: this.failing()?.sinceMs ?? this.clock.nowMs() };
    this.#reads = { failure, sinceMs: this.#reads?.sinceMs ?? this.clock.nowMs() };
    this.#step('failure');
    return this.failing() ?? this.#reads;
  }

  pollSucceeded(status: RegionStatus): void {
    const nowMs = this.clock.nowMs();
    if (this.#polls && nowMs - this.#polls.sinceMs >= this.options.lostAfterMs) this.#wasLost = true;
    if (this.#polls || this.#answeringSinceMs === null) this.#answeringSinceMs = nowMs;
    this.#polls = null;
    this.#status = status;
    const well = status.parts.every((p) => p.state === 'ok') && status.links.every((l) => l.state === 'up');
    if (well) this.#wasLost = false;
    // It can be reached again; an answer that made no sense is only mended by one that does.
    if (this.#reads && this.#reads.failure.code !== 'malformed') this.#reads = null;
    this.#step('reachable');
  }

  pollFailed(failure: RegionFailure): void {
    this.#polls = { failure, sinceMs: this.#polls?.sinceMs ?? this.clock.nowMs() };
    this.#step('failure');
  }

  /** The newest failure and the earliest time, or null where the region works as far as is known. */
  failing(): Failing | null {
    if (!this.#reads || !this.#polls) return this.#reads ?? this.#polls;
    return { failure: this.#reads.failure, sinceMs: Math.min(this.#reads.sinceMs, this.#polls.sinceMs) };
  }

  failingForMs(): number {
    const failing = this.failing();
    return failing ? Math.max(0, this.clock.nowMs() - failing.sinceMs) : 0;
  }

  get pollsFailing(): Failing | null {
    return this.#polls;
  }

  /** Null until the first answer. */
  get status(): RegionStatus | null {
    return this.#status;
  }

  /** Wall clock since when every poll was answered; null before the first answer. */
  get answeringSinceMs(): number | null {
    return this.#answeringSinceMs;
  }

  get breaker(): BreakerState['kind'] {
    return this.#breaker.kind;
  }

  /** Polls failed for `lostAfterMs` or more, and it has not been wholly well since. */
  get wasLost(): boolean {
    return this.#wasLost;
  }

  #step(event: 'success' | 'failure' | 'reachable'): void {
    this.#breaker = afterEvent(this.#breaker, event, this.clock.monotonicMs(), this.options);
  }
}

const CIRCUIT_OPEN: RegionFailure = {
  state: 'unavailable',
  code: 'unavailable',
  reason: 'circuit open',
  retriable: false,
  counts: false,
};
