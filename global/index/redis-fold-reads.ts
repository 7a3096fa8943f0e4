import { type RegionId, type TraceId, traceIdBytes } from '../model/ids.js';
import { NANOS_PER_MS, unixNanoToMs } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';
import { FoldedParts, FoldKeys, foldDayOf, foldDayStart } from './folded.js';
import { FUSE_VERSION, type FusePlaces, fusePlaces } from './fuse-filter.js';
import { type FoldView, pieceOf } from './redis-fold-layout.js';
import { placeId } from './redis-layout.js';
import type { RedisCommand } from './redis-link.js';
import type { RedisShard } from './redis-shard.js';
import type { ShardView } from './redis-view.js';
import type { TraceLocation } from './trace-index.js';

/** Seeds that are remembered, of filters whose seed is not the first. */
const SEEDS_MAX = 10_000;

/** One question: has this filter the trace, in any region? */
export interface FoldProbe {
  readonly traceId: TraceId;
  readonly fold: FoldView;
  readonly key: string;
  readonly seed: number;
  readonly places: readonly { readonly region: RegionId; readonly places: FusePlaces }[];
}

/** Asks filters in Redis about traces, for one shard: the two words of the header and four bytes for each region, with one command a fold. */
export class FoldProbes {
  readonly #keys = new FoldKeys();
  readonly #seeds = new Map<string, number>();

  constructor(private readonly shard: RedisShard) {}

  /**
   * The parts that the replies to the probes' commands speak of, by trace; where a seed was not the guessed one, asks again. `view` is the state that the
   * replies came with: folds have the same places as when the probes were made, but their bounds may have moved.
   */
  async parts(
    attempted: string,
    view: ShardView,
    asked: readonly FoldProbe[],
    replies: readonly unknown[],
  ): Promise<ReadonlyMap<TraceId, Pick<TraceLocation, 'folded'>>> {
    const again: { probe: FoldProbe; parts: FoldedParts }[] = [];
    const all = new Map<TraceId, FoldedParts>();
    for (const [i, made] of asked.entries()) {
      const probe = { ...made, fold: view.folds[i % view.folds.length]! };
      const parts = all.get(probe.traceId) ?? new FoldedParts();
      all.set(probe.traceId, parts);
      const words = wordsOf(replies[i]);
      const seed = seedOf(words, probe.fold);
      if (seed === null) continue;
      if (seed === probe.seed) addHits(probe, words, parts);
      else {
        this.#remember(probe.key, seed);
        again.push({ probe: { ...probe, ...this.#placesOf(probe.fold, probe.traceId, view, seed) }, parts });
      }
    }
    if (again.length > 0) await this.#askAgain(attempted, again);
    return new Map([...all].map(([traceId, parts]) => [traceId, parts.member()]));
  }

  async #askAgain(attempted: string, again: readonly { probe: FoldProbe; parts: FoldedParts }[]): Promise<void> {
    const replies = await this.shard.link.roundTrip(
      attempted,
      again.map(({ probe }) => probeCommand(probe)),
    );
    for (const [i, { probe, parts }] of again.entries()) {
      const words = wordsOf(replies[i]);
      // Gone since: it was there at the moment that the answer is of.
      if (seedOf(words, probe.fold) === probe.seed) addHits(probe, words, parts);
      else for (const { region } of probe.places) addHit(probe, region, parts);
    }
  }

  /**
   * One probe per fold of the state, in its order. They are kept until the replies are there: seeds that are learned meanwhile are not those that
   * were asked with.
   */
  probes(view: ShardView, traceId: TraceId): FoldProbe[] {
    const { mixed } = placeId(traceId);
    return view.folds.map((fold) => {
      const key = this.shard.keys.filter(fold.day, fold.number, pieceOf(mixed, fold.pieces));
      return { traceId, fold, key, ...this.#placesOf(fold, traceId, view, this.#seeds.get(key) ?? 0) };
    });
  }

  #placesOf(fold: FoldView, traceId: TraceId, view: ShardView, seed: number): Pick<FoldProbe, 'seed' | 'places'> {
    const id = traceIdBytes(traceId);
    const places = [...view.regionNumbers.keys()].map((region) => {
      const { high, low } = this.#keys.of(id, region);
      return { region, places: fusePlaces(fold.shape, seed, high, low) };
    });
    return { seed, places };
  }

  #remember(key: string, seed: number): void {
    if (this.#seeds.size >= SEEDS_MAX) this.#seeds.clear();
    this.#seeds.set(key, seed);
  }
}

/** The probe as a command. */
export function probeCommand({ key, places }: FoldProbe): RedisCommand {
  const gets = places.flatMap(({ places: { offsets } }) => offsets.flatMap((offset) => ['GET', 'u8', `#${offset}`]));
  return ['BITFIELD_RO', key, 'GET', 'u32', 0, 'GET', 'u32', 32, ...gets];
}

function wordsOf(reply: unknown): readonly number[] {
  if (!Array.isArray(reply)) throw new MeridianError('malformed', 'index: Redis replied no list of numbers', 'never');
  return reply.map(Number);
}

/** The filter's seed; null where there is none: nothing of the piece was folded. Throws where it is not what the state says. */
function seedOf([first, second]: readonly number[], { day, number, shape }: FoldView): number | null {
  if (first === 0 && second === 0) return null;
  const version = first! >>> 24;
  if (version !== FUSE_VERSION) {
    const message = `index in Redis: a filter of day ${day} has version ${version}, this build knows ${FUSE_VERSION}`;
    throw new MeridianError('unknown-version', message, 'never');
  }
  if ((first! & 0xffff) !== shape.segmentBits << 8 || second !== shape.segments) {
    throw new MeridianError('malformed', `index in Redis: a filter of day ${day}, fold ${number}: its sizes`, 'never');
  }
  return (first! >>> 16) & 0xff;
}

function addHits(probe: FoldProbe, words: readonly number[], parts: FoldedParts): void {
  for (const [i, { region, places }] of probe.places.entries()) {
    let byte = places.fingerprint;
    for (let cell = 0; cell < 4; cell++) byte ^= words[2 + i * 4 + cell]!;
    if (byte === 0) addHit(probe, region, parts);
  }
}

function addHit({ fold }: FoldProbe, region: RegionId, parts: FoldedParts): void {
  parts.add(region, foldDayStart(Number(fold.day)), fold.endUnixNanoMax);
}

/** The end (ms) of the newest day that the state knows to be folded; 0 where none is. */
export function foldedBeforeMs(view: ShardView): number {
  return Math.max(0, ...view.folds.map(({ day }) => unixNanoToMs(foldDayStart(Number(day) + 1))));
}

/** Whether the hour is one of a folded day. */
export function isFoldedHour(view: ShardView, bucketStartMs: number): boolean {
  const day = String(foldDayOf(BigInt(bucketStartMs) * NANOS_PER_MS));
  return view.folds.some((fold) => fold.day === day);
}
