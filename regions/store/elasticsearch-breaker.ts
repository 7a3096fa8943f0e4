import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

export interface BreakerOptions {
  /** Failures one after the other that open it. */
  readonly failuresMax: number;
  /** How long it stays open; then one call is let through, whose result decides. */
  readonly openMs: number;
}

/** Refuses calls at once while what is behind it does not answer. */
export class CircuitBreaker {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  readonly #what: string;
  #failures = 0;
  /** Null while it is closed. */
  #openUntilMs: number | null = null;
  #probing = false;
  #reason = '';

  constructor(what: string, clock: Clock, options: BreakerOptions) {
    this.#what = what;
    this.#clock = clock;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#openUntilMs !== null;
  }

  /** Throws `unavailable` while it is open. Who passes calls `succeeded`, `failed` or `left` afterwards. */
  pass(attempted: string): void {
    if (this.#openUntilMs === null) return;
    const leftMs = this.#openUntilMs - this.#clock.monotonicMs();
    if (leftMs <= 0 && !this.#probing) {
      this.#probing = true;
      return;
    }
    const message = `${attempted}: ${this.#what} has not answered and is left alone for now (${this.#reason})`;
    throw new MeridianError('unavailable', message, 'later', { retryAfterMs: Math.max(0, Math.ceil(leftMs)) });
  }

  succeeded(): void {
    this.#failures = 0;
    this.#openUntilMs = null;
    this.#probing = false;
  }

  /** The call ended without telling anything about the other side. */
  left(): void {
    this.#probing = false;
  }

  failed(reason: string): void {
    this.#failures++;
    if (this.#probing || this.#failures >= this.#options.failuresMax) this.trip(reason);
  }

  /** Opens it, whatever was counted. */
  trip(reason: string): void {
    this.#reason = reason;
    this.#probing = false;
    this.#openUntilMs = this.#clock.monotonicMs() + this.#options.openMs;
  }
}
