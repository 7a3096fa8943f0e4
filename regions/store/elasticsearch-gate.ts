/** Accepted calls in a row that allow one more at once. */
export const ACCEPTED_PER_STEP = 8;

/**
 * How many calls may be on their way at once: halved by a rejection, one more after some that were accepted (additive increase,
 * multiplicative decrease, as TCP does). Others wait in order of arrival.
 */
export class AdaptiveGate {
  readonly #max: number;
  #allowed: number;
  #inside = 0;
  #acceptedInARow = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    this.#max = max;
    this.#allowed = max;
  }

  get allowed(): number {
    return this.#allowed;
  }

  /** Resolves when the call may go; `leave` is to be called once afterwards. */
  async enter(): Promise<void> {
    if (this.#inside < this.#allowed) this.#inside++;
    else await new Promise<void>((enter) => this.#waiting.push(enter));
  }

  leave(): void {
    this.#inside--;
    while (this.#waiting.length > 0 && this.#inside < this.#allowed) {
      this.#inside++;
      this.#waiting.shift()!();
    }
  }

  rejected(): void {
    this.#acceptedInARow = 0;
    this.#allowed = Math.max(1, this.#allowed >> 1);
  }

  accepted(): void {
    if (++this.#acceptedInARow < ACCEPTED_PER_STEP) return;
    this.#acceptedInARow = 0;
    this.#allowed = Math.min(this.#max, this.#allowed + 1);
  }
}
