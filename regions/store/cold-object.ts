import { crc32 } from 'node:zlib';
import { ByteReader, ByteWriter } from '../../global/index/bytes.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { maxNano } from '../../global/model/time.js';
import { invariant, MeridianError } from '../../global/runtime/errors.js';
import { BLOCK_ID_BYTES_MAX, parseBlockId } from '../segments/block-id.js';
import { type BlockEntry, traceKey } from './block-entry.js';
import { buildTermFilter, mayHoldTerm, TermSet } from './term-filter.js';

/**
 * Many blocks of one source and hour as one immutable object, read by ranges. Version 1. Varints are LEB128, minimal; u64, u32 and u24 little-endian.
 *
 *   blocks    encoded blocks (block-codec.ts) as they were, one after the other
 *   pages     the traces in order of their ids: per trace 16 bytes id and varint place of the block (one entry for each block that holds some of it),
 *             `PAGE_ENTRIES` to a page, each page followed by its u32 CRC-32
 *   filters   the term filter of each block (term-filter.ts), in the order of the blocks, each followed by its u32 CRC-32
 *   summary:  text source, varint blocks, and per block
 *               text id, varint length, u32 CRC-32 of its bytes, u64 smallest segment start, u64 largest segment start, u64 largest span start, u64 longest
 *               duration, u64 newest, varint kinds (bits), varint segments, varint bytes of its filter
 *             varint pages, and per page 16 bytes first id and varint bytes with the CRC
 *             varint bytes of the id filter, and the id filter: a term filter over `traceKey`
 *   footer:   u32 bytes of the summary, u32 CRC-32 of the summary, byte version = 1, byte kind = 0x43 'C'
 *
 * Who looks for a trace reads the end (once), finds in the id filter that it is not here, or the page that it would be on, and there its blocks: two or three
 * reads for a trace that is here, mostly none for one that is not.
 */
const VERSION = 1;
const KIND = 0x43;
export const COLD_FOOTER_BYTES = 10;
const PAGE_ENTRIES = 256;

/** Held by writer and reader alike. */
export const COLD_OBJECT_LIMITS = {
  blocksMax: 65_536,
  /** Of one object; S3 takes 5 GiB in one request. */
  bytesMax: 1024 ** 3,
  summaryBytesMax: 64 * 1024 * 1024,
} as const;

/** A block to be packed; `entry.bytes` are those that are kept. */
export interface ColdBlock {
  readonly entry: BlockEntry;
  readonly traceIds: readonly TraceId[];
}

export interface ColdBlockSummary {
  readonly id: BlockId;
  /** Where it stands in the object. */
  readonly at: number;
  readonly length: number;
  readonly crc: number;
  readonly startUnixNanoMin: bigint;
  readonly startUnixNanoMax: bigint;
  readonly spanStartUnixNanoMax: bigint;
  readonly durationNanoMax: bigint;
  readonly newestUnixNano: bigint;
  readonly kinds: number;
  readonly segments: number;
  readonly filterAt: number;
  readonly filterLength: number;
}

export interface ColdPage {
  readonly firstId: TraceId;
  readonly at: number;
  /** With its checksum. */
  readonly length: number;
}

/** What is kept in memory of an object. */
export interface ColdSummary {
  readonly source: RegionId;
  readonly blocks: readonly ColdBlockSummary[];
  readonly pages: readonly ColdPage[];
  readonly idFilter: Buffer;
  /** About what it takes in memory. */
  readonly bytes: number;
}

/** Pure. Throws `too-large` beyond `COLD_OBJECT_LIMITS`; no block, or one of another source, is a bug of the caller's. The caller owns the result. */
export function encodeColdObject(source: RegionId, blocks: readonly ColdBlock[]): Buffer {
  invariant(blocks.length > 0, 'a cold object without blocks');
  if (blocks.length > COLD_OBJECT_LIMITS.blocksMax) throw tooLarge(`${blocks.length} blocks`);
  const summary = new ByteWriter(blocks.length * 128);
  summary.text(source);
  summary.varint(blocks.length);
  const parts: Uint8Array[] = [];
  const filters: Uint8Array[] = [];
  const ids = new TermSet(blocks.length * 64);
  for (const { entry, traceIds } of blocks) {
    invariant(entry.source === source, `block ${entry.ids[0]} in an object of ${source}`);
    summary.text(entry.ids[0]!);
    summary.varint(entry.bytes.length);
    u32(summary, crc32(entry.bytes));
    summary.u64(entry.startUnixNanoMin);
    summary.u64(entry.startUnixNanoMax);
    summary.u64(entry.spanStartUnixNanoMax);
    summary.u64(entry.durationNanoMax);
    summary.u64(entry.newestUnixNano);
    summary.varint(entry.kinds >>> 0);
    summary.varint(traceIds.length);
    summary.varint(entry.filter.length);
    parts.push(entry.bytes);
    filters.push(entry.filter, checksum(entry.filter));
    for (const id of traceIds) ids.add(traceKey(source, id));
  }
  const pages = encodePages(blocks);
  summary.varint(pages.length);
  for (const { firstId, bytes } of pages) {
    summary.hex(firstId);
    summary.varint(bytes.length + 4);
    parts.push(bytes, checksum(bytes));
  }
  const idFilter = Buffer.from(buildTermFilter(ids));
  summary.varint(idFilter.length);
  const summaryBytes = Buffer.concat([summary.finish(), idFilter]);
  if (summaryBytes.length > COLD_OBJECT_LIMITS.summaryBytesMax)
    throw tooLarge(`a summary of ${summaryBytes.length} bytes`);
  const footer = new ByteWriter(COLD_FOOTER_BYTES);
  u32(footer, summaryBytes.length);
  u32(footer, crc32(summaryBytes));
  footer.byte(VERSION);
  footer.byte(KIND);
  const bytes = [...parts, ...filters, summaryBytes, footer.finish()];
  const total = bytes.reduce((sum, part) => sum + part.length, 0);
  if (total > COLD_OBJECT_LIMITS.bytesMax) throw tooLarge(`${total} bytes`);
  return Buffer.concat(bytes, total);
}

function encodePages(blocks: readonly ColdBlock[]): { firstId: TraceId; bytes: Buffer }[] {
  const entries: { id: TraceId; block: number }[] = [];
  for (const [block, { traceIds }] of blocks.entries()) {
    for (const id of new Set(traceIds)) entries.push({ id, block });
  }
  entries.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : a.block - b.block));
  const pages: { firstId: TraceId; bytes: Buffer }[] = [];
  for (let at = 0; at < entries.length; at += PAGE_ENTRIES) {
    const writer = new ByteWriter(PAGE_ENTRIES * 18);
    const page = entries.slice(at, at + PAGE_ENTRIES);
    for (const { id, block } of page) {
      writer.hex(id);
      writer.varint(block);
    }
    pages.push({ firstId: page[0]!.id, bytes: writer.finish() });
  }
  return pages;
}

/** Bytes of the summary, as the footer tells them. Throws `malformed` or `unknown-version`. */
export function readColdFooter(footer: Buffer, objectBytes: number, what: string): { length: number; crc: number } {
  const reader = new ByteReader(footer, `${what}: footer`);
  const length = readU32(reader);
  const crc = readU32(reader);
  const version = reader.byte();
  const kind = reader.byte();
  reader.end();
  if (kind !== KIND) throw reader.malformed('is of another kind');
  if (version !== VERSION) {
    throw new MeridianError('unknown-version', `${what}: version ${version}, this build knows ${VERSION}`, 'never');
  }
  if (length > COLD_OBJECT_LIMITS.summaryBytesMax || length + COLD_FOOTER_BYTES > objectBytes) {
    throw reader.malformed(`a summary of ${length} bytes in an object of ${objectBytes}`);
  }
  return { length, crc };
}

/** Throws `malformed`, never anything else. The result keeps nothing of `bytes`. */
export function readColdSummary(bytes: Buffer, crc: number, objectBytes: number, what: string): ColdSummary {
  const reader = new ByteReader(bytes, `${what}: summary`);
  if (crc32(bytes) !== crc) throw reader.malformed('the checksum does not match');
  const source = reader.text(32, 'source') as RegionId;
  const count = reader.varint(COLD_OBJECT_LIMITS.blocksMax, 'blocks');
  const bodyBytes = objectBytes - COLD_FOOTER_BYTES - bytes.length;
  const blocks: (Omit<ColdBlockSummary, 'filterAt'> & { filterAt: number })[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const id = reader.text(BLOCK_ID_BYTES_MAX, 'block id') as BlockId;
    if (parseBlockId(id)?.source !== source) throw reader.malformed(`a block id is none of ${source}`);
    const length = reader.varint(bodyBytes, 'block length');
    blocks.push({
      id,
      at,
      length,
      crc: readU32(reader),
      startUnixNanoMin: reader.u64(),
      startUnixNanoMax: reader.u64(),
      spanStartUnixNanoMax: reader.u64(),
      durationNanoMax: reader.u64(),
      newestUnixNano: reader.u64(),
      kinds: reader.varint(0xffff_ffff, 'kinds'),
      segments: reader.varint(0xffff_ffff, 'segments'),
      filterAt: 0,
      filterLength: reader.varint(bodyBytes, 'filter length'),
    });
    at += length;
  }
  const pageCount = reader.varint(reader.remaining, 'pages');
  const pages: ColdPage[] = [];
  for (let i = 0; i < pageCount; i++) {
    const firstId = reader.hex(16) as TraceId;
    const length = reader.varint(bodyBytes, 'page length');
    if (length <= 4) throw reader.malformed('an empty page');
    if (i > 0 && firstId < pages[i - 1]!.firstId) throw reader.malformed('pages are out of order');
    pages.push({ firstId, at, length });
    at += length;
  }
  for (const block of blocks) {
    if (block.filterLength === 0) throw reader.malformed('an empty filter');
    block.filterAt = at;
    at += block.filterLength + 4;
  }
  if (at !== bodyBytes) throw reader.malformed(`its parts make ${at} bytes, not ${bodyBytes}`);
  const filterBytes = reader.varint(reader.remaining, 'id filter');
  if (filterBytes === 0 || filterBytes !== reader.remaining) throw reader.malformed('the id filter does not fit');
  const idFilter = Buffer.from(bytes.subarray(bytes.length - filterBytes));
  const memory = idFilter.length + blocks.length * 400 + pages.length * 150 + 500;
  return { source, blocks, pages, idFilter, bytes: memory };
}

/** The pages on which the trace stands if it is in the object; none: it is not. A trace of many blocks may stand on several. */
export function pagesOf(summary: ColdSummary, traceId: TraceId): readonly ColdPage[] {
  if (!mayHoldTerm(summary.idFilter, traceKey(summary.source, traceId))) return [];
  const { pages } = summary;
  let low = 0;
  for (let high = pages.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (pages[middle]!.firstId < traceId) low = middle + 1;
    else high = middle;
  }
  // `low` is the first page that begins at or after the trace; it may have begun on the one before.
  const found = low > 0 ? [pages[low - 1]!] : [];
  for (; pages[low]?.firstId === traceId; low++) found.push(pages[low]!);
  return found;
}

/** Places of the trace's blocks on a page. Throws `malformed`. */
export function blocksOnPage(page: Buffer, traceId: TraceId, blockCount: number, what: string): number[] {
  const entries = checked(page, `${what}: page`);
  const reader = new ByteReader(entries, `${what}: page`);
  const found: number[] = [];
  while (reader.remaining > 0) {
    const id = reader.hex(16);
    const block = reader.varint(blockCount - 1, 'block');
    if (id === traceId) found.push(block);
  }
  return found;
}

/** The bytes before a checksum. Throws `malformed` where it does not match. */
export function checked(bytes: Buffer, what: string): Buffer {
  const content = bytes.subarray(0, bytes.length - 4);
  if (bytes.length > 4 && crc32(content) === bytes.readUInt32LE(bytes.length - 4)) return content;
  throw new MeridianError('malformed', `${what}: the checksum does not match`, 'never');
}

/** The latest start that any of its segments has. */
export function latestStart(summary: ColdSummary): bigint {
  return summary.blocks.reduce((latest, block) => maxNano(latest, block.startUnixNanoMax), 0n);
}

function checksum(bytes: Uint8Array): Buffer {
  const crc = Buffer.allocUnsafe(4);
  crc.writeUInt32LE(crc32(bytes));
  return crc;
}

function u32(writer: ByteWriter, value: number): void {
  writer.u24(value & 0xff_ffff);
  writer.byte(value >>> 24);
}

function readU32(reader: ByteReader): number {
  const low = reader.u24();
  return low + reader.byte() * 0x100_0000;
}

function tooLarge(what: string): MeridianError {
  return new MeridianError('too-large', `cold object: ${what} are beyond its limits`, 'never');
}
