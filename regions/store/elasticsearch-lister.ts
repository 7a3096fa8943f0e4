import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import type { Block } from '../segments/segment.js';
import type { BlockCache } from './block-cache.js';
import type { Requests } from './elasticsearch-client.js';
import { searchTerms, traceTerm } from './elasticsearch-document.js';
import type { BlockList, BlockLister, ListedBlock, ListPlace } from './elasticsearch-search.js';
import { packConditions } from './search-walk.js';

/** A condition of Elasticsearch's query DSL. */
export type Filter = Readonly<Record<string, object>>;

export interface SearchAnswer {
  readonly pit_id?: string;
  readonly hits: {
    readonly hits: readonly {
      readonly _index: string;
      readonly _id: string;
      readonly sort: ListPlace;
      readonly fields: { readonly bytes: readonly number[] };
    }[];
  };
  readonly aggregations?: { readonly oldest: { readonly value: number | null } };
}

/** Blocks of one list request. */
export const LIST_BLOCKS = 512;
const PIT_KEEP = '1m';

export interface ListQuery {
  readonly filter: readonly Filter[];
  readonly size: number;
  readonly from: ListPlace | null;
  readonly aggregations?: object;
}

/** The body of a list request; `pit` where it is one of several over the same view. Pure. */
export function listBody({ filter, size, from, aggregations }: ListQuery, pit: string | null): object {
  return {
    size,
    query: { bool: { filter } },
    sort: [{ start_max: 'desc' }],
    track_total_hits: false,
    _source: false,
    docvalue_fields: ['bytes'],
    ...(pit === null ? {} : { pit: { id: pit, keep_alive: PIT_KEEP } }),
    ...(from === null ? {} : { search_after: from }),
    ...(aggregations ? { aggs: aggregations } : {}),
  };
}

export function listedBlocks({ hits }: SearchAnswer): ListedBlock[] {
  return hits.hits.map(({ _index, _id, sort, fields }) => ({
    id: _id as BlockId,
    index: _index,
    startMaxMs: Number(sort[0]),
    bytes: fields.bytes[0] ?? 0,
  }));
}

/** What the documents of a search's candidates have in common. Pure. */
export function searchFilter({ source, query, after }: SearchRequest): Filter[] {
  const { segmentStartUnixNanoMax: _, ...conditions } = packConditions({ source, query, after, limit: 1 });
  const filter: Filter[] = [{ term: { source } }];
  if (query.traceIds) filter.push({ terms: { traces: query.traceIds.map(traceTerm) } });
  for (const term of searchTerms(query)) filter.push({ term: { terms: term } });
  const spanStartMs = unixNanoToMs(conditions.spanStartUnixNanoMin);
  if (spanStartMs > 0) filter.push({ range: { span_start_max: { gte: spanStartMs } } });
  const durationMs = unixNanoToMs(conditions.durationNanoMin);
  if (durationMs > 0) filter.push({ range: { duration_max: { gte: durationMs } } });
  return filter;
}

export function traceFilter(source: RegionId, traceId: TraceId): Filter[] {
  return [{ term: { source } }, { term: { traces: traceTerm(traceId) } }];
}

/** The whole list in one request; null where it is longer than `size`. */
export async function listAtOnce(
  requests: Requests,
  alias: string,
  query: Omit<ListQuery, 'from'>,
  what: string,
): Promise<ListedBlock[] | null> {
  const answer = await requests.request<SearchAnswer>({
    what,
    method: 'POST',
    path: `/${alias}/_search`,
    query: { allow_partial_search_results: false },
    body: listBody({ ...query, from: null }, null),
  });
  return answer.hits.hits.length < query.size ? listedBlocks(answer) : null;
}

/** Lists over one point in time, opened when it is first needed. `close` gives it back. */
export class PointInTime {
  readonly #requests: Requests;
  readonly #alias: string;
  readonly #what: string;
  readonly #signal: AbortSignal | null;
  #id: Promise<string> | null = null;

  constructor(requests: Requests, alias: string, what: string, signal: AbortSignal | null) {
    this.#requests = requests;
    this.#alias = alias;
    this.#what = what;
    this.#signal = signal;
  }

  async list(query: ListQuery): Promise<{ list: BlockList; answer: SearchAnswer }> {
    this.#id ??= this.#open();
    const answer = await this.#requests.request<SearchAnswer>({
      what: this.#what,
      method: 'POST',
      path: '/_search',
      query: { allow_partial_search_results: false },
      body: listBody(query, await this.#id),
      ...(this.#signal ? { signal: this.#signal } : {}),
    });
    if (answer.pit_id) this.#id = Promise.resolve(answer.pit_id);
    const blocks = listedBlocks(answer);
    const next = blocks.length < query.size ? null : (answer.hits.hits.at(-1)?.sort ?? null);
    return { list: { blocks, next }, answer };
  }

  /** Does not wait for it, and does not mind where it fails: it ends by itself after a minute. */
  close(): void {
    this.#id
      ?.then((id) =>
        this.#requests.request({ what: `${this.#what}: end`, method: 'DELETE', path: '/_pit', body: { id } }),
      )
      .catch(() => {});
  }

  async #open(): Promise<string> {
    const { id } = await this.#requests.request<{ id: string }>({
      what: this.#what,
      method: 'POST',
      path: `/${this.#alias}/_pit`,
      query: { keep_alive: PIT_KEEP, allow_partial_search_results: false },
      ...(this.#signal ? { signal: this.#signal } : {}),
    });
    return id;
  }
}

/** The lister of one search. */
export function searchLister(request: SearchRequest, pit: PointInTime, load: BlockLister['load']): BlockLister {
  const filter = searchFilter(request);
  const across = (limitMs: number): Filter[] => [
    ...filter,
    { range: { start_max: { gt: limitMs } } },
    { range: { start_min: { lte: limitMs } } },
  ];
  return {
    load,
    async below(limitMs, from) {
      const query = { filter: [...filter, { range: { start_max: { lte: limitMs } } }], size: LIST_BLOCKS, from };
      return (await pit.list(query)).list;
    },
    async across(limitMs, { first, last }, from) {
      const window = { range: { starts: { gte: first, lte: last } } };
      return (await pit.list({ filter: [...across(limitMs), window], size: LIST_BLOCKS, from })).list;
    },
    async acrossOldestMs(limitMs) {
      const aggregations = { oldest: { min: { field: 'start_min' } } };
      const { answer } = await pit.list({ filter: across(limitMs), size: 0, from: null, aggregations });
      return answer.aggregations?.oldest.value ?? null;
    },
  };
}

interface FetchedDocuments {
  readonly docs: readonly {
    readonly _id: string;
    readonly found?: boolean;
    readonly _source?: { readonly frame: string };
    readonly error?: { readonly type: string; readonly reason?: string };
  }[];
}

/** Documents of one request for blocks. */
export const FETCH_DOCUMENTS_MAX = 1024;
const MISSING = new Set(['index_not_found_exception', 'index_closed_exception']);

/** Where a block may be. */
export interface BlockPlace {
  readonly id: BlockId;
  readonly index: string;
}

/**
 * Inflated blocks by their places, in one request for those that the cache does not have, whatever the refresh interval. A block that is in none of
 * its places is not in the result.
 */
export async function loadBlocks(
  requests: Requests,
  cache: BlockCache<string>,
  places: readonly BlockPlace[],
  what: string,
): Promise<Map<BlockId, Block>> {
  const placesOf = new Map<BlockId, string[]>();
  for (const { id, index } of places) {
    const known = placesOf.get(id);
    if (known) known.push(index);
    else placesOf.set(id, [index]);
  }
  const batch = new FetchBatch(requests, what);
  const found = new Map<BlockId, Block>();
  const loading = [...placesOf].map(async ([id, indices]) => {
    const block = await cache.get(id, () =>
      batch.frame(id, indices).then((frame) => (frame ? inflate(id, frame) : null)),
    );
    if (block) found.set(id, block);
  });
  batch.send();
  await Promise.all(loading);
  return found;
}

/** The frames of documents, base64, in order; null where a document is not (any more) in its place. */
export async function fetchFrames(
  requests: Requests,
  places: readonly BlockPlace[],
  what: string,
): Promise<(string | null)[]> {
  const frames: (string | null)[] = [];
  for (let i = 0; i < places.length; i += FETCH_DOCUMENTS_MAX) {
    const wanted = places.slice(i, i + FETCH_DOCUMENTS_MAX).map(({ id, index }) => ({ _id: id, _index: index }));
    const { docs } = await requests.request<FetchedDocuments>({
      what,
      method: 'POST',
      path: '/_mget',
      body: { docs: wanted },
    });
    for (const { _id, _source, error } of docs) frames.push(frameOf(_id, _source, error, what));
  }
  return frames;
}

function frameOf(
  id: string,
  source: { readonly frame: string } | undefined,
  error: { readonly type: string; readonly reason?: string } | undefined,
  what: string,
): string | null {
  if (error && !MISSING.has(error.type)) {
    const message = `${what}: block ${id}: ${error.type}: ${error.reason ?? ''}`;
    throw new MeridianError('unavailable', message, 'later');
  }
  return source?.frame ?? null;
}

async function inflate(id: BlockId, frame: string): Promise<Block> {
  const block = await decodeBlock(readEncodedBlock(Buffer.from(frame, 'base64')));
  if (block.id === id) return block;
  throw new MeridianError('malformed', `the document of block ${id} holds block ${block.id}`, 'never');
}

/** Gathers what a caller asks for in one turn into requests. */
class FetchBatch {
  readonly #requests: Requests;
  readonly #what: string;
  readonly #wanted: BlockPlace[] = [];
  readonly #frames: Promise<Map<string, string>>;
  send!: () => void;

  constructor(requests: Requests, what: string) {
    this.#requests = requests;
    this.#what = what;
    this.#frames = new Promise<void>((resolve) => {
      this.send = resolve;
    }).then(() => this.#fetch());
    this.#frames.catch(() => {});
  }

  async frame(id: BlockId, indices: readonly string[]): Promise<string | null> {
    for (const index of indices) this.#wanted.push({ id, index });
    return (await this.#frames).get(id) ?? null;
  }

  async #fetch(): Promise<Map<string, string>> {
    const frames = new Map<string, string>();
    for (const [i, frame] of (await fetchFrames(this.#requests, this.#wanted, this.#what)).entries()) {
      if (frame !== null) frames.set(this.#wanted[i]!.id, frame);
    }
    return frames;
  }
}
