import { randomUUID } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { RegionId, TraceId } from '../model/ids.js';
import type { TraceMetadata } from '../model/metadata.js';
import type { Clock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import { OneAtATime } from './folded.js';
import { FOLD_RECORDS_MIN } from './index-limits.js';
import { type IndexMetrics, indexMetrics } from './index-metrics.js';
import { joinMetadata } from './join.js';
import { type ApplyPolicy, applyToShard, type ShardChange } from './redis-apply.js';
import { foldShards } from './redis-fold.js';
import { expireFolds } from './redis-fold-expiry.js';
import { BUCKET_BITS_MAX, BUCKET_BITS_MIN, bucketBitsFor, placeId, shardOf } from './redis-layout.js';
import { type RedisAddress, RedisLink } from './redis-link.js';
import { LossWatch } from './redis-loss-watch.js';
import { RedisIndexReads } from './redis-reads.js';
import { expireCatalogue, expireShard } from './redis-retention.js';
import { checkServer, makeShard, wipeShard } from './redis-setup.js';
import { RedisShard } from './redis-shard.js';
import type { ShardView } from './redis-view.js';
import type { FeedPosition, LocateOptions, ReceivedRecord, TraceIndex, TraceLocation } from './trace-index.js';

/** A write takes further calls of `apply` up to this many traces: Redis does nothing else while its script runs. */
export const TRACES_PER_WRITE_MAX = 500;
/** Calls of `apply` that wait for a write. */
export const PENDING_APPLIES_MAX = 4096;
export const SHARDS_MAX = 1024;
const COMMAND_BUDGET_MS = 2_000;
const CONNECT_BUDGET_MS = 5_000;
const RECORDS_PER_DAY_EXPECTED = 4_000_000;

export interface RedisTraceIndexOptions {
  readonly address: RedisAddress;
  /** The region whose records keep their blocks. */
  readonly home: RegionId;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** A reader of what another process writes: Redis may be away when it opens, and `apply`, `expire` and `clear` are refused. */
  readonly readOnly?: boolean;
  /** How long traces are kept, from their end; the same as the region's. It says which days have buckets of their own and when they expire. */
  readonly retentionMs: number;
  /** Records (one a trace and region) of one day; from it comes the number of buckets of a day that is begun. Default 4,000,000. */
  readonly recordsPerDayExpected?: number;
  /** The number of buckets, as bits, in place of what `recordsPerDayExpected` gives. */
  readonly bucketBits?: number;
  /** Power of two. Parts of the index that may be on different nodes of a cluster. Default 1, of a cluster 16. Fixed once the index is made. */
  readonly shards?: number;
  /** In front of all keys. Default `meridian:`. */
  readonly prefix?: string;
  /** Default 2,000. */
  readonly commandBudgetMs?: number;
  /** Default 5,000. */
  readonly connectBudgetMs?: number;
  /** A text that was never given before; names generations. */
  readonly newId?: () => string;
}

/**
 * The index in Redis (7.0 or later), or a Redis Cluster: layout in redis-layout.ts. One writing process is the rule; should there be two, each
 * write still holds onto the very state that it was made from, or is made anew. Durable as far as Redis is: `appendfsync everysec` may lose the last
 * seconds when Redis is killed, of what was resolved too. It then comes back as it was, with records, watermarks and positions of one
 * moment, so nothing is claimed of what is gone, and the feed's reader sees in its position what is missing.
 *
 * A Redis that was flushed has no records, no watermarks and no positions: it proves nothing, and readers ask every region. The writer makes it anew at
 * the next `apply`, and until the feed's reader has asked for its position again, what it says of its watermarks' past is not
 * believed (redis-loss-watch.ts).
 *
 * Rejects with `unavailable` where Redis cannot be reached (a writer), with `configuration` where it is one that would lose records (an eviction
 * policy), with `unknown-version` where the layout is another build's.
 */
export async function openRedisTraceIndex(options: RedisTraceIndexOptions): Promise<TraceIndex> {
  const { address, clock, logger, readOnly = false } = options;
  const shardCount = options.shards ?? ('url' in address ? 1 : 16);
  const bits =
    options.bucketBits ?? bucketBitsFor(options.recordsPerDayExpected ?? RECORDS_PER_DAY_EXPECTED, shardCount);
  if (!Number.isInteger(Math.log2(shardCount)) || shardCount > SHARDS_MAX) {
    throw new MeridianError(
      'configuration',
      `index: ${shardCount} shards are no power of two to ${SHARDS_MAX}`,
      'never',
    );
  }
  if (!Number.isInteger(bits) || bits < BUCKET_BITS_MIN || bits > BUCKET_BITS_MAX) {
    const message = `index: bucket bits ${bits} are not within ${BUCKET_BITS_MIN} to ${BUCKET_BITS_MAX}`;
    throw new MeridianError('configuration', message, 'never');
  }
  const link = await RedisLink.open(
    {
      address,
      clock,
      logger,
      commandBudgetMs: options.commandBudgetMs ?? COMMAND_BUDGET_MS,
      connectBudgetMs: options.connectBudgetMs ?? CONNECT_BUDGET_MS,
    },
    readOnly,
  );
  const prefix = options.prefix ?? 'meridian:';
  const shards = Array.from({ length: shardCount }, (_, i) => new RedisShard(link, prefix, i, shardCount));
  const metrics = indexMetrics(options.registry);
  if (readOnly) return new ReadOnlyIndex(link, shards, clock, metrics);
  try {
    await checkServer(link, logger);
    const index = new WritableIndex(link, shards, options, bits, metrics);
    await index.make();
    return index;
  } catch (error) {
    await link.close();
    throw error;
  }
}

/** Readers' half, measured; writing is refused. */
class ReadOnlyIndex extends RedisIndexReads implements TraceIndex {
  constructor(
    protected readonly link: RedisLink,
    shards: readonly RedisShard[],
    private readonly timer: Clock,
    protected readonly metrics: IndexMetrics,
  ) {
    super(shards, timer);
  }

  override async locate(traceIds: readonly TraceId[], options?: LocateOptions): Promise<readonly TraceLocation[]> {
    const begun = this.timer.monotonicMs();
    const found = await super.locate(traceIds, options);
    this.metrics.locateSeconds.observe((this.timer.monotonicMs() - begun) / 1000);
    return found;
  }

  async apply(_records: readonly ReceivedRecord[], _position?: FeedPosition): Promise<void> {
    throw this.#refused('apply');
  }

  async expire(_beforeUnixNano: bigint): Promise<number> {
    throw this.#refused('expire');
  }

  async fold(_beforeUnixNano: bigint, _recordsMin?: number): Promise<number> {
    throw this.#refused('fold');
  }

  async clear(): Promise<void> {
    throw this.#refused('clear');
  }

  #refused(what: string): MeridianError {
    return new MeridianError('refused', `index ${what}: this index is open for reading only`, 'never');
  }

  async close(): Promise<void> {
    await this.link.close();
  }
}

interface PendingApply {
  readonly records: readonly ReceivedRecord[];
  readonly position: FeedPosition | null;
  resolve(): void;
  reject(error: unknown): void;
}

class WritableIndex extends ReadOnlyIndex implements TraceIndex {
  readonly #pending: PendingApply[] = [];
  readonly #losses: LossWatch;
  readonly #policy: ApplyPolicy;
  readonly #folds = new OneAtATime('index fold');
  #draining: Promise<void> | null = null;
  #closing = false;

  constructor(
    link: RedisLink,
    shards: readonly RedisShard[],
    private readonly options: RedisTraceIndexOptions,
    bucketBits: number,
    metrics: IndexMetrics,
  ) {
    super(link, shards, options.clock, metrics);
    this.#policy = { clock: options.clock, retentionMs: options.retentionMs, bucketBits };
    this.#losses = new LossWatch((why) =>
      options.logger.warn({ redis: link.where, why }, 'index: Redis lost records; it is filled anew'),
    );
  }

  /** Makes the shards that are not there. */
  async make(): Promise<void> {
    for (const shard of this.shards) {
      if (!(await shard.read('index open', () => []))) await this.#makeShard(shard);
      else await makeShard(shard, this.shards.length, '');
    }
  }

  async #makeShard(shard: RedisShard): Promise<void> {
    await wipeShard(shard);
    await makeShard(shard, this.shards.length, (this.options.newId ?? randomUUID)());
  }

  override async feedPosition(topic: string, partition: number): Promise<FeedPosition | null> {
    return this.#losses.asking(topic, partition, () => super.feedPosition(topic, partition));
  }

  /** Calls that come together share a write. */
  override apply(records: readonly ReceivedRecord[], position: FeedPosition | null = null): Promise<void> {
    if (records.length === 0 && !position) return Promise.resolve();
    if (this.#closing) {
      return Promise.reject(new MeridianError('shutting-down', 'index apply: the index is closed', 'later'));
    }
    if (this.#pending.length >= PENDING_APPLIES_MAX) {
      return Promise.reject(
        new MeridianError('overloaded', `index apply: ${PENDING_APPLIES_MAX} calls wait already`, 'later'),
      );
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ records, position, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      await this.#writeSome();
    }
    this.#draining = null;
  }

  /** One write of what waits: whole calls in order, up to the limit but at least one. */
  async #writeSome(): Promise<void> {
    let traces = 0;
    let calls = 0;
    for (const call of this.#pending) {
      const more = call.records.reduce((sum, record) => sum + record.traces.length, 0);
      if (calls > 0 && traces + more > TRACES_PER_WRITE_MAX) break;
      traces += more;
      calls++;
    }
    const taken = this.#pending.splice(0, calls);
    const begun = this.options.clock.monotonicMs();
    try {
      const changed = await this.#write(taken);
      this.metrics.appliedTraces.inc(traces);
      this.metrics.changedRecords.inc(changed);
      this.metrics.applySeconds.observe((this.options.clock.monotonicMs() - begun) / 1000);
      for (const call of taken) call.resolve();
    } catch (error) {
      this.options.logger.warn({ err: error, calls }, 'index apply failed');
      for (const call of taken) call.reject(error);
    }
  }

  /** To every shard: the records that belong there, then in the same script the watermarks and positions that speak for it. */
  async #write(calls: readonly PendingApply[]): Promise<number> {
    const byShard: TraceMetadata[][] = this.shards.map(() => []);
    for (const trace of joinedWithin(calls, this.options.home)) {
      byShard[shardOf(placeId(trace.traceId), this.shards.length)]!.push(trace);
    }
    const changed = await Promise.all(
      this.shards.map((shard, i) => shard.exclusive(() => this.#writeTo(shard, i, byShard[i]!, calls))),
    );
    return changed.reduce((sum, count) => sum + count, 0);
  }

  async #writeTo(
    shard: RedisShard,
    number: number,
    traces: readonly TraceMetadata[],
    calls: readonly PendingApply[],
  ): Promise<number> {
    const changeFor = async (view: ShardView | null): Promise<ShardChange | null> => {
      this.#losses.saw(number, view);
      if (!view) {
        await this.#makeShard(shard);
        return null;
      }
      const catalogue = calls.flatMap(({ records }) =>
        records.flatMap(({ region, catalogue }) => catalogue.map((entry) => ({ ...entry, region }))),
      );
      const believed = calls.map(({ records, position }) => this.#losses.believed(records, position));
      return {
        watermarks: believed.flatMap(({ watermarks }) => watermarks),
        positions: believed.flatMap(({ position }) => (position ? [position] : [])),
        catalogue: number === 0 ? catalogue : [],
      };
    };
    const { changed, writes } = await applyToShard(shard, traces, this.#policy, changeFor);
    this.#losses.wrote(number, writes);
    return changed;
  }

  override async expire(beforeUnixNano: bigint): Promise<number> {
    let removed = 0;
    for (const shard of this.shards) {
      removed += await expireShard(shard, beforeUnixNano);
      removed += await expireFolds(shard, beforeUnixNano);
    }
    await expireCatalogue(this.shards[0]!, beforeUnixNano);
    this.metrics.expiredRecords.inc(removed);
    return removed;
  }

  override async fold(beforeUnixNano: bigint, recordsMin = FOLD_RECORDS_MIN): Promise<number> {
    const { retentionMs } = this.options;
    const removed = await this.#folds.run(() => foldShards(this.shards, beforeUnixNano, recordsMin, retentionMs));
    this.metrics.foldedRecords.inc(removed);
    return removed;
  }

  override async clear(): Promise<void> {
    await this.#draining;
    for (const [number, shard] of this.shards.entries()) {
      await shard.exclusive(async () => {
        await this.#makeShard(shard);
        const read = await shard.read('index clear', () => []);
        this.#losses.cleared(number, read?.view ?? null);
      });
    }
  }

  override async close(): Promise<void> {
    this.#closing = true;
    await this.#draining;
    await super.close();
  }
}

/** The traces of all calls, those of one (trace, region) joined already. Blocks of other regions are left out. */
function joinedWithin(calls: readonly PendingApply[], home: RegionId): Iterable<TraceMetadata> {
  const joined = new Map<string, TraceMetadata>();
  for (const { traces } of calls.flatMap(({ records }) => records)) {
    for (const trace of traces) {
      const key = trace.traceId + trace.region;
      const own = trace.region === home || trace.blocks.length === 0 ? trace : { ...trace, blocks: [] };
      const before = joined.get(key);
      joined.set(key, before ? joinMetadata(before, own) : own);
    }
  }
  return joined.values();
}
