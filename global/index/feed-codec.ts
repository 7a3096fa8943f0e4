import { parseRegionId, type RegionId } from '../model/ids.js';
import type { BlockId, CatalogueEntry, FeedRecord, TraceMetadata, Watermark } from '../model/metadata.js';
import { invariant, MeridianError } from '../runtime/errors.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { FEED_LIMITS } from './feed-limits.js';
import { assertTrace, readTrace, traceBytesMin, writeTrace } from './trace-codec.js';

/**
 * Wire format of a record of `trace-metadata`, and of one trace's metadata standing alone. Version 1.
 * All varints are LEB128, minimal; texts are a varint length and UTF-8; ids are raw bytes; u64 is little-endian.
 *
 *   feed record                                    trace metadata alone
 *     byte    version = 1                            byte    version = 1
 *     byte    kind = 0x46 'F'                        byte    kind = 0x54 'T'
 *     text    region                                 text    region
 *     varint  n, then n texts: the string table      varint  n, then n texts: the string table
 *     byte    bit 0: a watermark follows,            trace, with its own blocks, against base 0 written as u64
 *             bit 1: all traces share one block list
 *     u64     base: the smallest start of a trace
 *     [bit 1] varint n, then n string numbers
 *     varint  n, then n traces (trace-codec.ts)
 *     varint  n, then n catalogue entries: varints service, operation, kind, last seen (ms)
 *     [bit 0] varint partition, varint partition count, u64 watermark (ns)
 *
 * The string table holds each text once in the order of first use, so equal records have equal bytes.
 */
const VERSION = 1;
const KIND_FEED = 0x46;
const KIND_TRACE = 0x54;
const HAS_WATERMARK = 1;
const SHARED_BLOCKS = 2;

/** Numbers the texts of a record in the order of first use. */
class StringTable {
  readonly #numbers = new Map<string, number>();

  number(text: string): number {
    let number = this.#numbers.get(text);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(text, number);
    }
    return number;
  }

  write(out: ByteWriter): void {
    if (this.#numbers.size > FEED_LIMITS.stringsMax) {
      throw new MeridianError(
        'too-large',
        `feed record: ${this.#numbers.size} strings are beyond ${FEED_LIMITS.stringsMax}`,
        'never',
      );
    }
    out.varint(this.#numbers.size);
    for (const text of this.#numbers.keys()) out.text(text);
  }
}

/**
 * The record's bytes. Throws `too-large` beyond a limit of `FEED_LIMITS`; a record that breaks a rule of the model (another region's
 * trace, coverage out of order) is a bug of the caller's. The caller owns the result.
 */
export function encodeFeedRecord(record: FeedRecord): Buffer {
  const { region, traces, watermark, catalogue } = record;
  checkCount('traces', traces.length, FEED_LIMITS.tracesMax);
  checkCount('catalogue entries', catalogue.length, FEED_LIMITS.catalogueMax);
  const strings = new StringTable();
  const shared = sharedBlocks(traces);
  let base = traces[0]?.startUnixNano ?? 0n;
  for (const trace of traces) {
    invariant(trace.region === region, `a feed record of ${region} holds a trace of ${trace.region}`);
    assertTrace(trace);
    if (trace.startUnixNano < base) base = trace.startUnixNano;
  }
  const body = new ByteWriter(64 + traces.length * 48);
  body.byte((watermark ? HAS_WATERMARK : 0) | (shared ? SHARED_BLOCKS : 0));
  body.u64(base);
  if (shared) {
    body.varint(shared.length);
    for (const block of shared) body.varint(strings.number(block));
  }
  body.varint(traces.length);
  for (const trace of traces) writeTrace(body, trace, base, shared === null, (text) => strings.number(text));
  body.varint(catalogue.length);
  for (const entry of catalogue) {
    checkName('catalogue', entry.service);
    checkName('catalogue', entry.operation);
    body.varint(strings.number(entry.service));
    body.varint(strings.number(entry.operation));
    body.varint(entry.kind);
    body.varint(Math.max(0, Math.trunc(entry.lastSeenMs)));
  }
  if (watermark) {
    invariant(watermark.region === region, `a feed record of ${region} holds a watermark of ${watermark.region}`);
    invariant(watermark.partition < watermark.partitionCount, `watermark of partition ${watermark.partition}`);
    body.varint(watermark.partition);
    body.varint(watermark.partitionCount);
    body.u64(watermark.watermarkUnixNano);
  }
  return assemble(KIND_FEED, region, strings, body);
}

/** Throws `malformed`, `unknown-version` or `too-large`, never anything else. The result holds no reference into `bytes`. */
export function decodeFeedRecord(bytes: Buffer): FeedRecord {
  const { reader, region, strings } = open(bytes, KIND_FEED, 'feed record');
  const bits = reader.byte();
  if (bits & ~(HAS_WATERMARK | SHARED_BLOCKS)) throw reader.malformed(`unknown bits ${bits}`);
  const base = reader.u64();
  const stringAt = (name: string) => strings[reader.varint(strings.length - 1, name)]!;
  const shared = bits & SHARED_BLOCKS ? readSharedBlocks(reader, strings) : null;
  const traces: TraceMetadata[] = [];
  const traceCount = reader.varint(FEED_LIMITS.tracesMax, 'trace count');
  if (traceCount * traceBytesMin > reader.remaining) throw reader.malformed(`${traceCount} traces do not fit`);
  for (let i = 0; i < traceCount; i++) traces.push(readTrace(reader, region, base, shared, strings));
  const catalogue: CatalogueEntry[] = [];
  const catalogueCount = reader.varint(FEED_LIMITS.catalogueMax, 'catalogue count');
  for (let i = 0; i < catalogueCount; i++) {
    catalogue.push({
      service: stringAt('catalogue service'),
      operation: stringAt('catalogue operation'),
      kind: reader.varint(255, 'span kind'),
      lastSeenMs: reader.varint(Number.MAX_SAFE_INTEGER, 'last seen'),
    });
  }
  const watermark = bits & HAS_WATERMARK ? readWatermark(reader, region) : null;
  reader.end();
  return { region, traces, watermark, catalogue };
}

/** One trace's metadata standing alone, blocks included. Equal metadata have equal bytes. Errors as of `encodeFeedRecord`. */
export function encodeTraceMetadata(metadata: TraceMetadata): Buffer {
  assertTrace(metadata);
  const strings = new StringTable();
  const body = new ByteWriter(96);
  body.u64(metadata.startUnixNano);
  writeTrace(body, metadata, metadata.startUnixNano, true, (text) => strings.number(text));
  return assemble(KIND_TRACE, metadata.region, strings, body);
}

/** Throws `malformed`, `unknown-version` or `too-large`, never anything else. */
export function decodeTraceMetadata(bytes: Buffer): TraceMetadata {
  const { reader, region, strings } = open(bytes, KIND_TRACE, 'trace metadata');
  const metadata = readTrace(reader, region, reader.u64(), null, strings);
  reader.end();
  return metadata;
}

function checkCount(what: string, count: number, max: number): void {
  if (count > max) throw new MeridianError('too-large', `feed record: ${count} ${what} are beyond ${max}`, 'never');
}

function checkName(what: string, name: string): void {
  if (name.length * 3 > FEED_LIMITS.stringBytesMax && Buffer.byteLength(name) > FEED_LIMITS.stringBytesMax) {
    throw new MeridianError('too-large', `${what}: a name is beyond ${FEED_LIMITS.stringBytesMax} bytes`, 'never');
  }
}

/** The one block list of all traces, or null where they differ. */
function sharedBlocks(traces: readonly TraceMetadata[]): readonly BlockId[] | null {
  const first = traces[0]?.blocks;
  if (!first) return null;
  const same = traces.every(
    ({ blocks }) => blocks === first || (blocks.length === first.length && blocks.every((b, i) => b === first[i])),
  );
  return same ? first : null;
}

function assemble(kind: number, region: RegionId, strings: StringTable, body: ByteWriter): Buffer {
  const head = new ByteWriter(256);
  head.byte(VERSION);
  head.byte(kind);
  head.text(region);
  strings.write(head);
  const bytes = Buffer.concat([head.finish(), body.finish()]);
  if (bytes.length > FEED_LIMITS.recordBytesMax) {
    throw new MeridianError(
      'too-large',
      `feed record: ${bytes.length} bytes are beyond ${FEED_LIMITS.recordBytesMax}`,
      'never',
    );
  }
  return bytes;
}

function open(bytes: Buffer, kind: number, what: string): { reader: ByteReader; region: RegionId; strings: string[] } {
  if (bytes.length > FEED_LIMITS.recordBytesMax) {
    throw new MeridianError(
      'too-large',
      `${what}: ${bytes.length} bytes are beyond ${FEED_LIMITS.recordBytesMax}`,
      'never',
    );
  }
  const reader = new ByteReader(bytes, what);
  const version = reader.byte();
  if (version !== VERSION) {
    throw new MeridianError('unknown-version', `${what}: version ${version}, this build knows ${VERSION}`, 'never');
  }
  if (reader.byte() !== kind) throw reader.malformed('is of another kind');
  const region = parseRegionId(reader.text(32, 'region'));
  if (!region) throw reader.malformed('region is no region name');
  const count = reader.varint(FEED_LIMITS.stringsMax, 'string count');
  if (count > reader.remaining) throw reader.malformed(`${count} strings do not fit`);
  const strings: string[] = [];
  for (let i = 0; i < count; i++) strings.push(reader.text(FEED_LIMITS.stringBytesMax, 'string'));
  return { reader, region, strings };
}

function readSharedBlocks(reader: ByteReader, strings: readonly string[]): BlockId[] {
  const count = reader.varint(FEED_LIMITS.blocksPerTraceMax, 'block count');
  const blocks: BlockId[] = [];
  for (let i = 0; i < count; i++) {
    const block = strings[reader.varint(strings.length - 1, 'block')] as BlockId;
    if (i > 0 && block <= blocks[i - 1]!) throw reader.malformed('blocks are out of order');
    blocks.push(block);
  }
  return blocks;
}

function readWatermark(reader: ByteReader, region: RegionId): Watermark {
  const partition = reader.varint(FEED_LIMITS.partitionsMax - 1, 'partition');
  const partitionCount = reader.varint(FEED_LIMITS.partitionsMax, 'partition count');
  if (partition >= partitionCount) throw reader.malformed(`partition ${partition} of ${partitionCount}`);
  return { region, partition, partitionCount, watermarkUnixNano: reader.u64() };
}
