import { setMaxListeners } from 'node:events';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block, EncodedBlock, Segment } from '../segments/segment.js';
import { BlockCache } from './block-cache.js';
import { checkSearch } from './check-search.js';
import type { AgedBlocks } from './cold-aged-blocks.js';
import { AgedDocuments } from './elasticsearch-aged.js';
import { BulkWriter } from './elasticsearch-bulk.js';
import { type ClientOptions, ElasticsearchClient } from './elasticsearch-client.js';
import { type BlockDocument, blockDocument } from './elasticsearch-document.js';
import { isFailure } from './elasticsearch-errors.js';
import { expireBlocks } from './elasticsearch-expire.js';
import { ElasticsearchIndices, type RolloverLimits } from './elasticsearch-indices.js';
import { LIST_BLOCKS, listAtOnce, loadBlocks, PointInTime, searchLister, traceFilter } from './elasticsearch-lister.js';
import { PatientReads } from './elasticsearch-reads.js';
import { type SchemaNames, schemaNames } from './elasticsearch-schema.js';
import { type BlockList, type ListedBlock, type ListPlace, walkBlocks } from './elasticsearch-search.js';
import { bulkSender } from './elasticsearch-send.js';
import { SharedRefresh } from './elasticsearch-shared-refresh.js';
import { createElasticsearchSnapshots, type SnapshotPlace } from './elasticsearch-snapshots.js';
import { warmIndices } from './elasticsearch-warm.js';
import type { SearchWork } from './search-walk.js';
import type { SearchPage, SegmentStore } from './segment-store.js';
import type { SnapshotEngine } from './snapshot-record.js';
import { StoreMetrics } from './store-metrics.js';

export interface ElasticsearchSegmentStoreOptions extends ClientOptions {
  /** Names of indices, aliases and the template begin with it. Stores of several regions in one cluster need several. */
  readonly indexPrefix: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of an index that is made from now on. Default 1. */
  readonly shards?: number;
  /** Default 1; 0 for a single node. */
  readonly replicas?: number;
  /** Time until what was written shows in searches; 1 to 1,000, the default. */
  readonly refreshMs?: number;
  /** When a new index is begun. Default: 1 day, 40 GiB a shard, or 100 million blocks. */
  readonly rollover?: Partial<RolloverLimits>;
  /** How often those limits are looked at, while there are writes. Default 10 s. */
  readonly rolloverCheckMs?: number;
  /** Inflated blocks kept in memory. Default 64 MiB. */
  readonly cacheBytesMax?: number;
  /** Encoded blocks given to `write` that are not durable yet; beyond it `write` rejects with `overloaded`. Default 64 MiB. */
  readonly pendingBytesMax?: number;
  /** Bulk requests on their way at once, at most. Default 4. */
  readonly bulksMax?: number;
  /** Of one bulk request; a larger block goes alone. Default 8 MiB. */
  readonly bulkBytesMax?: number;
  /** Default 64. */
  readonly bulkBlocksMax?: number;
  /** Reading requests on their way at once, at most. Default 16. */
  readonly readsMax?: number;
  /** Replicas of a warm index. Default: as many as before. */
  readonly warmReplicas?: number;
  /** How long a write goes on against 429 before it rejects. Default 20 s. */
  readonly writeBudgetMs?: number;
}

export const ELASTICSEARCH_STORE_DEFAULTS = {
  shards: 1,
  replicas: 1,
  refreshMs: 1_000,
  rolloverCheckMs: 10_000,
  cacheBytesMax: 64 * 1024 * 1024,
  pendingBytesMax: 64 * 1024 * 1024,
  bulksMax: 4,
  bulkBytesMax: 8 * 1024 * 1024,
  bulkBlocksMax: 64,
  readsMax: 16,
  writeBudgetMs: 20_000,
} as const;
export const ROLLOVER_DEFAULTS: RolloverLimits = {
  ageMs: 24 * 3_600_000,
  shardBytes: 40 * 1024 ** 3,
  blocks: 100_000_000,
};
/** Hinted blocks that are asked for by name, in every index; beyond it the trace is looked up by its term alone. */
export const HINTS_MAX = 64;
/** How long the names of the indices are taken as known where a block is in one of them. */
const INDICES_KNOWN_MS = 5_000;
/** Blocks that a write inflates at once. */
const INFLATING_MAX = 4;

/** What the store can be asked beyond the port, for tests and commands. */
export interface ElasticsearchSegmentStore extends SegmentStore {
  /** Begins a new index if the present one has reached a limit; resolves with its name, or null. */
  rollOver(): Promise<string | null>;
  /** The oldest documents, for the cold tier to take over. */
  readonly aged: AgedBlocks;
  /** Merges indices whose newest block is older and stops writes to them, as `elasticsearch-warm.ts` says; resolves with how many became warm. */
  warm(beforeUnixNano: bigint): Promise<number>;
  /** Elasticsearch's own snapshots of this store; see `elasticsearch-snapshots.ts`. */
  snapshots(where: SnapshotPlace): SnapshotEngine;
}

/**
 * The segment store in Elasticsearch 8: a document per block (elasticsearch-document.ts), in indices that it rolls over and removes itself. Rejects
 * with `configuration` where an index or template of its names is somebody else's or was changed, `unknown-version` where it is of
 * another build, `unavailable` where Elasticsearch does not answer.
 */
export async function openElasticsearchSegmentStore(
  options: ElasticsearchSegmentStoreOptions,
): Promise<ElasticsearchSegmentStore> {
  const names = schemaNames(options.indexPrefix);
  const refreshMs = options.refreshMs ?? ELASTICSEARCH_STORE_DEFAULTS.refreshMs;
  if (!Number.isInteger(refreshMs) || refreshMs < 1 || refreshMs > ELASTICSEARCH_STORE_DEFAULTS.refreshMs) {
    throw new MeridianError('configuration', `refreshMs ${refreshMs} is not from 1 to 1000`, 'never');
  }
  const client = new ElasticsearchClient(options);
  try {
    const indices = new ElasticsearchIndices({
      client,
      names,
      settings: { ...ELASTICSEARCH_STORE_DEFAULTS, ...options, refreshMs },
      limits: { ...ROLLOVER_DEFAULTS, ...options.rollover },
      clock: options.clock,
      logger: options.logger,
    });
    await indices.ensure();
    return new Store(options, client, names, indices);
  } catch (error) {
    await client.close();
    throw error;
  }
}

type CompleteOptions = ElasticsearchSegmentStoreOptions & Record<keyof typeof ELASTICSEARCH_STORE_DEFAULTS, number>;

class Store implements ElasticsearchSegmentStore {
  readonly aged: AgedBlocks;
  readonly #options: CompleteOptions;
  readonly #client: ElasticsearchClient;
  readonly #names: SchemaNames;
  readonly #indices: ElasticsearchIndices;
  readonly #cache: BlockCache<string>;
  readonly #metrics: StoreMetrics;
  readonly #bulk: BulkWriter;
  readonly #reads: PatientReads;
  readonly #refresh: SharedRefresh;
  readonly #closing = new AbortController();
  readonly #writes = new Set<Promise<void>>();
  #pendingBytes = 0;
  #rollingOver: Promise<unknown> = Promise.resolve();
  #rolloverCheckedMs: number;

  constructor(
    options: ElasticsearchSegmentStoreOptions,
    client: ElasticsearchClient,
    names: SchemaNames,
    indices: ElasticsearchIndices,
  ) {
    this.#options = { ...ELASTICSEARCH_STORE_DEFAULTS, ...options };
    const { clock, registry, bulksMax, bulkBytesMax, bulkBlocksMax, writeBudgetMs, cacheBytesMax } = this.#options;
    this.#client = client;
    this.#names = names;
    this.#indices = indices;
    this.#cache = new BlockCache(cacheBytesMax);
    this.#metrics = new StoreMetrics(registry, this.#cache);
    // Every wait hangs on it.
    setMaxListeners(0, this.#closing.signal);
    this.#reads = new PatientReads(client, clock, this.#options.readsMax, this.#closing.signal);
    this.aged = new AgedDocuments(this.#reads, indices, names);
    this.#refresh = new SharedRefresh(() => indices.refresh());
    this.#bulk = new BulkWriter({
      send: bulkSender(client, names, () => indices.ensure()),
      clock,
      registry,
      concurrencyMax: bulksMax,
      bytesMax: bulkBytesMax,
      blocksMax: bulkBlocksMax,
      budgetMs: writeBudgetMs,
      signal: this.#closing.signal,
    });
    this.#rolloverCheckedMs = clock.monotonicMs();
  }

  write(blocks: readonly EncodedBlock[]): Promise<void> {
    const write = this.#write(blocks).finally(() => this.#writes.delete(write));
    this.#writes.add(write);
    return write;
  }

  async get(
    source: RegionId,
    traceId: TraceId,
    hints?: { blocks: readonly BlockId[]; complete: boolean },
  ): Promise<readonly Segment[]> {
    this.#open('get');
    const startMs = this.#options.clock.monotonicMs();
    const what = `get trace ${traceId} of ${source} from Elasticsearch`;
    const named = hints && hints.blocks.length <= HINTS_MAX ? hints.blocks : [];
    const byNameIsEnough = hints?.complete === true && hints.blocks.length <= HINTS_MAX;
    const blocks = await this.#reading(async () => {
      const [hinted, listed] = await Promise.all([
        this.#byName(named, what),
        byNameIsEnough ? [] : this.#ofTrace(source, traceId, what),
      ]);
      const rest = listed.filter(({ id }) => !hinted.has(id));
      return [...hinted.values(), ...(await loadBlocks(this.#reads, this.#cache, rest, what)).values()];
    });
    const segments = blocks
      .filter((block) => block.source === source)
      .flatMap((block) => block.segments.filter((segment) => segment.metadata.traceId === traceId));
    this.#metrics.got(segments, this.#options.clock.monotonicMs() - startMs);
    return segments;
  }

  async search(request: SearchRequest, signal: AbortSignal): Promise<SearchPage> {
    this.#open('search');
    checkSearch(request);
    const work: SearchWork = { packsListed: 0, packsInflated: 0 };
    const startMs = this.#options.clock.monotonicMs();
    const what = `search ${request.source} in Elasticsearch`;
    const page = await this.#reading(async () => {
      const pit = new PointInTime(this.#reads, this.#names.read, what, signal);
      const lister = searchLister(request, pit, (blocks) => untilAborted(this.#load(blocks, what), signal));
      try {
        return await walkBlocks(request, lister, signal, work);
      } finally {
        pit.close();
      }
    });
    this.#metrics.searched(page, work, this.#options.clock.monotonicMs() - startMs);
    return page;
  }

  async expire(beforeUnixNano: bigint): Promise<number> {
    this.#open('expire');
    const { ageMs } = { ...ROLLOVER_DEFAULTS, ...this.#options.rollover };
    const count = await expireBlocks(this.#reads, this.#indices, this.#names, beforeUnixNano, 2 * ageMs);
    this.#metrics.expired(count);
    if (count > 0) {
      this.#cache.clear();
      this.#options.logger.info({ blocks: count }, 'segment store: expired');
    }
    return count;
  }

  warm(beforeUnixNano: bigint): Promise<number> {
    this.#open('warm');
    return warmIndices(this.#reads, this.#indices, this.#names, beforeUnixNano, this.#options.warmReplicas);
  }

  snapshots(where: SnapshotPlace): SnapshotEngine {
    const restored = () => {
      this.#cache.clear();
      return this.#indices.ensure();
    };
    const { clock } = this.#options;
    return createElasticsearchSnapshots({ ...where, requests: this.#client, names: this.#names, clock, restored });
  }

  rollOver(): Promise<string | null> {
    this.#rolloverCheckedMs = this.#options.clock.monotonicMs();
    return this.#indices.rollOver();
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await Promise.allSettled([...this.#writes, this.#rollingOver]);
    await this.#client.close();
  }

  async #write(blocks: readonly EncodedBlock[]): Promise<void> {
    this.#open('write');
    if (blocks.length === 0) return;
    const { clock, pendingBytesMax } = this.#options;
    const bytes = blocks.reduce((sum, block) => sum + block.bytes.length, 0);
    // A call that is too large by itself is taken when nothing else waits.
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > pendingBytesMax) {
      const message = `write ${blocks.length} blocks: ${this.#pendingBytes} bytes wait already, the limit is ${pendingBytesMax}`;
      throw new MeridianError('overloaded', message, 'later');
    }
    this.#pendingBytes += bytes;
    const startMs = clock.monotonicMs();
    try {
      await this.#bulk.write(await documentsOf(blocks));
      this.#metrics.wrote(blocks, clock.monotonicMs() - startMs);
    } finally {
      this.#pendingBytes -= bytes;
    }
    this.#rollOverIfDue();
  }

  #rollOverIfDue(): void {
    const { clock, rolloverCheckMs, logger } = this.#options;
    if (clock.monotonicMs() - this.#rolloverCheckedMs < rolloverCheckMs || this.#closing.signal.aborted) return;
    this.#rollingOver = this.rollOver().catch((error: unknown) =>
      logger.warn(
        { error: messageOf(error) },
        'segment store: could not see whether a new index is due, tried again later',
      ),
    );
  }

  /** Blocks by their ids, in whatever index; seen at once after they were written. */
  async #byName(ids: readonly BlockId[], what: string): Promise<Map<BlockId, Block>> {
    const found = new Map<BlockId, Block>();
    if (ids.length === 0) return found;
    let looked: readonly string[] = [];
    for (const knownMs of [INDICES_KNOWN_MS, 0]) {
      const indices = await this.#indices.list(knownMs);
      const missing = ids.filter((id) => !found.has(id));
      const unlooked = indices.filter((index) => !looked.includes(index));
      if (missing.length === 0 || unlooked.length === 0) break;
      const places = missing.flatMap((id) => unlooked.map((index) => ({ id, index })));
      for (const [id, block] of await loadBlocks(this.#reads, this.#cache, places, what)) found.set(id, block);
      looked = indices;
    }
    return found;
  }

  async #ofTrace(source: RegionId, traceId: TraceId, what: string): Promise<ListedBlock[]> {
    await this.#refresh.run();
    const filter = traceFilter(source, traceId);
    const few = await listAtOnce(this.#reads, this.#names.read, { filter, size: LIST_BLOCKS }, what);
    if (few) return few;
    const pit = new PointInTime(this.#reads, this.#names.read, what, null);
    const listed: ListedBlock[] = [];
    try {
      for (let from: ListPlace | null = null; ; ) {
        const { blocks, next }: BlockList = (await pit.list({ filter, size: LIST_BLOCKS, from })).list;
        listed.push(...blocks);
        if (!next) return listed;
        from = next;
      }
    } finally {
      pit.close();
    }
  }

  async #load(blocks: readonly ListedBlock[], what: string): Promise<(Block | null)[]> {
    const found = await loadBlocks(this.#reads, this.#cache, blocks, what);
    return blocks.map(({ id }) => found.get(id) ?? null);
  }

  /** Once more where an index went away meanwhile; the indices are made again if they are all gone. */
  async #reading<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (!isFailure(error, 'missing')) throw error;
      await this.#indices.ensure();
      return read();
    }
  }

  #open(attempted: string): void {
    if (!this.#closing.signal.aborted) return;
    throw new MeridianError('shutting-down', `${attempted}: the segment store is closed`, 'never');
  }
}

/** Inflates blocks, some at a time. Throws `malformed`, `unknown-version` or `too-large`. */
async function documentsOf(blocks: readonly EncodedBlock[]): Promise<BlockDocument[]> {
  const documents: BlockDocument[] = [];
  for (let i = 0; i < blocks.length; i += INFLATING_MAX) {
    const encoded = blocks.slice(i, i + INFLATING_MAX).map(({ bytes }) => readEncodedBlock(bytes));
    const inflated = await Promise.all(encoded.map(decodeBlock));
    for (const [at, block] of inflated.entries()) {
      documents.push(documentOf(block, encoded[at]!));
      // Each takes a millisecond or two: others on the event loop go in between.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
  return documents;
}

function documentOf(block: Block, encoded: EncodedBlock): BlockDocument {
  try {
    return blockDocument(block, encoded);
  } catch (error) {
    if (!(error instanceof MeridianError)) throw error;
    throw new MeridianError(error.code, `block ${block.id}: ${error.message}`, error.retry, { cause: error });
  }
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new MeridianError('timeout', 'search in Elasticsearch: given up', 'later'));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
