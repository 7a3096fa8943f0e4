import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** Connections that may be in use at once; callers beyond wait in order of arrival, at most so many. */
export class Lanes {
  readonly size: number;
  readonly #clock: Clock;
  readonly #waitingMax: number;
  #used = 0;
  #waiting: { start: () => void; sinceMs: number }[] = [];

  constructor(size: number, clock: Clock, waitingMax: number) {
    this.size = size;
    this.#clock = clock;
    this.#waitingMax = waitingMax;
  }

  get used(): number {
    return this.#used;
  }

  /** How long the first in the queue has waited; 0 where nobody waits. */
  get exhaustedMs(): number {
    const first = this.#waiting[0];
    return first ? this.#clock.monotonicMs() - first.sinceMs : 0;
  }

  /** Throws `overloaded` where too many wait. `release` is to be called once by whoever was let in. */
  async enter(attempted: string): Promise<void> {
    if (this.#used < this.size) {
      this.#used++;
      return;
    }
    if (this.#waiting.length >= this.#waitingMax) {
      const message = `${attempted}: ${this.#waitingMax} calls wait for one of ${this.size} connections already`;
      throw new MeridianError('overloaded', message, 'later');
    }
    await new Promise<void>((start) => {
      this.#waiting.push({ start, sinceMs: this.#clock.monotonicMs() });
    });
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next) next.start();
    else this.#used--;
  }
}
