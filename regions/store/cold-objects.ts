import { crc32 } from 'node:zlib';
import pLimit, { type LimitFunction } from 'p-limit';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block } from '../segments/segment.js';
import { BlockCache } from './block-cache.js';
import type { ColdMetrics } from './cold-metrics.js';
import {
  COLD_FOOTER_BYTES,
  type ColdBlockSummary,
  type ColdPage,
  type ColdSummary,
  checked,
  readColdFooter,
  readColdSummary,
} from './cold-object.js';
import { COLD_ROOT, type ColdObjectName, parseColdName } from './cold-object-name.js';
import { listAll, type ObjectStorage, type StoredObject } from './cold-object-storage.js';

export interface ColdObject extends ColdObjectName {
  readonly name: string;
  readonly bytes: number;
}

export interface ColdObjectsOptions {
  readonly storage: ObjectStorage;
  readonly clock: Clock;
  readonly metrics: ColdMetrics;
  /** How long a list of objects is taken as known; 0: only this process changes the storage, and one list is enough. */
  readonly listKnownMs: number;
  /** Summaries kept in memory. */
  readonly summaryBytesMax: number;
  /** Inflated blocks kept in memory. */
  readonly cacheBytesMax: number;
  /** Reads on their way at once. */
  readonly readsMax: number;
}

/** Read with the footer in the hope that the summary is in it. */
const TAIL_BYTES = 64 * 1024;

/** The cold objects that there are, and their parts; what is asked for again is kept, within bounds. */
export class ColdObjects {
  readonly #options: ColdObjectsOptions;
  readonly #limit: LimitFunction;
  readonly #cache: BlockCache<string>;
  readonly #lists = new Map<RegionId, { atMs: number; objects: Promise<ColdObject[]> }>();
  readonly #summaries = new Map<string, ColdSummary>();
  readonly #loading = new Map<string, Promise<ColdSummary>>();
  #summaryBytes = 0;

  constructor(options: ColdObjectsOptions) {
    this.#options = options;
    this.#limit = pLimit(options.readsMax);
    this.#cache = new BlockCache(options.cacheBytesMax);
    options.metrics.gauge('meridian_cold_cache_bytes', 'Inflated cold blocks in memory', () => this.#cache.bytes);
    options.metrics.gauge(
      'meridian_cold_summary_bytes',
      'Summaries of cold objects in memory',
      () => this.#summaryBytes,
    );
  }

  /** The objects of a source, the newest hour first. */
  async of(source: RegionId): Promise<readonly ColdObject[]> {
    const { clock, listKnownMs, storage } = this.#options;
    const known = this.#lists.get(source);
    const atMs = clock.monotonicMs();
    if (known && (listKnownMs === 0 || atMs - known.atMs < listKnownMs)) return known.objects;
    const objects = this.#limit(() => listAll(storage, `${COLD_ROOT}${source}/`)).then((all) =>
      all.flatMap(coldObject).reverse(),
    );
    const list = { atMs, objects };
    this.#lists.set(source, list);
    // A list that failed is asked for again by the next.
    objects.catch(() => this.#lists.get(source) === list && this.#lists.delete(source));
    return objects;
  }

  /** Every object there is, of any source. */
  async all(): Promise<readonly ColdObject[]> {
    return (await listAll(this.#options.storage, COLD_ROOT)).flatMap(coldObject);
  }

  /** To be called when this process has put or removed objects of the source. */
  changed(source: RegionId): void {
    this.#lists.delete(source);
  }

  /** Null where the object is gone: expired. Rejects with `malformed` or `unknown-version`, which names the object. */
  async summary(object: ColdObject): Promise<ColdSummary | null> {
    const known = this.#summaries.get(object.name);
    if (known) {
      this.#summaries.delete(object.name);
      this.#summaries.set(object.name, known);
      return known;
    }
    let loading = this.#loading.get(object.name);
    if (!loading) {
      loading = this.#loadSummary(object).finally(() => this.#loading.delete(object.name));
      this.#loading.set(object.name, loading);
    }
    return unlessGone(loading);
  }

  page(object: ColdObject, page: ColdPage): Promise<Buffer | null> {
    return unlessGone(this.#read('page', object, page.at, page.length));
  }

  async filter(object: ColdObject, { filterAt, filterLength }: ColdBlockSummary): Promise<Buffer | null> {
    const bytes = await unlessGone(this.#read('filter', object, filterAt, filterLength + 4));
    return bytes && checked(bytes, `cold object ${object.name}: filter`);
  }

  /** The encoded block; null where the object is gone. */
  async encoded(object: ColdObject, { id, at, length, crc }: ColdBlockSummary): Promise<Buffer | null> {
    const bytes = await unlessGone(this.#read('block', object, at, length));
    if (bytes && crc32(bytes) !== crc) {
      throw new MeridianError(
        'malformed',
        `cold object ${object.name}: the checksum of block ${id} does not match`,
        'never',
      );
    }
    return bytes;
  }

  /** Inflated; null where the object is gone. */
  async block(object: ColdObject, summary: ColdBlockSummary): Promise<Block | null> {
    return this.#cache.get(`${object.name} ${summary.at}`, async () => {
      const bytes = await this.encoded(object, summary);
      return bytes && decodeBlock(readEncodedBlock(bytes));
    });
  }

  async #loadSummary(object: ColdObject): Promise<ColdSummary> {
    const what = `cold object ${object.name}`;
    if (object.bytes < COLD_FOOTER_BYTES)
      throw new MeridianError('malformed', `${what}: ${object.bytes} bytes`, 'never');
    const tailBytes = Math.min(object.bytes, TAIL_BYTES);
    const tail = await this.#read('summary', object, object.bytes - tailBytes, tailBytes);
    const footerAt = tail.length - COLD_FOOTER_BYTES;
    const { length, crc } = readColdFooter(tail.subarray(footerAt), object.bytes, what);
    const bytes =
      length <= footerAt
        ? tail.subarray(footerAt - length, footerAt)
        : await this.#read('summary', object, object.bytes - COLD_FOOTER_BYTES - length, length);
    const summary = readColdSummary(bytes, crc, object.bytes, what);
    if (summary.source !== object.source) {
      throw new MeridianError('malformed', `${what}: it holds blocks of ${summary.source}`, 'never');
    }
    this.#keep(object.name, summary);
    return summary;
  }

  #keep(name: string, summary: ColdSummary): void {
    const { summaryBytesMax } = this.#options;
    if (summary.bytes > summaryBytesMax) return;
    this.#summaries.set(name, summary);
    this.#summaryBytes += summary.bytes;
    for (const [oldest, { bytes }] of this.#summaries) {
      if (this.#summaryBytes <= summaryBytesMax) break;
      this.#summaries.delete(oldest);
      this.#summaryBytes -= bytes;
    }
  }

  async #read(part: string, { name }: ColdObject, from: number, length: number): Promise<Buffer> {
    const bytes = await this.#limit(() => this.#options.storage.read(name, from, length));
    this.#options.metrics.read(part, bytes.length);
    return bytes;
  }
}

/** Objects of other names in the same place are left alone. */
function coldObject({ name, bytes }: StoredObject): ColdObject[] {
  const parts = parseColdName(name);
  return parts ? [{ ...parts, name, bytes }] : [];
}

/** Objects go when they are past their retention, also while somebody reads. */
async function unlessGone<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof MeridianError && error.code === 'not-found') return null;
    throw error;
  }
}
