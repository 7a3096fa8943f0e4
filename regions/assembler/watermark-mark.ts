interface Mark {
  readonly unixNano: bigint;
  readonly end: number;
}

/**
 * The watermark of one partition (decision 0001): a time is taken, then the end of the partition; once everything before that end was
 * read, and what was read is announced, the time may be published. Pure; milliseconds are monotonic.
 */
export class WatermarkMark {
  #mark: Mark | null = null;
  #publishedUnixNano = 0n;
  #publishedMs = Number.NEGATIVE_INFINITY;
  #publishedPosition = -1;

  constructor(private readonly idleMs: number) {}

  /** What was taken last and may be on its way to the log; 0n for none. */
  get publishedUnixNano(): bigint {
    return this.#publishedUnixNano;
  }

  /**
   * `unixNano` was taken before `end` was asked for. A mark that still waits for its end stays: were it replaced each time, a
   * partition that is always a little behind would never publish.
   */
  sample(unixNano: bigint, end: number, position: number): void {
    if (this.#mark && this.#mark.end > position) return;
    this.#mark = { unixNano, end };
  }

  /** The end that is waited for, where the position has not reached it. */
  awaitedEnd(position: number): number | null {
    return this.#mark && this.#mark.end > position ? this.#mark.end : null;
  }

  /** Whether `take` would give one. A partition where nothing came since the last publishes every `idleMs` only. */
  isDue(position: number, nowMs: number): boolean {
    const mark = this.#mark;
    if (!mark || mark.end > position || mark.unixNano <= this.#publishedUnixNano) return false;
    return position !== this.#publishedPosition || nowMs - this.#publishedMs >= this.idleMs;
  }

  /** The time to publish, together with or after all announcements of what was read up to `position`; or null. */
  take(position: number, nowMs: number): bigint | null {
    if (!this.#mark || !this.isDue(position, nowMs)) return null;
    const { unixNano } = this.#mark;
    this.#mark = null;
    this.#publishedUnixNano = unixNano;
    this.#publishedMs = nowMs;
    this.#publishedPosition = position;
    return unixNano;
  }
}
