import { unixNanoToMs } from '../../global/model/time.js';
import type { Requests } from './elasticsearch-client.js';
import { contents, type IndexContent } from './elasticsearch-expire.js';
import type { ElasticsearchIndices } from './elasticsearch-indices.js';
import type { SchemaNames } from './elasticsearch-schema.js';

/** Which indices are to become warm: they take no writes any more, and their newest block is older. Pure. */
export function dueForWarm(
  all: readonly IndexContent[],
  warm: ReadonlySet<string>,
  writing: string,
  beforeMs: number,
): string[] {
  return all
    .filter(({ index, newestMs }) => index < writing && newestMs < beforeMs && !warm.has(index))
    .map(({ index }) => index)
    .sort();
}

/**
 * The warm tier with what every licence has: an index past the time is merged into one Lucene segment, may have other replicas, and takes no writes. An index
 * that lost blocks since (retention, the cold tier) is merged again. Resolves with how many became warm.
 */
export async function warmIndices(
  requests: Requests,
  indices: ElasticsearchIndices,
  names: SchemaNames,
  beforeUnixNano: bigint,
  replicas: number | undefined,
): Promise<number> {
  const writing = await indices.writing();
  if (writing === null) return 0;
  const warm = new Set(await indices.warm());
  // What is not visible yet could make an index look older than it is, or empty.
  await indices.refresh();
  const due = dueForWarm(await contents(requests, names), warm, writing, unixNanoToMs(beforeUnixNano));
  for (const index of due) await indices.makeWarm(index, replicas);
  return due.length;
}
