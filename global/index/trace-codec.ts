import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, Coverage, RootSpan, TraceMetadata } from '../model/metadata.js';
import { invariant, MeridianError } from '../runtime/errors.js';
import type { ByteReader, ByteWriter } from './bytes.js';
import { FEED_LIMITS } from './feed-limits.js';

/**
 * One trace inside a feed record or standing alone (feed-codec.ts), and the packed value of an index row, which
 * leaves the id out (trace-body, below). Strings are numbers of a table that the caller keeps.
 *
 *   16 bytes trace id
 *   varint64 start - base (ns)
 *   body:
 *     varint   flags << 3 | bits: 1 the end lies before the start, 2 a root follows, 4 the root starts before the trace
 *     varint64 |end - start| (ns)
 *     [root]   varint64 |root start - start| (ns), varint service, varint operation
 *     varint   coverage entries, each: u24 key, varint service, varint span count << 1 | has errors, [varint error count]
 *   [own blocks] varint n, then n string numbers
 */
const END_BEFORE_START = 1;
const HAS_ROOT = 2;
const ROOT_BEFORE_START = 4;
const ID_BYTES = 16;
const COVERAGE_BYTES_MIN = 5;
const U64_MAX = 0xffff_ffff_ffff_ffffn;
const TRACE_ID = /^[0-9a-f]{32}$/;

/** No trace takes fewer bytes in a feed record. */
export const traceBytesMin = ID_BYTES + 4;

/** Gives a text its number. */
export type NumberOf = (text: string) => number;

/** Checks what the model promises of metadata (a broken promise is a bug) and the limits (`too-large`). */
export function assertTrace(trace: TraceMetadata): void {
  const { traceId, startUnixNano, endUnixNano, root, coverage, blocks, flags } = trace;
  invariant(TRACE_ID.test(traceId), `metadata with trace id "${traceId}"`);
  invariant(isU64(startUnixNano) && isU64(endUnixNano), `trace ${traceId}: times are not unsigned 64-bit counts`);
  invariant(flags >= 0 && flags <= FEED_LIMITS.flagsMax, `trace ${traceId}: flags ${flags}`);
  limit(traceId, 'coverage entries', coverage.length, FEED_LIMITS.coverageEntriesMax);
  limit(traceId, 'blocks', blocks.length, FEED_LIMITS.blocksPerTraceMax);
  if (root) {
    invariant(isU64(root.startUnixNano), `trace ${traceId}: root start is no unsigned 64-bit count`);
    limitName(traceId, root.service);
    limitName(traceId, root.operation);
  }
  for (let i = 0; i < coverage.length; i++) {
    const { key, service, spanCount, errorCount } = coverage[i]!;
    const before = coverage[i - 1];
    invariant(key >= 0 && key <= 0xffffff, `trace ${traceId}: coverage key ${key}`);
    invariant(
      !before || before.key < key || (before.key === key && before.service < service),
      `trace ${traceId}: coverage is out of order at entry ${i}`,
    );
    invariant(
      errorCount >= 0 && errorCount <= spanCount,
      `trace ${traceId}: ${errorCount} errors in ${spanCount} spans`,
    );
    limit(traceId, 'spans in a coverage entry', spanCount, FEED_LIMITS.spanCountMax);
    limitName(traceId, service);
  }
  for (let i = 0; i < blocks.length; i++) {
    invariant(i === 0 || blocks[i - 1]! < blocks[i]!, `trace ${traceId}: blocks are out of order at ${i}`);
    limitName(traceId, blocks[i]!);
  }
}

function isU64(value: bigint): boolean {
  return value >= 0n && value <= U64_MAX;
}

function limit(traceId: string, what: string, count: number, max: number): void {
  if (count > max)
    throw new MeridianError('too-large', `trace ${traceId}: ${count} ${what} are beyond ${max}`, 'never');
}

function limitName(traceId: string, name: string): void {
  if (name.length * 3 > FEED_LIMITS.stringBytesMax) {
    limit(traceId, 'bytes of a name', Buffer.byteLength(name), FEED_LIMITS.stringBytesMax);
  }
}

export function writeTrace(
  out: ByteWriter,
  trace: TraceMetadata,
  base: bigint,
  ownBlocks: boolean,
  numberOf: NumberOf,
): void {
  out.hex(trace.traceId);
  out.varint64(trace.startUnixNano - base);
  writeTraceBody(out, trace, numberOf);
  if (!ownBlocks) return;
  out.varint(trace.blocks.length);
  for (const block of trace.blocks) out.varint(numberOf(block));
}

export function readTrace(
  reader: ByteReader,
  region: RegionId,
  base: bigint,
  sharedBlocks: readonly BlockId[] | null,
  strings: readonly string[],
): TraceMetadata {
  const traceId = reader.hex(ID_BYTES) as TraceId;
  if (/^0+$/.test(traceId)) throw reader.malformed('a trace id is all zero');
  const startUnixNano = base + reader.varint64('start');
  if (startUnixNano > U64_MAX) throw reader.malformed('start is beyond 64 bits');
  const body = readTraceBody(reader, startUnixNano, (number) => strings[number]);
  const blocks = sharedBlocks ?? readBlocks(reader, strings);
  return { traceId, region, startUnixNano, ...body, blocks };
}

function readBlocks(reader: ByteReader, strings: readonly string[]): BlockId[] {
  const count = reader.varint(FEED_LIMITS.blocksPerTraceMax, 'block count');
  const blocks: BlockId[] = [];
  for (let i = 0; i < count; i++) {
    const block = strings[reader.varint(FEED_LIMITS.stringsMax, 'block')] as BlockId | undefined;
    if (block === undefined) throw reader.malformed('a block names a string that is not there');
    if (i > 0 && block <= blocks[i - 1]!) throw reader.malformed('blocks are out of order');
    blocks.push(block);
  }
  return blocks;
}

/** What `readTraceBody` gives back: all but identity, start and blocks. */
export type TraceBody = Pick<TraceMetadata, 'endUnixNano' | 'root' | 'coverage' | 'flags'>;

/** Writes what identity, start and blocks leave. */
export function writeTraceBody(
  out: ByteWriter,
  trace: TraceBody & { startUnixNano: bigint },
  numberOf: NumberOf,
): void {
  const { startUnixNano: start, endUnixNano: end, root, coverage, flags } = trace;
  let bits = flags << 3;
  if (end < start) bits |= END_BEFORE_START;
  if (root) bits |= HAS_ROOT;
  if (root && root.startUnixNano < start) bits |= ROOT_BEFORE_START;
  out.varint(bits);
  out.varint64(distance(start, end));
  if (root) {
    out.varint64(distance(start, root.startUnixNano));
    out.varint(numberOf(root.service));
    out.varint(numberOf(root.operation));
  }
  out.varint(coverage.length);
  for (const { key, service, spanCount, errorCount } of coverage) {
    out.u24(key);
    out.varint(numberOf(service));
    out.varint(spanCount * 2 + (errorCount > 0 ? 1 : 0));
    if (errorCount > 0) out.varint(errorCount);
  }
}

/** Reads a body. `textOf` gives a string's text, undefined where the number names none (`malformed`). */
export function readTraceBody(
  reader: ByteReader,
  startUnixNano: bigint,
  textOf: (number: number) => string | undefined,
): TraceBody {
  const name = (what: string): string => {
    const text = textOf(reader.varint(Number.MAX_SAFE_INTEGER, what));
    if (text === undefined) throw reader.malformed(`${what} names a string that is not there`);
    return text;
  };
  const { bits, endUnixNano } = readHead(reader, startUnixNano);
  let root: RootSpan | null = null;
  if (bits & HAS_ROOT) {
    const rootStart = moved(reader, startUnixNano, (bits & ROOT_BEFORE_START) !== 0, 'root start');
    root = { startUnixNano: rootStart, service: name('root service'), operation: name('root operation') };
  } else if (bits & ROOT_BEFORE_START) throw reader.malformed('flags name a root that is not there');
  const count = reader.varint(FEED_LIMITS.coverageEntriesMax, 'coverage count');
  if (count * COVERAGE_BYTES_MIN > reader.remaining) throw reader.malformed(`${count} coverage entries do not fit`);
  const coverage: Coverage[] = [];
  for (let i = 0; i < count; i++) {
    const key = reader.u24();
    const service = name('coverage service');
    const packed = reader.varint(FEED_LIMITS.spanCountMax * 2 + 1, 'span count');
    const spanCount = Math.floor(packed / 2);
    const errorCount = packed % 2 ? reader.varint(spanCount, 'error count') : 0;
    if (packed % 2 && errorCount === 0) throw reader.malformed('an error count is zero');
    const before = coverage[i - 1];
    if (before && (before.key > key || (before.key === key && before.service >= service))) {
      throw reader.malformed('coverage is out of order');
    }
    coverage.push({ key, service, spanCount, errorCount });
  }
  return { endUnixNano, root, coverage, flags: bits >>> 3 };
}

function readHead(reader: ByteReader, startUnixNano: bigint): { bits: number; endUnixNano: bigint } {
  const bits = reader.varint(FEED_LIMITS.flagsMax * 8 + 7, 'flags');
  return { bits, endUnixNano: moved(reader, startUnixNano, (bits & END_BEFORE_START) !== 0, 'end') };
}

/** The end and the flags of a body; nothing behind them is read. */
export function readTimes(reader: ByteReader, startUnixNano: bigint): Pick<TraceBody, 'endUnixNano' | 'flags'> {
  const { bits, endUnixNano } = readHead(reader, startUnixNano);
  return { endUnixNano, flags: bits >>> 3 };
}

function distance(a: bigint, b: bigint): bigint {
  return a < b ? b - a : a - b;
}

function moved(reader: ByteReader, from: bigint, back: boolean, name: string): bigint {
  const by = reader.varint64(name);
  if (back && by === 0n) throw reader.malformed(`${name} lies before by nothing`);
  const to = back ? from - by : from + by;
  if (to < 0n || to > U64_MAX) throw reader.malformed(`${name} is beyond 64 bits`);
  return to;
}
