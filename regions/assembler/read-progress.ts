/**
 * Up to when one owned partition was read: the time is taken, then the end of the partition is asked for; once everything before that end was
 * read, everything that was acknowledged before that time was. True of what was read, whoever owns the partition by then. Pure;
 * milliseconds are monotonic.
 */
export class ReadProgress {
  #awaited: { readonly takenMs: number; readonly end: number } | null = null;
  #readUpToMs: number | null = null;

  /** `takenMs` was taken before `end` was asked for. One that still waits for its end stays, or a partition that lags would never get there. */
  sample(takenMs: number, end: number, position: number): void {
    this.#settle(position);
    this.#awaited ??= { takenMs, end };
    this.#settle(position);
  }

  /** Everything acknowledged before it was read; null where that was never known. */
  readUpToMs(position: number): number | null {
    this.#settle(position);
    return this.#readUpToMs;
  }

  #settle(position: number): void {
    if (!this.#awaited || this.#awaited.end > position) return;
    this.#readUpToMs = Math.max(this.#readUpToMs ?? Number.NEGATIVE_INFINITY, this.#awaited.takenMs);
    this.#awaited = null;
  }
}
