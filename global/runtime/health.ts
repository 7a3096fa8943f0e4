import type { Clock } from './clock.js';
import { messageOf } from './errors.js';
import type { HealthCheck, PartHealth, PartState } from './service.js';

/** Runs every check at once; one that takes longer than `limitMs` counts as down (Ob2). */
export function deepHealth(checks: readonly HealthCheck[], limitMs: number, clock: Clock): Promise<PartHealth[]> {
  return Promise.all(
    checks.map(async ({ part, check }): Promise<PartHealth> => {
      const done = new AbortController();
      try {
        return await Promise.race([
          check(),
          clock.sleep(limitMs, done.signal).then((): PartHealth => {
            return { part, state: 'down', detail: `no answer to its check within ${limitMs} ms` };
          }),
        ]);
      } catch (error) {
        return { part, state: 'down', detail: messageOf(error) };
      } finally {
        done.abort();
      }
    }),
  );
}

/** The worst state of the parts. */
export function worstState(parts: readonly PartHealth[]): PartState {
  if (parts.some((p) => p.state === 'down')) return 'down';
  return parts.some((p) => p.state === 'degraded') ? 'degraded' : 'ok';
}

/**
 * Remembers since when a part is in its state, and why. `failed` and `succeeded` are called by whoever uses the part; the
 * part is down from its first failure until its next success.
 */
export class StateMemory {
  #state: PartState = 'ok';
  #sinceMs: number;
  #detail: string | undefined;

  constructor(
    readonly part: string,
    private readonly clock: Clock,
  ) {
    this.#sinceMs = clock.nowMs();
  }

  failed(detail: string, state: PartState = 'down'): void {
    if (this.#state !== state) this.#sinceMs = this.clock.nowMs();
    this.#state = state;
    this.#detail = detail;
  }

  succeeded(): void {
    if (this.#state !== 'ok') this.#sinceMs = this.clock.nowMs();
    this.#state = 'ok';
    this.#detail = undefined;
  }

  get sinceMs(): number {
    return this.#sinceMs;
  }

  health(): PartHealth {
    const detail = this.#detail === undefined ? {} : { detail: this.#detail };
    return { part: this.part, state: this.#state, sinceMs: this.#sinceMs, ...detail };
  }
}
