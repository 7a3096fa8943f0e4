import type { RegionId } from '../model/ids.js';
import type { Watermark } from '../model/metadata.js';
import { unixNanoToMs } from '../model/time.js';

/**
 * How far this process has brought one feed partition, for health and metrics. It counts only while the partition is owned here; what was known
 * stays, so that a partition that comes back and publishes nothing more is noticed. Times are of the wall clock, ms. Bounded by the partitions of `spans`.
 */
export class FeedProgress {
  vouchedFromUnixNano: bigint | null = null;
  #watermarksMs = new Map<number, number>();
  #isOwned = false;
  #givenAwayMs: number | null = null;

  constructor(readonly source: RegionId) {}

  get isOwned(): boolean {
    return this.#isOwned;
  }

  /** The oldest of its newest watermarks, one for each partition of `spans` that it tells of; null before the first. */
  get oldestMs(): number | null {
    return this.#watermarksMs.size === 0 ? null : Math.min(...this.#watermarksMs.values());
  }

  /** The time during which it was another's to bring on does not count as lag. */
  owned(nowMs: number): void {
    const awayMs = this.#givenAwayMs === null ? 0 : Math.max(0, nowMs - this.#givenAwayMs);
    this.#watermarksMs = new Map([...this.#watermarksMs].map(([partition, ms]) => [partition, ms + awayMs]));
    this.#givenAwayMs = null;
    this.#isOwned = true;
  }

  givenAway(nowMs: number): void {
    this.#isOwned = false;
    this.#givenAwayMs = nowMs;
  }

  note({ partition, watermarkUnixNano }: Watermark): void {
    const ms = unixNanoToMs(watermarkUnixNano);
    this.#watermarksMs.set(partition, Math.max(this.#watermarksMs.get(partition) ?? 0, ms));
  }
}
