/**
 * How a value is cut into rows so that SQLite's leaf pages come out full: without this a record of 40 KB fills a page of 32 KiB and a
 * quarter of the next, and the rest is written for nothing. Only a matter of economy: where the figures are a little off, some
 * space stays empty. Sizes from https://www.sqlite.org/fileformat2.html (1.6, b-tree pages).
 */
export const PAGE_BYTES = 32 * 1024;

/** A leaf without its header. */
export const LEAF_BYTES = PAGE_BYTES - 8;
/** Largest value of a row that has nothing else: beyond it (usable bytes - 35 with the row's own header) it goes to overflow pages. */
const CHUNK_BYTES_MAX = 32_700;
/** Header, cell pointer and small columns of a record's first row, and of the rows that continue it. */
const FIRST_ROW_BYTES = 56;
const ROW_BYTES = 32;
/** Free space below which a record rather begins on the next leaf: an extra row costs more than this. */
const SPLIT_BYTES_MIN = 4096;

export interface Packing {
  /** Bytes of the value in each row; at least one row. */
  readonly chunks: readonly number[];
  /** Free space of the last leaf afterwards. */
  readonly freeBytes: number;
}

/** Pure. `besideBytes`: key and headers, which are in the first row. */
export function packValue(valueBytes: number, besideBytes: number, freeBytes: number): Packing {
  const first = FIRST_ROW_BYTES + besideBytes;
  if (first + valueBytes <= freeBytes) return { chunks: [valueBytes], freeBytes: freeBytes - first - valueBytes };
  const chunks: number[] = [];
  let left = valueBytes;
  if (freeBytes - first >= SPLIT_BYTES_MIN) {
    chunks.push(Math.min(freeBytes - first, CHUNK_BYTES_MAX - besideBytes));
    left -= chunks[0]!;
  }
  let free = 0;
  while (left > 0 || chunks.length === 0) {
    const overhead = chunks.length === 0 ? first : ROW_BYTES;
    const chunk = Math.min(left, Math.max(SPLIT_BYTES_MIN, CHUNK_BYTES_MAX - (chunks.length === 0 ? besideBytes : 0)));
    chunks.push(chunk);
    left -= chunk;
    free = Math.max(0, LEAF_BYTES - overhead - chunk);
  }
  return { chunks, freeBytes: free };
}
