import { MeridianError } from '../runtime/errors.js';

/** Ids in one `locate`. */
export const LOCATE_MAX = 1000;
/**
 * A catalogue entry outlives the traces that it tells of by this. An assembler tells again of what it still sees only once an hour, and counts from
 * when it saw it, not from the spans' own times; without the margin the last hour of a service's traces could be searched in vain.
 */
export const CATALOGUE_MARGIN_MS = 24 * 3_600_000;
/** A day with fewer records is not worth folding: it takes half a megabyte, and exact records say more. */
export const FOLD_RECORDS_MIN = 10_000;
/** Times that a day may be folded again, for what came late. */
export const FOLDS_PER_DAY_MAX = 16;
/** What came late is folded once it is this share of what was folded before; so the folds of a day stay few and its exact records too. */
export const FOLD_AGAIN_SHARE = 1 / 8;
/** Records in one page of a bucket. */
export const BUCKET_PAGE_MAX = 10_000;

/** Throws `invalid` where one `locate` asks for more ids than the port takes. */
export function checkLocateCount(count: number): void {
  if (count > LOCATE_MAX) {
    throw new MeridianError('invalid', `index locate: ${count} ids are beyond ${LOCATE_MAX}`, 'never');
  }
}

/** Throws `invalid` where a page of a bucket has a size that the port does not take. */
export function checkBucketPage(limit: number): void {
  if (limit < 1 || limit > BUCKET_PAGE_MAX) {
    throw new MeridianError(
      'invalid',
      `index bucket: a page of ${limit} is not within 1 to ${BUCKET_PAGE_MAX}`,
      'never',
    );
  }
}
