import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, Coverage, RootSpan, TraceMetadata } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { decodeTraceMetadata, encodeTraceMetadata } from './feed-codec.js';
import { FEED_LIMITS } from './feed-limits.js';
import type { FoldTimes } from './folded.js';

/**
 * The packed value of a record in Redis. Identity is the key's; names are numbers of the day's dictionary. The version is the layout's.
 *
 *   u24, u24            start - start of the day (ns): high half, low half
 *   varint              flags << 3 | where the root starts << 1 (0: no root, 1: with the trace, 2: after it, 3: before it) | the end is before the start
 *   varint64            |end - start| (ns)
 *   [root]              varint64 |root start - start| where it is not 0, varint service, varint operation
 *   coverage            varint n, then n groups of one key: u24 key, and entries: varint service << 1 | another follows,
 *                       varint span count << 1 | has errors, [varint error count]
 *   [blocks]            varint n, then n: varint name of the block's stem (its id without the offset and the last four digits of its
 *                       number), varint 1 + those digits + 10000 for each fewer than four, varint offset; or, where the block is not shaped
 *                       like that, varint name of its whole id, 0. Absent where there are none
 *
 * A record of ODD_DAY is `encodeTraceMetadata`'s bytes: it needs no day and no dictionary.
 */
const START_BYTES = 6;
const BLOCK = /^(.*)\/(0|[1-9]\d{0,14})\/(\d*?)(\d{1,4})$/s;
const TAIL_DIGITS = 4;
const TAIL_LIMIT = 10_000;

/** Gives the number of a name in the day's dictionary. */
export type NameNumber = (name: string) => number;
/** Gives the name of a number, undefined where the dictionary does not have it. */
export type NameText = (number: number) => string | undefined;

export function packDayRow(metadata: TraceMetadata, dayStart: bigint, numberOf: NameNumber): Buffer {
  const out = new ByteWriter(64);
  const start = Number(metadata.startUnixNano - dayStart);
  out.u24(Math.floor(start / 2 ** 24));
  out.u24(start % 2 ** 24);
  writeTimesAndRoot(out, metadata, numberOf);
  writeCoverage(out, metadata.coverage, numberOf);
  if (metadata.blocks.length > 0) {
    out.varint(metadata.blocks.length);
    for (const block of metadata.blocks) writeBlock(out, block, numberOf);
  }
  return out.finish();
}

/** The start alone, for filters by time. */
export function startOfDayRow(value: Buffer, dayStart: bigint): bigint {
  if (value.length < START_BYTES) throw new MeridianError('malformed', 'index row: ends within its start', 'never');
  return dayStart + BigInt(value.readUIntLE(0, 3) * 2 ** 24 + value.readUIntLE(3, 3));
}

/** Start, end and flags alone, without a look at names. */
export function timesOfDayRow(value: Buffer, dayStart: bigint): FoldTimes {
  const reader = new ByteReader(value, 'index row');
  const startUnixNano = dayStart + BigInt(reader.u24() * 2 ** 24 + reader.u24());
  const { bits, endUnixNano } = readFlagsAndEnd(reader, startUnixNano);
  return { startUnixNano, endUnixNano, flags: bits >>> 3 };
}

/** Throws `malformed` where the value is damaged or names what the dictionary does not have. Blocks come back in order of text. */
export function unpackDayRow(
  traceId: TraceId,
  region: RegionId,
  value: Buffer,
  dayStart: bigint,
  textOf: NameText,
): TraceMetadata {
  const reader = new ByteReader(value, `index row ${traceId}@${region}`);
  const startUnixNano = dayStart + BigInt(reader.u24() * 2 ** 24 + reader.u24());
  const body = readTimesAndRoot(reader, startUnixNano, textOf);
  const coverage = readCoverage(reader, textOf);
  const blocks: BlockId[] = [];
  if (reader.remaining > 0) {
    const count = reader.varint(FEED_LIMITS.blocksPerTraceMax, 'block count');
    for (let i = 0; i < count; i++) blocks.push(readBlock(reader, textOf));
    blocks.sort();
  }
  reader.end();
  return { traceId, region, startUnixNano, ...body, coverage, blocks };
}

const END_BEFORE_START = 1;
const ROOT_AT_START = 1;
const ROOT_AFTER = 2;
const ROOT_BEFORE = 3;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

function writeTimesAndRoot(out: ByteWriter, metadata: TraceMetadata, numberOf: NameNumber): void {
  const { startUnixNano: start, endUnixNano: end, root, flags } = metadata;
  const rootAt = root ? root.startUnixNano - start : 0n;
  const where = root ? (rootAt === 0n ? ROOT_AT_START : rootAt > 0n ? ROOT_AFTER : ROOT_BEFORE) : 0;
  out.varint((flags << 3) | (where << 1) | (end < start ? END_BEFORE_START : 0));
  out.varint64(end < start ? start - end : end - start);
  if (!root) return;
  if (rootAt !== 0n) out.varint64(rootAt > 0n ? rootAt : -rootAt);
  out.varint(numberOf(root.service));
  out.varint(numberOf(root.operation));
}

function readFlagsAndEnd(reader: ByteReader, start: bigint): { bits: number; endUnixNano: bigint } {
  const bits = reader.varint(FEED_LIMITS.flagsMax * 8 + 7, 'flags');
  return { bits, endUnixNano: moved(reader, start, (bits & END_BEFORE_START) !== 0, 'end') };
}

function moved(reader: ByteReader, from: bigint, back: boolean, what: string): bigint {
  const by = reader.varint64(what);
  const to = back ? from - by : from + by;
  if (to < 0n || to > U64_MAX) throw reader.malformed(`${what} is beyond 64 bits`);
  return to;
}

function readTimesAndRoot(
  reader: ByteReader,
  start: bigint,
  textOf: NameText,
): Pick<TraceMetadata, 'endUnixNano' | 'root' | 'flags'> {
  const name = (what: string): string => {
    const text = textOf(reader.varint(Number.MAX_SAFE_INTEGER, what));
    if (text === undefined) throw reader.malformed(`${what} names a text that is not there`);
    return text;
  };
  const { bits, endUnixNano } = readFlagsAndEnd(reader, start);
  const where = (bits >> 1) & 3;
  let root: RootSpan | null = null;
  if (where !== 0) {
    const startUnixNano = where === ROOT_AT_START ? start : moved(reader, start, where === ROOT_BEFORE, 'root start');
    root = { startUnixNano, service: name('root service'), operation: name('root operation') };
  }
  return { endUnixNano, root, flags: bits >>> 3 };
}

/** The services of one request share its key: grouped, an ordinary record is about 4 bytes shorter than with a key in each entry. */
function writeCoverage(out: ByteWriter, coverage: readonly Coverage[], numberOf: NameNumber): void {
  const startsGroup = (i: number) => coverage[i - 1]?.key !== coverage[i]?.key;
  out.varint(coverage.filter((_, i) => startsGroup(i)).length);
  for (const [i, { key, service, spanCount, errorCount }] of coverage.entries()) {
    if (startsGroup(i)) out.u24(key);
    out.varint(numberOf(service) * 2 + (startsGroup(i + 1) ? 0 : 1));
    out.varint(spanCount * 2 + (errorCount > 0 ? 1 : 0));
    if (errorCount > 0) out.varint(errorCount);
  }
}

function readCoverage(reader: ByteReader, textOf: NameText): Coverage[] {
  const coverage: Coverage[] = [];
  const groups = reader.varint(FEED_LIMITS.coverageEntriesMax, 'coverage count');
  for (let group = 0; group < groups; group++) {
    const key = reader.u24();
    for (let more = true; more; ) {
      const packed = reader.varint(Number.MAX_SAFE_INTEGER, 'coverage service');
      more = packed % 2 === 1;
      const service = textOf(Math.floor(packed / 2));
      if (service === undefined) throw reader.malformed('a service names a text that is not there');
      const counts = reader.varint(FEED_LIMITS.spanCountMax * 2 + 1, 'span count');
      const spanCount = Math.floor(counts / 2);
      const errorCount = counts % 2 ? reader.varint(spanCount, 'error count') : 0;
      if (coverage.length >= FEED_LIMITS.coverageEntriesMax) throw reader.malformed('has too much coverage');
      coverage.push({ key, service, spanCount, errorCount });
    }
  }
  return coverage;
}

function writeBlock(out: ByteWriter, block: BlockId, numberOf: NameNumber): void {
  const match = BLOCK.exec(block);
  if (!match) {
    // Not shaped like a block's id: the whole of it is a name.
    out.varint(numberOf(block));
    out.varint(0);
    return;
  }
  const [, source, offset, stem, tail] = match as unknown as [string, string, string, string, string];
  out.varint(numberOf(`${source}/${stem}`));
  out.varint(1 + Number(tail) + TAIL_LIMIT * (TAIL_DIGITS - tail.length));
  out.varint(Number(offset));
}

function readBlock(reader: ByteReader, textOf: NameText): BlockId {
  const text = textOf(reader.varint(Number.MAX_SAFE_INTEGER, 'block'));
  if (text === undefined) throw reader.malformed('a block names a text that is not there');
  const packed = reader.varint(TAIL_LIMIT * TAIL_DIGITS, 'block number');
  if (packed === 0) return text as BlockId;
  const digits = TAIL_DIGITS - Math.floor((packed - 1) / TAIL_LIMIT);
  const tail = String((packed - 1) % TAIL_LIMIT).padStart(digits, '0');
  const offset = reader.varint(Number.MAX_SAFE_INTEGER, 'block offset');
  const cut = text.lastIndexOf('/');
  return `${text.slice(0, cut)}/${offset}/${text.slice(cut + 1)}${tail}` as BlockId;
}

export function packOddRow(metadata: TraceMetadata): Buffer {
  return encodeTraceMetadata(metadata);
}

export function unpackOddRow(traceId: TraceId, region: RegionId, value: Buffer): TraceMetadata {
  const metadata = decodeTraceMetadata(value);
  if (metadata.traceId !== traceId || metadata.region !== region) {
    throw new MeridianError('malformed', `index row ${traceId}@${region}: holds another record`, 'never');
  }
  return metadata;
}
