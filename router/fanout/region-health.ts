import type { RegionId } from '../../global/model/ids.js';
import type { RegionStatus } from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { admitCall, afterEvent, BREAKER_CLOSED, type BreakerOptions, type BreakerState } from './breaker.js';
import type { RegionFailure } from './outcome.js';

export interface RegionHealthOptions extends BreakerOptions {
  /** A timeout counts against the region only if it had at least this long: a caller's tiny deadline must not open the circuit for all. */
  readonly timeoutCountsFromMs: number;
}

export const REGION_HEALTH_DEFAULTS: RegionHealthOptions = { failuresMax: 3, openMs: 5000, timeoutCountsFromMs: 500 };

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
  #statusAtMs = 0;
  #lostBefore = false;

  constructor(
    readonly region: RegionId,
    private readonly clock: Clock,
    private readonly options: RegionHealthOptions = REGION_HEALTH_DEFAULTS,
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
    this.#polls = null;
    this.#status = status;
    this.#statusAtMs = this.clock.nowMs();
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

  get pollsFailing(): Failing | null {
    return this.#polls;
  }

  get status(): { readonly status: RegionStatus; readonly atMs: number } | null {
    return this.#status && { status: this.#status, atMs: this.#statusAtMs };
  }

  get breaker(): BreakerState['kind'] {
    return this.#breaker.kind;
  }

  /** Set once it was lost, until it is wholly well again. */
  get wasLost(): boolean {
    return this.#lostBefore;
  }

  markLost(lost: boolean): void {
    this.#lostBefore = lost;
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
