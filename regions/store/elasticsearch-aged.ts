import type { BlockId } from '../../global/model/metadata.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import { AGED_BLOCKS_MAX, type AgedBlock, type AgedBlocks, type AgedHour } from './cold-aged-blocks.js';
import { HOUR_MS } from './cold-object-name.js';
import type { Requests } from './elasticsearch-client.js';
import { contents, deleteListed } from './elasticsearch-expire.js';
import type { ElasticsearchIndices } from './elasticsearch-indices.js';
import { type BlockPlace, fetchFrames, LIST_BLOCKS } from './elasticsearch-lister.js';
import type { SchemaNames } from './elasticsearch-schema.js';

interface OldestAnswer {
  readonly aggregations?: { readonly oldest: { readonly value: number | null } };
}

interface HourAnswer {
  readonly hits: {
    readonly hits: readonly {
      readonly _index: string;
      readonly _id: string;
      readonly fields: { readonly bytes: readonly number[] };
    }[];
  };
}

/** The old documents of the store in Elasticsearch. An index that has none left is removed, but for the one that takes writes. */
export class AgedDocuments implements AgedBlocks {
  readonly #requests: Requests;
  readonly #indices: ElasticsearchIndices;
  readonly #names: SchemaNames;

  constructor(requests: Requests, indices: ElasticsearchIndices, names: SchemaNames) {
    this.#requests = requests;
    this.#indices = indices;
    this.#names = names;
  }

  async oldest(fromMs: number, beforeMs: number): Promise<AgedHour | null> {
    await this.#indices.refresh();
    const { aggregations } = await this.#search<OldestAnswer>('find the oldest blocks', {
      size: 0,
      query: newestIn(fromMs, beforeMs),
      aggs: { oldest: { min: { field: 'newest' } } },
    });
    const newest = aggregations?.oldest.value ?? null;
    if (newest === null) return null;
    const hourMs = newest - (newest % HOUR_MS);
    const { hits } = await this.#search<HourAnswer>('list the oldest blocks', {
      size: AGED_BLOCKS_MAX,
      query: newestIn(hourMs, hourMs + HOUR_MS),
      track_total_hits: false,
      _source: false,
      docvalue_fields: ['bytes'],
    });
    const blocks = hits.hits.map(({ _index, _id, fields }) => ({
      place: placeOf({ index: _index, id: _id as BlockId }),
      bytes: fields.bytes[0] ?? 0,
    }));
    return { hourMs, blocks: blocks.sort((a, b) => (a.place < b.place ? -1 : 1)) };
  }

  async read(blocks: readonly AgedBlock[]): Promise<readonly (EncodedBlock | null)[]> {
    const places = blocks.map(({ place }) => parsePlace(place));
    const frames = await fetchFrames(this.#requests, places, `read ${blocks.length} old blocks from Elasticsearch`);
    return frames.map((frame) => (frame === null ? null : readEncodedBlock(Buffer.from(frame, 'base64'))));
  }

  async remove(blocks: readonly AgedBlock[]): Promise<number> {
    const places = blocks.map(({ place }) => parsePlace(place));
    await this.#indices.allowDeletes([...new Set(places.map(({ index }) => index))]);
    let removed = 0;
    for (let i = 0; i < places.length; i += LIST_BLOCKS) {
      removed += await deleteListed(this.#requests, places.slice(i, i + LIST_BLOCKS));
    }
    await this.#removeEmpty(new Set(places.map(({ index }) => index)));
    return removed;
  }

  async #removeEmpty(touched: ReadonlySet<string>): Promise<void> {
    if (touched.size === 0) return;
    await this.#indices.refresh();
    const writing = await this.#indices.writing();
    const full = new Set((await contents(this.#requests, this.#names)).map(({ index }) => index));
    for (const index of touched) {
      // A later name: a rollover has come between.
      if (writing === null || index >= writing || full.has(index)) continue;
      await this.#indices.remove(index);
    }
  }

  #search<T>(what: string, body: object): Promise<T> {
    return this.#requests.request<T>({
      what: `${what} in Elasticsearch`,
      method: 'POST',
      path: `/${this.#names.read}/_search`,
      query: { allow_partial_search_results: false },
      body,
    });
  }
}

function newestIn(fromMs: number, beforeMs: number): object {
  return { bool: { filter: [{ range: { newest: { gte: fromMs, lt: beforeMs } } }] } };
}

function placeOf({ index, id }: BlockPlace): string {
  return `${index} ${id}`;
}

/** Neither indices nor block ids have spaces. */
function parsePlace(place: string): BlockPlace {
  const [index, id] = place.split(' ') as [string, BlockId];
  return { index, id };
}
