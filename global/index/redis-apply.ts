import type { RegionId } from '../model/ids.js';
import type { CatalogueEntry, TraceMetadata } from '../model/metadata.js';
import { msToUnixNano, unixNanoToMs } from '../model/time.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import { DigestChanges } from './digest.js';
import { joinMetadata } from './join.js';
import { digestSteps } from './redis-digests.js';
import { DAY_MS, type Day, dayOf, dayStartNano, fieldOf, ODD_BITS, ODD_DAY, placeId } from './redis-layout.js';
import { catalogueField, padded, positionFields, watermarkFields } from './redis-marks.js';
import { NewNames } from './redis-names.js';
import { packDayRow, packOddRow } from './redis-row.js';
import { WriteSteps } from './redis-script.js';
import type { FoundRow, RedisShard } from './redis-shard.js';
import type { ShardView } from './redis-view.js';
import type { FeedPosition, VouchedWatermark } from './trace-index.js';

/** Region numbers are one byte of each field. */
export const REGIONS_MAX = 255;
/** Attempts at one write while other processes write too. */
export const WRITE_ATTEMPTS_MAX = 50;
const ATTEMPTED = 'index apply';
/** A bucket outlives its records' retention by this, so that it is `expire` that forgets them and their digests. */
export const SLACK_MS = 2 * DAY_MS;

export interface ApplyPolicy {
  readonly clock: Clock;
  readonly retentionMs: number;
  /** Bits of the bucket numbers of a day that is begun. */
  readonly bucketBits: number;
}

/** What goes along with the traces. */
export interface ShardChange {
  readonly watermarks: readonly VouchedWatermark[];
  readonly positions: readonly FeedPosition[];
  readonly catalogue: readonly (CatalogueEntry & { readonly region: RegionId })[];
}

/**
 * Joins the change into the shard: read what is there, join, write back in one script on condition that nothing else was written meanwhile, else again.
 * `changeFor` is given each state that was read and says what is to be written to it; null where there is no index any more: it is then
 * asked again after having made one. Gives the number of records changed.
 */
export async function applyToShard(
  shard: RedisShard,
  traces: readonly TraceMetadata[],
  policy: ApplyPolicy,
  changeFor: (view: ShardView | null) => Promise<ShardChange | null>,
): Promise<{ changed: number; writes: number }> {
  for (let attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt++) {
    const read = await shard.read(ATTEMPTED, (view) =>
      traces.flatMap((trace) => shard.probesOf(view, trace.traceId, numbersOf(view, trace.region))),
    );
    const change = await changeFor(read?.view ?? null);
    if (!read || !change) continue;
    const { view } = read;
    const found = rowsByTrace(shard, view, traces, read.replies);
    const { steps, changed, keep } = await plan(shard, view, traces, change, found, policy);
    if (steps.isEmpty) return { changed, writes: view.writes };
    const outcome = await shard.write(ATTEMPTED, view, steps);
    if (typeof outcome === 'object') {
      keep();
      return { changed, writes: outcome.writes };
    }
  }
  throw new MeridianError('unavailable', `${ATTEMPTED}: others wrote ${WRITE_ATTEMPTS_MAX} times in between`, 'later');
}

function numbersOf(view: ShardView, region: RegionId): number[] {
  const number = view.regionNumbers.get(region);
  return number === undefined ? [] : [number];
}

function rowsByTrace(
  shard: RedisShard,
  view: ShardView,
  traces: readonly TraceMetadata[],
  replies: readonly unknown[],
): FoundRow[][] {
  let at = 0;
  return traces.map(({ traceId, region }) => {
    const numbers = numbersOf(view, region);
    const count = numbers.length === 0 ? 0 : view.days.size;
    const rows = shard.rowsFound(view, traceId, numbers, replies.slice(at, at + count));
    at += count;
    return rows;
  });
}

interface Plan {
  readonly steps: WriteSteps;
  readonly changed: number;
  /** To be called once it is written. */
  keep(): void;
}

/** What is to be written so that the shard holds the join. */
async function plan(
  shard: RedisShard,
  view: ShardView,
  traces: readonly TraceMetadata[],
  change: ShardChange,
  found: readonly (readonly FoundRow[])[],
  policy: ApplyPolicy,
): Promise<Plan> {
  const steps = new WriteSteps();
  const writing = new Writing(shard, view, steps, policy);
  const regions = new Set<RegionId>();
  for (const { region } of traces) regions.add(region);
  for (const region of regions) writing.ensureRegion(region);
  const rows = found.flat();
  const unpacked = await shard.unpack(ATTEMPTED, view, rows);
  const before = new Map(rows.map((row, i) => [row, unpacked[i]!]));
  for (const [i, trace] of traces.entries()) {
    const own = found[i]!;
    const joined = own.reduce((sum, row) => joinMetadata(sum, before.get(row)!), trace);
    await writing.replace(joined, own, before);
  }
  writing.finish();
  const marks = change.watermarks.flatMap(watermarkFields);
  if (marks.length > 0) steps.raise(shard.keys.watermarks, marks);
  const positions = change.positions.flatMap(positionFields);
  if (positions.length > 0) steps.set(shard.keys.positions, 0, positions);
  const entries = change.catalogue.flatMap((entry) => [catalogueField(entry), padded(entry.lastSeenMs), entry.region]);
  if (entries.length > 0) steps.raiseCounted(shard.keys.catalogue, shard.keys.catalogueTotals, entries);
  return { steps, changed: writing.changed, keep: () => writing.keep() };
}

/** One day as a write changes it. */
interface DayWrite {
  readonly bits: number;
  /** Null for ODD_DAY. */
  readonly names: NewNames | null;
  readonly digests: DigestChanges;
  expireAtS: number;
}

/** Collects the steps of one write. */
class Writing {
  changed = 0;
  readonly #days = new Map<Day, DayWrite>();
  readonly #newRegions = new Map<RegionId, number>();

  constructor(
    private readonly shard: RedisShard,
    private readonly view: ShardView,
    private readonly steps: WriteSteps,
    private readonly policy: ApplyPolicy,
  ) {}

  ensureRegion(region: RegionId): void {
    if (this.view.regionNumbers.has(region)) return;
    const number = this.view.regionNumbers.size + this.#newRegions.size + 1;
    if (number > REGIONS_MAX) {
      throw new MeridianError('too-large', `index: region ${region} would be one more than ${REGIONS_MAX}`, 'never');
    }
    this.#newRegions.set(region, number);
    this.steps.set(this.shard.keys.meta, 0, [`r${number}`, region]);
  }

  readonly #number = (region: string): number =>
    this.view.regionNumbers.get(region as RegionId) ?? this.#newRegions.get(region as RegionId)!;

  /** Puts the record in the place of the rows. */
  async replace(
    metadata: TraceMetadata,
    rows: readonly FoundRow[],
    before: ReadonlyMap<FoundRow, TraceMetadata>,
  ): Promise<void> {
    let day = this.#dayFor(metadata);
    let write = await this.#day(day);
    if (write.names?.isFull) {
      day = ODD_DAY;
      write = await this.#day(day);
    }
    const value = write.names ? packDayRow(metadata, dayStartNano(day), write.names.number) : packOddRow(metadata);
    const [only] = rows;
    if (rows.length === 1 && only!.day === day && only!.value.equals(value)) return;
    this.changed++;
    const placed = placeId(metadata.traceId);
    const number = this.#number(metadata.region);
    write.expireAtS = Math.max(write.expireAtS, this.#expiryOf(day, metadata));
    for (const row of rows) {
      const old = await this.#day(row.day);
      old.digests.remove(before.get(row)!);
      if (row.day === day) continue;
      this.steps.remove(this.shard.bucketKey(row.day, old.bits, placed), [fieldOf(placed, number, old.bits)]);
    }
    write.digests.add(metadata);
    const key = this.shard.bucketKey(day, write.bits, placed);
    this.steps.set(key, this.#expiryOf(day, metadata), [fieldOf(placed, number, write.bits), value]);
  }

  /** Days are kept for records that start within the retention, give or take one: whatever times spans claim, lookups have few days to probe. */
  #dayFor({ startUnixNano }: TraceMetadata): Day {
    const { clock, retentionMs } = this.policy;
    const nowMs = clock.nowMs();
    const first = Number(dayOf(msToUnixNano(Math.max(0, nowMs - retentionMs)))) - 1;
    const last = Number(dayOf(msToUnixNano(nowMs))) + 1;
    const day = dayOf(startUnixNano);
    return Number(day) < first || Number(day) > last ? ODD_DAY : day;
  }

  /** ODD_DAY does not expire as a whole: its records' times say nothing about when they may go. */
  #expiryOf(day: Day, { endUnixNano }: TraceMetadata): number {
    if (day === ODD_DAY) return 0;
    const { clock, retentionMs } = this.policy;
    const endMs = Math.min(unixNanoToMs(endUnixNano), clock.nowMs());
    const dayEndMs = (Number(day) + 1) * DAY_MS;
    return Math.ceil((Math.max(dayEndMs, endMs) + retentionMs + SLACK_MS) / 1000);
  }

  async #day(day: Day): Promise<DayWrite> {
    let write = this.#days.get(day);
    if (write) return write;
    const known = this.view.days.get(day);
    const bits = known ?? (day === ODD_DAY ? ODD_BITS : this.policy.bucketBits);
    if (known === undefined) this.steps.set(this.shard.keys.meta, 0, [`d${day}`, `${bits} ${this.view.writes}`]);
    const names = day === ODD_DAY ? null : new NewNames(await this.shard.currentNames(ATTEMPTED, this.view, day));
    write = { bits, names, digests: new DigestChanges(), expireAtS: 0 };
    this.#days.set(day, write);
    return write;
  }

  /** Names and digests; to be called last. */
  finish(): void {
    const { keys } = this.shard;
    for (const [day, { names, digests, expireAtS }] of this.#days) {
      const sums = digestSteps(digests, this.#number);
      if (sums.length > 0) this.steps.addToDigests(keys.digests(day), expireAtS, sums);
      else if (expireAtS > 0) this.steps.expireNoEarlier(keys.digests(day), expireAtS);
      if (!names) continue;
      const added = names.added.flatMap((text, i) => [names.known.size + i, text]);
      if (added.length > 0) this.steps.set(keys.names(day), expireAtS, added);
      else if (expireAtS > 0) this.steps.expireNoEarlier(keys.names(day), expireAtS);
    }
  }

  keep(): void {
    for (const { names } of this.#days.values()) names?.keep();
  }
}
