import { type BackoffRange, backoffMs } from '../../../global/runtime/backoff.js';

export interface CircuitLimits {
  /** Appends that fail one after the other, none succeeding between them, until it opens. */
  readonly failuresToOpen: number;
  /** Wait before the first probe, doubling with each that fails. */
  readonly probe: BackoffRange;
}

/**
 * Whether the log is worth asking. Closed: it is. Open: nothing is sent but, after a wait, one append as a probe. Any append that succeeds
 * closes it. Times are monotonic milliseconds. Pure: it is told what happened and when.
 */
export class Circuit {
  readonly #limits: CircuitLimits;
  #failures = 0;
  #probeFailures = 0;
  #isOpen = false;
  #probeAtMs = 0;
  #succeededMs = Number.NEGATIVE_INFINITY;

  constructor(limits: CircuitLimits) {
    this.#limits = limits;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** When it is open: from when on one append may be tried. */
  get probeAtMs(): number {
    return this.#probeAtMs;
  }

  succeeded(nowMs: number): void {
    this.#failures = 0;
    this.#probeFailures = 0;
    this.#isOpen = false;
    this.#succeededMs = nowMs;
  }

  /** Returns whether it opened just now. */
  failed(nowMs: number): boolean {
    this.#failures++;
    return !this.#isOpen && this.#failures >= this.#limits.failuresToOpen && this.#open(nowMs);
  }

  /** An append that began then has no answer yet: where none succeeded since, the log hangs. Returns whether it opened just now. */
  hung(beganMs: number, nowMs: number): boolean {
    this.#failures++;
    return !this.#isOpen && this.#succeededMs < beganMs && this.#open(nowMs);
  }

  /** The probe had no success. */
  probeFailed(nowMs: number): void {
    if (this.#isOpen) this.#probeLater(nowMs);
  }

  #open(nowMs: number): true {
    this.#isOpen = true;
    this.#probeLater(nowMs);
    return true;
  }

  #probeLater(nowMs: number): void {
    this.#probeFailures++;
    this.#probeAtMs = nowMs + backoffMs(this.#limits.probe, this.#probeFailures);
  }
}
