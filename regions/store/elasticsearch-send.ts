import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { BulkItem, SendBulk } from './elasticsearch-bulk.js';
import type { ElasticsearchClient } from './elasticsearch-client.js';
import type { BlockDocument } from './elasticsearch-document.js';
import type { SchemaNames } from './elasticsearch-schema.js';

/** Below the client's own time limit, so that Elasticsearch says what it waits for. */
const SHARDS_BUDGET = '20s';

/**
 * Sends bulks to the write alias. Where an answer lets doubt whether the indices are as they should be, `ensure` checks them, and makes them again if
 * they are gone; what it finds wrong rejects with `retry: 'later'`, as no block is to blame.
 */
export function bulkSender(client: ElasticsearchClient, names: SchemaNames, ensure: () => Promise<void>): SendBulk {
  const send = async (documents: readonly BlockDocument[]) => {
    const { items = [] } = await client.request<{ items?: readonly { readonly index: BulkItem }[] }>({
      what: `write ${documents.length} blocks to ${names.write}`,
      method: 'POST',
      path: `/${names.write}/_bulk`,
      query: { require_alias: true, timeout: SHARDS_BUDGET, filter_path: 'items.*.status,items.*.error' },
      lines: documents.map(({ id, json }) => `{"index":{"_id":${JSON.stringify(id)}}}\n${json}\n`).join(''),
    });
    return items.map(({ index }) => index);
  };
  return async (documents) => {
    const items = await send(documents);
    if (!items.some(({ status }) => status === 404 || status === 400)) return items;
    try {
      await ensure();
    } catch (error) {
      const message = `write ${documents.length} blocks: ${messageOf(error)}`;
      throw new MeridianError(codeOf(error), message, 'later', {
        cause: error,
      });
    }
    return items.some(({ status }) => status === 404) ? send(documents) : items;
  };
}

function codeOf(error: unknown): 'unavailable' | 'configuration' {
  return error instanceof MeridianError && error.retry === 'never' ? 'configuration' : 'unavailable';
}
