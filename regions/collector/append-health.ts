import type { Clock } from '../../global/runtime/clock.js';
import type { MeridianError } from '../../global/runtime/errors.js';
import type { PartHealth } from '../../global/runtime/service.js';

/** Without one append that succeeded for as long, failing partitions mean that the log is down. */
export const LOG_DOWN_AFTER_MS = 5000;

/**
 * What appends to the log say about the collector: `ok` while no partition fails, `degraded` where some fail and others take spans,
 * `down` where none has taken any since the first failure, or for `LOG_DOWN_AFTER_MS`. A record that was only too large says nothing.
 */
export class AppendHealth {
  readonly #clock: Clock;
  readonly #failing = new Map<number, { readonly sinceMs: number; readonly message: string }>();
  #okSinceMs: number;
  #lastSuccessMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#okSinceMs = clock.nowMs();
  }

  appended(partition: number): void {
    if (this.#failing.size === 0) return;
    this.#lastSuccessMs = this.#clock.nowMs();
    this.#failing.delete(partition);
    if (this.#failing.size === 0) this.#okSinceMs = this.#lastSuccessMs;
  }

  /** Returns whether this is news: the partition did not fail before. */
  failed(partition: number, error: MeridianError): boolean {
    if (error.code === 'too-large') return false;
    const known = this.#failing.get(partition);
    if (this.#failing.size === 0) this.#lastSuccessMs = Number.NEGATIVE_INFINITY;
    this.#failing.set(partition, { sinceMs: known?.sinceMs ?? this.#clock.nowMs(), message: error.message });
    return !known;
  }

  health(): PartHealth {
    if (this.#failing.size === 0) return { part: 'collector', state: 'ok', sinceMs: this.#okSinceMs };
    const failures = [...this.#failing.entries()].sort((a, b) => a[1].sinceMs - b[1].sinceMs);
    const [partition, first] = failures[0]!;
    const others = failures.length > 1 ? ` (and ${failures.length - 1} more partitions)` : '';
    return {
      part: 'collector',
      state: this.#clock.nowMs() - this.#lastSuccessMs < LOG_DOWN_AFTER_MS ? 'degraded' : 'down',
      detail: `partition ${partition}${others}: ${first.message}`,
      sinceMs: first.sinceMs,
    };
  }
}
