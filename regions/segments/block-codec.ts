import { crc32 } from 'node:zlib';
import { ByteReader, ByteWriter } from '../../global/index/bytes.js';
import { decodeFeedRecord, encodeFeedRecord } from '../../global/index/feed-codec.js';
import { metadataCounts } from '../../global/index/join.js';
import type { BlockId } from '../../global/model/metadata.js';
import { maxNano, minNano } from '../../global/model/time.js';
import { invariant, MeridianError } from '../../global/runtime/errors.js';
import { BLOCK_ID_BYTES_MAX, parseBlockId } from './block-id.js';
import { type Block, CLOSE_REASONS, type EncodedBlock, type Segment } from './segment.js';
import { deflateFrame, inflateFrame } from './zstd-frame.js';

/**
 * The value of a record of `segments`, and what a store keeps. Version 1. Varints are LEB128, minimal; u64 and u32 little-endian.
 *
 *   byte    version = 1
 *   byte    kind = 0x42 'B'
 *   text    block id (its first part is the source region)
 *   varint  segments
 *   varint  spans, as the segments' metadata count them
 *   u64     smallest segment start, u64 largest segment start, u64 largest end (Unix ns)
 *   varint  bytes inside the frame
 *   u32     CRC-32 of the frame
 *   the rest: one zstd frame (zstd-frame.ts) of
 *     varint  length of the directory
 *     the directory: a feed record without watermark and catalogue (global/index/feed-codec.ts), a trace for each segment
 *     varint  smallest time of first reception (Unix ms)
 *     for each segment: byte close reason (its place in CLOSE_REASONS), varint received first - smallest, varint received last - first,
 *       varint payload length
 *     the payloads, one after the other
 */
const VERSION = 1;
const KIND = 0x42;
const HEAD_BYTES_MAX = 2 + 2 + BLOCK_ID_BYTES_MAX + 5 + 8 + 3 * 8 + 5 + 4;

/** Held by encoder and decoder alike. */
export const BLOCK_LIMITS = {
  segmentsMax: 4096,
  /** Directory and payloads of a block before compression. */
  inflatedBytesMax: 128 * 1024 * 1024,
} as const;

interface Head {
  readonly block: EncodedBlock;
  readonly inflatedBytes: number;
  readonly crc: number;
  readonly frameAt: number;
}

/**
 * Throws `too-large` beyond `BLOCK_LIMITS`; a block without segments, or with a segment of another region, is a bug of the
 * caller's. Compression runs on the thread pool. The caller owns the result.
 */
export async function encodeBlock(block: Block): Promise<EncodedBlock> {
  const { id, source, segments } = block;
  invariant(segments.length > 0, `block ${id} without segments`);
  invariant(parseBlockId(id)?.source === source, `block ${id} of ${source}`);
  if (segments.length > BLOCK_LIMITS.segmentsMax) {
    throw tooLarge(`block ${id}: ${segments.length} segments are beyond ${BLOCK_LIMITS.segmentsMax}`);
  }
  const content = encodeContent(block);
  if (content.length > BLOCK_LIMITS.inflatedBytesMax) {
    throw tooLarge(`block ${id}: ${content.length} bytes are beyond ${BLOCK_LIMITS.inflatedBytesMax}`);
  }
  const frame = await deflateFrame(content);
  const first = segments[0]!.metadata;
  let startUnixNanoMin = first.startUnixNano;
  let startUnixNanoMax = first.startUnixNano;
  let endUnixNanoMax = first.endUnixNano;
  let spanCount = 0;
  for (const { metadata } of segments) {
    startUnixNanoMin = minNano(startUnixNanoMin, metadata.startUnixNano);
    startUnixNanoMax = maxNano(startUnixNanoMax, metadata.startUnixNano);
    endUnixNanoMax = maxNano(endUnixNanoMax, metadata.endUnixNano);
    spanCount += metadataCounts(metadata).spanCount;
  }
  const head = new ByteWriter(HEAD_BYTES_MAX);
  head.byte(VERSION);
  head.byte(KIND);
  head.text(id);
  head.varint(segments.length);
  head.varint(spanCount);
  head.u64(startUnixNanoMin);
  head.u64(startUnixNanoMax);
  head.u64(endUnixNanoMax);
  head.varint(content.length);
  const crc = Buffer.allocUnsafe(4);
  crc.writeUInt32LE(crc32(frame));
  const bytes = Buffer.concat([head.finish(), crc, frame]);
  const segmentCount = segments.length;
  return { id, source, bytes, segmentCount, spanCount, startUnixNanoMin, startUnixNanoMax, endUnixNanoMax };
}

/** Reads the head, without inflating anything. Throws `malformed` or `unknown-version`. The result refers to `bytes`. */
export function readEncodedBlock(bytes: Buffer): EncodedBlock {
  return readHead(bytes).block;
}

/**
 * Inflates on the thread pool. Rejects with `malformed`, `too-large` or `unknown-version`, never anything else, and before
 * it has taken memory beyond what the head announces. The payloads are parts of one buffer: whoever keeps one keeps all.
 */
export async function decodeBlock(encoded: EncodedBlock): Promise<Block> {
  const { block, inflatedBytes, crc, frameAt } = readHead(encoded.bytes);
  const what = `block ${block.id}`;
  if (inflatedBytes > BLOCK_LIMITS.inflatedBytesMax) {
    throw tooLarge(`${what}: ${inflatedBytes} bytes are beyond ${BLOCK_LIMITS.inflatedBytesMax}`);
  }
  const frame = encoded.bytes.subarray(frameAt);
  if (crc32(frame) !== crc) throw new MeridianError('malformed', `${what}: the checksum does not match`, 'never');
  const content = await inflateFrame(frame, inflatedBytes, what);
  return { id: block.id, source: block.source, segments: decodeContent(content, block, what) };
}

function encodeContent({ source, segments }: Block): Buffer {
  const traces = segments.map(({ metadata }) => (metadata.blocks.length ? { ...metadata, blocks: [] } : metadata));
  const directory = encodeFeedRecord({ region: source, traces, watermark: null, catalogue: [] });
  const lead = new ByteWriter(8);
  lead.varint(directory.length);
  const received = segments.reduce(
    (least, segment) => Math.min(least, segment.receivedFirstMs),
    Number.MAX_SAFE_INTEGER,
  );
  const base = Math.max(0, Math.trunc(received));
  const table = new ByteWriter(16 + segments.length * 12);
  table.varint(base);
  for (const { closeReason, receivedFirstMs, receivedLastMs, payload } of segments) {
    const first = Math.max(base, Math.trunc(receivedFirstMs));
    table.byte(CLOSE_REASONS.indexOf(closeReason));
    table.varint(first - base);
    table.varint(Math.max(0, Math.trunc(receivedLastMs) - first));
    table.varint(payload.length);
  }
  return Buffer.concat([lead.finish(), directory, table.finish(), ...segments.map(({ payload }) => payload)]);
}

function readHead(bytes: Buffer): Head {
  const reader = new ByteReader(bytes, 'block');
  const version = reader.byte();
  if (version !== VERSION) {
    throw new MeridianError('unknown-version', `block: version ${version}, this build knows ${VERSION}`, 'never');
  }
  if (reader.byte() !== KIND) throw reader.malformed('is of another kind');
  const id = reader.text(BLOCK_ID_BYTES_MAX, 'block id') as BlockId;
  const name = parseBlockId(id);
  if (!name) throw reader.malformed('the block id is none');
  const segmentCount = reader.varint(BLOCK_LIMITS.segmentsMax, 'segment count');
  if (segmentCount === 0) throw reader.malformed('no segments');
  const spanCount = reader.varint(Number.MAX_SAFE_INTEGER, 'span count');
  const startUnixNanoMin = reader.u64();
  const startUnixNanoMax = reader.u64();
  const endUnixNanoMax = reader.u64();
  if (startUnixNanoMax < startUnixNanoMin) throw reader.malformed('the largest start lies before the smallest');
  const inflatedBytes = reader.varint(0xffff_ffff, 'inflated bytes');
  const crcAt = bytes.length - reader.remaining;
  if (reader.remaining < 4) throw reader.malformed('ends within the checksum');
  const block = {
    id,
    source: name.source,
    bytes,
    segmentCount,
    spanCount,
    startUnixNanoMin,
    startUnixNanoMax,
    endUnixNanoMax,
  };
  return { block, inflatedBytes, crc: bytes.readUInt32LE(crcAt), frameAt: crcAt + 4 };
}

function decodeContent(content: Buffer, head: EncodedBlock, what: string): Segment[] {
  const lead = new ByteReader(content, what);
  const directoryBytes = lead.varint(lead.remaining, 'directory length');
  const directoryAt = content.length - lead.remaining;
  if (directoryBytes > lead.remaining) throw lead.malformed('the directory does not fit');
  const tableAt = directoryAt + directoryBytes;
  const directory = decodeFeedRecord(content.subarray(directoryAt, tableAt));
  if (directory.region !== head.source) throw lead.malformed(`segments of ${directory.region}`);
  if (directory.traces.length !== head.segmentCount) throw lead.malformed(`${directory.traces.length} segments`);
  const table = new ByteReader(content.subarray(tableAt), what);
  const base = table.varint(Number.MAX_SAFE_INTEGER, 'reception');
  const rows = directory.traces.map((metadata) => {
    const closeReason = CLOSE_REASONS[table.byte()];
    if (!closeReason) throw table.malformed('a close reason is not known');
    const receivedFirstMs = base + table.varint(Number.MAX_SAFE_INTEGER - base, 'first reception');
    const receivedLastMs = receivedFirstMs + table.varint(Number.MAX_SAFE_INTEGER - receivedFirstMs, 'last reception');
    const payloadBytes = table.varint(content.length, 'payload length');
    return { metadata, closeReason, receivedFirstMs, receivedLastMs, payloadBytes };
  });
  let at = content.length - table.remaining;
  const segments = rows.map(({ payloadBytes, ...segment }) => {
    const payload = content.subarray(at, at + payloadBytes);
    at += payloadBytes;
    return { ...segment, payload };
  });
  if (at !== content.length) throw lead.malformed('the payloads do not add up');
  return segments;
}

function tooLarge(message: string): MeridianError {
  return new MeridianError('too-large', message, 'never');
}
