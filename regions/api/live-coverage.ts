import type { MissingPart } from '../../global/region-api/region-client.js';
import type { LivePartition } from '../assembler/open-traces-reader.js';

/** What a read asks: search needs the store's search to show what was stored before a take-over. */
export type LiveUse = 'get' | 'search';

/** What the processes that were asked have said so far. */
export interface LiveRound {
  /** By partition: the claim that reaches farthest. */
  readonly claims: ReadonlyMap<number, LiveClaim>;
  readonly answered: number;
  /** By address: why it did not answer. */
  readonly failures: ReadonlyMap<string, string>;
}

export interface LiveClaim extends LivePartition {
  /** Address of the process, or `this process`. */
  readonly from: string;
  /** When it was asked, and when it had answered; monotonic milliseconds of who asked. Its age was taken in between. */
  readonly askedMs: number;
  readonly answeredMs: number;
}

/** The better of two claims for a partition: the one that reaches farther. */
export function betterClaim(a: LiveClaim | undefined, b: LiveClaim, use: LiveUse): LiveClaim {
  if (!a) return b;
  return ageOf(b, use) < ageOf(a, use) ? b : a;
}

/** Infinite where the claim does not hold for this use yet. */
export function ageOf({ ageMs, searchable }: LivePartition, use: LiveUse): number {
  return ageMs === null || (use === 'search' && !searchable) ? Number.POSITIVE_INFINITY : ageMs;
}

/**
 * Which of the needed partitions nobody has everything of, but for what was acknowledged in the last `ageMsMax`, and up to where an earlier
 * answer reached (`atLeast`): what was shown once does not vanish in silence.
 */
export function uncovered(
  needed: readonly number[],
  { claims }: Pick<LiveRound, 'claims'>,
  use: LiveUse,
  ageMsMax: number,
  atLeast: ReadonlyMap<number, number>,
): readonly number[] {
  return needed.filter((partition) => {
    const claim = claims.get(partition);
    if (!claim) return true;
    const ageMs = ageOf(claim, use);
    return ageMs > ageMsMax || claim.answeredMs - ageMs < (atLeast.get(partition) ?? Number.NEGATIVE_INFINITY);
  });
}

/**
 * Remembers how far the answers reached, and, so that a message can tell, who assembled what and since when something is missing. Bounded by
 * the partitions.
 */
export class CoverageMemory {
  readonly #reachedMs = new Map<number, number>();
  readonly #owners = new Map<number, { from: string; heardMs: number }>();
  readonly #missingSinceMs = new Map<number, number>();

  /** By partition: an answer reached at least as far; monotonic milliseconds. As of now, also when more is noted later. */
  reached(): ReadonlyMap<number, number> {
    return new Map(this.#reachedMs);
  }

  /** `nowMs`: wall clock. */
  note({ claims }: LiveRound, nowMs: number): void {
    for (const [partition, { owned, from, ageMs, askedMs }] of claims) {
      if (owned) this.#owners.set(partition, { from, heardMs: nowMs });
      if (ageMs === null) continue;
      const before = this.#reachedMs.get(partition) ?? Number.NEGATIVE_INFINITY;
      this.#reachedMs.set(partition, Math.max(before, askedMs - ageMs));
    }
  }

  /** Null where nothing is missing. */
  missing(
    needed: readonly number[],
    missing: readonly number[],
    round: LiveRound,
    times: { readonly nowMs: number; readonly takeoverMs: number },
  ): MissingPart | null {
    const isMissing = new Set(missing);
    for (const partition of needed) {
      if (!isMissing.has(partition)) this.#missingSinceMs.delete(partition);
      else if (!this.#missingSinceMs.has(partition)) this.#missingSinceMs.set(partition, times.nowMs);
    }
    const [first] = missing;
    if (first === undefined) return null;
    const sinceMs = Math.min(...missing.map((partition) => this.#missingSinceMs.get(partition)!));
    const others = missing.length > 1 ? `, and ${missing.length - 1} more of ${needed.length} partitions` : '';
    return { part: 'assembler', reason: `${this.#reason(first, round, times.takeoverMs)}${others}`, sinceMs };
  }

  #reason(partition: number, { claims, answered, failures }: LiveRound, takeoverMs: number): string {
    const what = `partition ${partition} of spans`;
    const claim = claims.get(partition);
    const lag = claim?.ageMs ? `${what} was last read to its end ${seconds(claim.ageMs)} s ago by ${claim.from}` : null;
    if (claim?.owned) {
      const isCaughtUp = claim.ageMs !== null && claim.searchable;
      return isCaughtUp && lag ? lag : `${what} is being taken over by ${claim.from}, which has not caught up yet`;
    }
    const nobody = `${what} is assembled by nobody at the moment`;
    const soon = `another process takes over within about ${seconds(takeoverMs)} s`;
    const owner = this.#owners.get(partition);
    if (owner) {
      const failure = failures.get(owner.from);
      const how = failure ? `does not answer (${failure})` : 'gave it up';
      return `${nobody}: ${owner.from}, heard last at ${new Date(owner.heardMs).toISOString()}, ${how}; ${soon}`;
    }
    if (lag) return lag;
    const [failed] = failures;
    if (!failed) return `${nobody}, as far as the ${answered} processes know that were asked; ${soon}`;
    const [address, why] = failed;
    return `${nobody} that answers: ${answered} of ${answered + failures.size} processes did, ${address} did not (${why})`;
  }
}

function seconds(ms: number): string {
  return ms < 10_000 ? (ms / 1000).toFixed(1) : String(Math.round(ms / 1000));
}
