import { tracePartition } from '../../global/log/partition.js';
import { type RegionId, type TraceId, traceIdBytes } from '../../global/model/ids.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { CallOptions, MissingPart } from '../../global/region-api/region-client.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { HealthCheck, PartHealth } from '../../global/runtime/service.js';
import type { LiveSegments } from '../assembler/open-traces-reader.js';
import type { SearchPage } from '../store/segment-store.js';
import {
  betterClaim,
  CoverageMemory,
  type LiveClaim,
  type LiveRound,
  type LiveUse,
  uncovered,
} from './live-coverage.js';
import type { LiveAnswer, LivePeer, LiveReads, LiveSegment } from './live-peer.js';
import type { LivePeers } from './live-peers.js';

export const PEERED_LIVE_LIMITS = {
  /** Time for asking the peers, the second time included. */
  budgetMs: 1_000,
  /** Wait before they are asked a second time, where a partition was found with nobody: it may have changed hands meanwhile. */
  againMs: 200,
  /** An answer counts as whole although what was acknowledged in this time is not in it: a hand-over takes about a second of it. */
  ageMsMax: 5_000,
  /** Where an owner's answer is this young, nobody else is waited for. */
  freshMs: 1_000,
} as const;

export type PeeredLiveLimits = { readonly [Name in keyof typeof PEERED_LIVE_LIMITS]: number };

export interface PeeredLiveOptions {
  readonly region: RegionId;
  /** What this process holds. */
  readonly live: LiveSegments;
  /** Names this process for as long as it lives; differs between processes. */
  readonly process: string;
  readonly peers: LivePeers;
  /** Of the region's `spans`. */
  readonly partitionCount: number;
  readonly clock: Clock;
  /** How long it takes until a process that went away silently is replaced: for messages. */
  readonly takeoverMs: number;
  readonly limits?: Partial<PeeredLiveLimits>;
}

const SELF = 'this process';
const NOBODYS_TRACE = 'ffffffffffffffffffffffffffffffff' as TraceId;

interface Asked<T> {
  readonly found: readonly T[];
  readonly round: LiveRound;
}

/**
 * The live segments of a region whose partitions are shared out among several processes: asks this one and all peers side by side and joins
 * what they have. The answer is whole when, of every partition that matters, some process has read to the end a moment ago, since that process and the
 * store then have every span of it between them (docs/decisions/0014). Otherwise they are asked once again, and what is still
 * without an owner is named.
 */
export class PeeredLive implements LiveReads {
  readonly #options: PeeredLiveOptions;
  readonly #limits: PeeredLiveLimits;
  readonly #memory = new CoverageMemory();

  constructor(options: PeeredLiveOptions) {
    this.#options = options;
    this.#limits = { ...PEERED_LIVE_LIMITS, ...options.limits };
  }

  async get(
    source: RegionId,
    traceId: TraceId,
  ): Promise<{ segments: readonly LiveSegment[]; missing: MissingPart | null }> {
    const { live, partitionCount } = this.#options;
    const needed = [tracePartition(traceIdBytes(traceId), 0, partitionCount)];
    const { found, missing } = await this.#ask<readonly LiveSegment[]>('get', needed, {
      own: () => live.get(source, traceId),
      peer: (peer, call) => peer.getLive(source, traceId, call),
    });
    return { segments: distinct(found.flat()), missing };
  }

  async search(
    request: SearchRequest,
    signal: AbortSignal,
  ): Promise<{ pages: readonly SearchPage[]; missing: MissingPart | null }> {
    const { live } = this.#options;
    const { found, missing } = await this.#ask('search', this.#all(), {
      own: () => live.search(request, signal),
      peer: (peer, call) => peer.searchLive(request, call),
      signal,
    });
    return { pages: found, missing };
  }

  /** Whether every partition of the region is assembled by somebody who answers. */
  health(): HealthCheck {
    const part = 'peers';
    return { part, check: async () => ({ ...(await this.#health()), part }) };
  }

  async #health(): Promise<Omit<PartHealth, 'part'>> {
    const { live, region } = this.#options;
    const { found, missing } = await this.#ask<readonly LiveSegment[]>('get', this.#all(), {
      own: () => live.get(region, NOBODYS_TRACE),
      peer: (peer, call) => peer.getLive(region, NOBODYS_TRACE, call),
    });
    if (missing) return { state: 'degraded', detail: missing.reason, sinceMs: missing.sinceMs };
    return { state: 'ok', detail: `${found.length} processes answer for all partitions of spans` };
  }

  #all(): readonly number[] {
    return Array.from({ length: this.#options.partitionCount }, (_, partition) => partition);
  }

  async #ask<T>(
    use: LiveUse,
    needed: readonly number[],
    ask: {
      own: () => Promise<T>;
      peer: (peer: LivePeer, call: CallOptions) => Promise<LiveAnswer<T>>;
      signal?: AbortSignal;
    },
  ): Promise<{ found: readonly T[]; missing: MissingPart | null }> {
    const { clock, peers, takeoverMs } = this.#options;
    const { budgetMs, againMs, ageMsMax } = this.#limits;
    const endMs = clock.monotonicMs() + budgetMs;
    const atLeast = this.#memory.reached();
    let { found, round } = await this.#round(use, needed, endMs, atLeast, ask);
    let open = uncovered(needed, round, use, ageMsMax, atLeast);
    const isOver = () => ask.signal?.aborted || clock.monotonicMs() + againMs >= endMs;
    if (open.length > 0 && !peers.isEmpty && !isOver()) {
      await clock.sleep(againMs, ask.signal);
      const again = await this.#round(use, needed, endMs, atLeast, ask);
      open = uncovered(needed, again.round, use, ageMsMax, atLeast);
      // Of two answers that are both short, both together are less so.
      found = open.length === 0 ? again.found : [...found, ...again.found];
      round = again.round;
    }
    const nowMs = clock.nowMs();
    const missing = this.#memory.missing(needed, open, round, { nowMs, takeoverMs });
    this.#memory.note(round, nowMs);
    return { found, missing };
  }

  /** Asks everybody once. Does not wait for more once each needed partition has a fresh answer of its owner. */
  async #round<T>(
    use: LiveUse,
    needed: readonly number[],
    endMs: number,
    atLeast: ReadonlyMap<number, number>,
    ask: {
      own: () => Promise<T>;
      peer: (peer: LivePeer, call: CallOptions) => Promise<LiveAnswer<T>>;
      signal?: AbortSignal;
    },
  ): Promise<Asked<T>> {
    const { live, region, process, peers, clock } = this.#options;
    const found: T[] = [];
    const claims = new Map<number, LiveClaim>();
    const failures = new Map<string, string>();
    const askedMs = clock.monotonicMs();
    let answered = 0;
    const answer = (from: string, { found: one, partitions }: LiveAnswer<T>) => {
      answered++;
      found.push(one);
      const answeredMs = clock.monotonicMs();
      for (const live of partitions) {
        if (live.partition >= this.#options.partitionCount) continue;
        const claim = { ...live, from, askedMs, answeredMs };
        claims.set(live.partition, betterClaim(claims.get(live.partition), claim, use));
      }
    };
    // In one turn: what is held, and what that speaks for.
    const partitions = live.partitions(region);
    const own = ask.own().then(
      (one) => answer(SELF, { found: one, process, partitions }),
      (error: unknown) => failures.set(SELF, messageOf(error)),
    );
    const done = new AbortController();
    const over = () => done.abort();
    ask.signal?.addEventListener('abort', over, { once: true });
    try {
      await own;
      if (peers.isEmpty) return { found, round: { claims, answered, failures } };
      const isEnough = () =>
        uncovered(needed, { claims }, use, this.#limits.freshMs, atLeast).length === 0 &&
        needed.every((partition) => claims.get(partition)?.owned);
      if (isEnough()) return { found, round: { claims, answered, failures } };
      const deadlineMs = Math.max(1, endMs - clock.monotonicMs());
      const asked = await peers.current();
      const silent = new Set(asked.map(({ address }) => address));
      const asking = asked.map((peer) =>
        ask.peer(peer, { deadlineMs, signal: done.signal }).then(
          (one) => {
            if (done.signal.aborted) return;
            silent.delete(peer.address);
            if (one.process === process) peers.isSelf(peer.address);
            else answer(peer.address, one);
            if (isEnough()) done.abort();
          },
          (error: unknown) => {
            if (done.signal.aborted) return;
            silent.delete(peer.address);
            failures.set(peer.address, messageOf(error));
          },
        ),
      );
      const timer = new AbortController();
      await Promise.race([Promise.all(asking), aborted(done.signal), clock.sleep(deadlineMs, timer.signal)]);
      timer.abort();
      for (const address of silent) failures.set(address, `no answer within ${Math.round(deadlineMs)} ms`);
      return { found, round: { claims: new Map(claims), answered, failures: new Map(failures) } };
    } finally {
      done.abort();
      ask.signal?.removeEventListener('abort', over);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Two processes may hold the same block while its partition changes hands. */
function distinct(segments: readonly LiveSegment[]): readonly LiveSegment[] {
  return segments.filter((segment, i) => !segments.slice(0, i).some(({ payload }) => payload.equals(segment.payload)));
}
