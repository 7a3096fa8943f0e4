/** Ids in one `locate`. */
export const LOCATE_MAX = 1000;
/** Records in one page of a bucket. */
export const BUCKET_PAGE_MAX = 10_000;
