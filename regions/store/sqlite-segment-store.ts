import type { Registry } from 'prom-client';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { EncodedBlock, Segment } from '../segments/segment.js';
import { BlockCache } from './block-cache.js';
import { checkSearch } from './check-search.js';
import type { AgedBlocks } from './cold-aged-blocks.js';
import { AgedPacks } from './cold-aged-packs.js';
import { PackReader } from './pack-reader.js';
import { packConditions, type SearchWork, walkPacks } from './search-walk.js';
import type { SearchPage, SegmentStore } from './segment-store.js';
import { openForReading, unavailable } from './store-database.js';
import { StoreMetrics } from './store-metrics.js';
import { StoreWorkerClient } from './store-worker-client.js';

export interface SqliteSegmentStoreOptions {
  /** Made where it is missing. One process opens it at a time. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Inflated blocks kept in memory. Default 64 MiB. */
  readonly cacheBytesMax?: number;
  /** The database does not grow beyond this (`unavailable`); 0, the default: as far as the disk. */
  readonly bytesMax?: number;
  /** Encoded blocks given to `write` that are not durable yet; beyond it `write` rejects with `overloaded`. Default 64 MiB. */
  readonly pendingBytesMax?: number;
}

const DEFAULT_BYTES = 64 * 1024 * 1024;
/** How often a reading by id begins again because packs were replaced under it. */
const GET_ATTEMPTS = 8;

/** What the embedded store can be asked beyond the port, for tests and benchmarks. */
export interface SqliteSegmentStore extends SegmentStore {
  /** Packs what small blocks are due, and resolves when none is. */
  compact(): Promise<void>;
  /** The oldest packs, for the cold tier to take over. */
  readonly aged: AgedBlocks;
}

/**
 * The embedded segment store: one SQLite database (`store-database.ts`), written by a thread of its own, read from this one.
 * Rejects with `unknown-version` for a database of another build, or `unavailable`.
 */
export async function openSqliteSegmentStore(options: SqliteSegmentStoreOptions): Promise<SqliteSegmentStore> {
  const worker = new StoreWorkerClient({ database: { folder: options.folder, bytesMax: options.bytesMax ?? 0 } });
  await worker.start();
  try {
    const cache = new BlockCache(options.cacheBytesMax ?? DEFAULT_BYTES);
    const db = openForReading(options.folder);
    return new Store(options, worker, new PackReader(db, cache), cache, new AgedPacks(db, worker));
  } catch (error) {
    await worker.close();
    throw error;
  }
}

class Store implements SqliteSegmentStore {
  readonly aged: AgedBlocks;
  readonly #options: SqliteSegmentStoreOptions;
  readonly #worker: StoreWorkerClient;
  readonly #reader: PackReader;
  readonly #metrics: StoreMetrics;
  readonly #pendingBytesMax: number;
  #pendingBytes = 0;
  #closed = false;

  constructor(
    options: SqliteSegmentStoreOptions,
    worker: StoreWorkerClient,
    reader: PackReader,
    cache: BlockCache,
    aged: AgedBlocks,
  ) {
    this.#options = options;
    this.aged = aged;
    this.#worker = worker;
    this.#reader = reader;
    this.#metrics = new StoreMetrics(options.registry, cache);
    this.#pendingBytesMax = options.pendingBytesMax ?? DEFAULT_BYTES;
  }

  async write(blocks: readonly EncodedBlock[]): Promise<void> {
    this.#open('write');
    const bytes = blocks.reduce((sum, block) => sum + block.bytes.length, 0);
    // A call that is too large by itself is taken when nothing else waits.
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > this.#pendingBytesMax) {
      const message = `write ${blocks.length} blocks: ${this.#pendingBytes} bytes wait already, the limit is ${this.#pendingBytesMax}`;
      throw new MeridianError('overloaded', message, 'later');
    }
    this.#pendingBytes += bytes;
    const startMs = this.#options.clock.monotonicMs();
    try {
      await this.#worker.write(blocks.map((block) => new Uint8Array(block.bytes)));
      this.#metrics.wrote(blocks, this.#options.clock.monotonicMs() - startMs);
    } finally {
      this.#pendingBytes -= bytes;
    }
  }

  async get(
    source: RegionId,
    traceId: TraceId,
    hints?: { blocks: readonly BlockId[]; complete: boolean },
  ): Promise<readonly Segment[]> {
    this.#open('get');
    const startMs = this.#options.clock.monotonicMs();
    const what = `get trace ${traceId} of ${source} from the segment store`;
    for (let attempt = 0; attempt < GET_ATTEMPTS; attempt++) {
      const segments = await readingFrom(what, () => this.#get(source, traceId, hints));
      if (!segments) continue;
      this.#metrics.got(segments, this.#options.clock.monotonicMs() - startMs);
      return segments;
    }
    throw new MeridianError('unavailable', `${what}: blocks moved ${GET_ATTEMPTS} times meanwhile`, 'later');
  }

  async search(request: SearchRequest, signal: AbortSignal): Promise<SearchPage> {
    this.#open('search');
    checkSearch(request);
    const work: SearchWork = { packsListed: 0, packsInflated: 0 };
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    const page = await readingFrom(`search ${request.source} in the segment store`, () => {
      const listing = this.#reader.listing(request.source, packConditions(request), request.query.traceIds ?? null);
      return walkPacks(request, listing, signal, clock, work);
    });
    this.#metrics.searched(page, work, clock.monotonicMs() - startMs);
    return page;
  }

  async expire(beforeUnixNano: bigint): Promise<number> {
    this.#open('expire');
    const count = await this.#worker.expire(beforeUnixNano);
    this.#metrics.expired(count);
    if (count > 0) this.#options.logger.info({ blocks: count }, 'segment store: expired');
    return count;
  }

  async compact(): Promise<void> {
    await this.#worker.compact();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.close();
    await this.#worker.close();
  }

  async #get(source: RegionId, traceId: TraceId, hints?: { blocks: readonly BlockId[]; complete: boolean }) {
    const moves = this.#reader.moves();
    const packs = new Set(hints ? this.#reader.packsOfBlocks(hints.blocks) : []);
    if (!hints?.complete) for (const pack of this.#reader.packsOfTrace(source, traceId)) packs.add(pack);
    const blocks = await Promise.all([...packs].map((pack) => this.#reader.load(pack)));
    if (blocks.includes(null) && !this.#closed && this.#reader.moves() !== moves) return null;
    return blocks
      .filter((block) => block?.source === source)
      .flatMap((block) => block!.segments.filter((segment) => segment.metadata.traceId === traceId));
  }

  #open(attempted: string): void {
    if (this.#closed) throw new MeridianError('shutting-down', `${attempted}: the segment store is closed`, 'never');
  }
}

/** Gives what SQLite throws a code; errors that have one pass. */
async function readingFrom<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unavailable(what, error);
  }
}
