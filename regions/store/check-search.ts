import { LIMITS } from '../../global/model/limits.js';
import type { SearchRequest } from '../../global/model/query.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** Trace ids of one search, at most. */
export const SEARCH_TRACE_IDS_MAX = 1000;

/** Throws `invalid` where a request is beyond what every store takes. */
export function checkSearch({ limit, query }: SearchRequest): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMITS.searchLimitMax) {
    throw new MeridianError('invalid', `search: limit ${limit} is not from 1 to ${LIMITS.searchLimitMax}`, 'never');
  }
  const traceIds = query.traceIds?.length ?? 0;
  if (traceIds > SEARCH_TRACE_IDS_MAX) {
    throw new MeridianError('invalid', `search: ${traceIds} trace ids, at most ${SEARCH_TRACE_IDS_MAX}`, 'never');
  }
}
