import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Requests } from './elasticsearch-client.js';
import type { ElasticsearchIndices } from './elasticsearch-indices.js';
import { type BlockPlace, LIST_BLOCKS, PointInTime } from './elasticsearch-lister.js';
import type { SchemaNames } from './elasticsearch-schema.js';
import type { BlockList, ListPlace } from './elasticsearch-search.js';

/** What an index holds. */
export interface IndexContent {
  readonly index: string;
  readonly blocks: number;
  /** Newest of all its blocks. */
  readonly newestMs: number;
}

/** What retention does with an index. */
export type Fate = 'keep' | 'remove' | 'delete-blocks';

/** Blocks that one call deletes one by one, at most; the next call goes on. */
export const EXPIRE_BLOCKS_MAX = 100_000;
const INDICES_MAX = 10_000;

/**
 * An index whose blocks are all older is removed as a whole, which costs nothing; one whose rest follows soon waits for that. Blocks are deleted one
 * by one in the index that takes writes, and where a few would keep an index beyond `patienceMs`: spans from the future. Pure.
 */
export function fateOf({ index, newestMs }: IndexContent, writing: string, beforeMs: number, patienceMs: number): Fate {
  // A later name: a rollover has come between.
  if (index > writing) return 'keep';
  if (index === writing) return 'delete-blocks';
  if (newestMs < beforeMs) return 'remove';
  return newestMs - beforeMs > patienceMs ? 'delete-blocks' : 'keep';
}

interface Contents {
  readonly aggregations?: {
    readonly indices: {
      readonly buckets: readonly {
        readonly key: string;
        readonly doc_count: number;
        readonly newest: { readonly value: number | null };
      }[];
    };
  };
}

/** See `SegmentStoreRetention.expire`. */
export async function expireBlocks(
  requests: Requests,
  indices: ElasticsearchIndices,
  names: SchemaNames,
  beforeUnixNano: bigint,
  patienceMs: number,
): Promise<number> {
  const beforeMs = unixNanoToMs(beforeUnixNano);
  const writing = await indices.writing();
  if (writing === null) return 0;
  await indices.refresh();
  let removed = 0;
  const thinned: string[] = [];
  for (const content of await contents(requests, names)) {
    const fate = fateOf(content, writing, beforeMs, patienceMs);
    if (fate === 'delete-blocks') thinned.push(content.index);
    if (fate !== 'remove') continue;
    await indices.remove(content.index);
    removed += content.blocks;
  }
  return removed + (await deleteBlocks(requests, indices, names, thinned, beforeMs));
}

/** What each index that has blocks holds. */
export async function contents(requests: Requests, names: SchemaNames): Promise<IndexContent[]> {
  const { aggregations } = await requests.request<Contents>({
    what: `see what the indices of ${names.read} hold`,
    method: 'POST',
    path: `/${names.read}/_search`,
    query: { allow_partial_search_results: false },
    body: {
      size: 0,
      aggs: {
        indices: { terms: { field: '_index', size: INDICES_MAX }, aggs: { newest: { max: { field: 'newest' } } } },
      },
    },
  });
  return (aggregations?.indices.buckets ?? []).map(({ key, doc_count, newest }) => ({
    index: key,
    blocks: doc_count,
    newestMs: newest.value ?? 0,
  }));
}

async function deleteBlocks(
  requests: Requests,
  indices: ElasticsearchIndices,
  names: SchemaNames,
  from: readonly string[],
  beforeMs: number,
): Promise<number> {
  if (from.length === 0) return 0;
  await indices.allowDeletes(from);
  const pit = new PointInTime(requests, names.read, 'list old blocks', null);
  const filter = [{ terms: { _index: from } }, { range: { newest: { lt: beforeMs } } }];
  let deleted = 0;
  try {
    for (let place: ListPlace | null = null; deleted < EXPIRE_BLOCKS_MAX; ) {
      const { blocks, next }: BlockList = (await pit.list({ filter, size: LIST_BLOCKS, from: place })).list;
      if (blocks.length > 0) deleted += await deleteListed(requests, blocks);
      if (!next) break;
      place = next;
    }
  } finally {
    pit.close();
  }
  if (deleted > 0) await indices.refresh();
  return deleted;
}

/** Deletes these; resolves with how many were there. Rejects with `unavailable` where one could not be deleted. */
export async function deleteListed(requests: Requests, blocks: readonly BlockPlace[]): Promise<number> {
  const what = `delete ${blocks.length} old blocks`;
  const { items = [] } = await requests.request<{
    items?: readonly { readonly delete: { readonly status: number } }[];
  }>({
    what,
    method: 'POST',
    path: '/_bulk',
    query: { filter_path: 'items.*.status' },
    lines: blocks.map(({ id, index }) => `${JSON.stringify({ delete: { _index: index, _id: id } })}\n`).join(''),
  });
  const count = (status: number) => items.filter((item) => item.delete.status === status).length;
  const gone = count(200);
  if (gone + count(404) < blocks.length) {
    throw new MeridianError('unavailable', `${what}: only ${gone} were deleted`, 'later');
  }
  return gone;
}
