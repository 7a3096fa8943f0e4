/** Ids in one `locate`. */
export const LOCATE_MAX = 1000;
/**
 * A catalogue entry outlives the traces that it tells of by this. An assembler tells again of what it still sees only once an hour, and counts from
 * when it saw it, not from the spans' own times; without the margin the last hour of a service's traces could be searched in vain.
 */
export const CATALOGUE_MARGIN_MS = 24 * 3_600_000;
/** Records in one page of a bucket. */
export const BUCKET_PAGE_MAX = 10_000;
