import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { FEED_LIMITS } from './feed-limits.js';
import { readTimes, readTraceBody, writeTraceBody } from './trace-codec.js';

/**
 * The packed value of an index row. Identity is the row's key; names and blocks are numbers of the file's own tables.
 * The version is the file's (`PRAGMA user_version`).
 *
 *   u64 big-endian  start (ns): first, so that rows can be filtered by time without unpacking
 *   body            trace-codec.ts
 *   [blocks]        varint n, then n block numbers; absent where there are none
 */
export function packRow(
  metadata: TraceMetadata,
  blocks: readonly BlockId[],
  numbers: { name(text: string): number; block(text: string): number },
): Buffer {
  const out = new ByteWriter(96);
  out.u64BigEndian(metadata.startUnixNano);
  writeTraceBody(out, metadata, numbers.name);
  if (blocks.length > 0) {
    out.varint(blocks.length);
    for (const block of blocks) out.varint(numbers.block(block));
  }
  return out.finish();
}

/** Unpacks; `malformed` where the file is damaged. Blocks come back in order of text. */
export function unpackRow(
  traceId: TraceId,
  region: RegionId,
  value: Buffer,
  texts: { name(number: number): string | undefined; block(number: number): string | undefined },
): TraceMetadata {
  const reader = new ByteReader(value, `index row ${traceId}@${region}`);
  const startUnixNano = reader.u64BigEndian();
  const body = readTraceBody(reader, startUnixNano, texts.name);
  const blocks: BlockId[] = [];
  if (reader.remaining > 0) {
    const count = reader.varint(FEED_LIMITS.blocksPerTraceMax, 'block count');
    for (let i = 0; i < count; i++) {
      const text = texts.block(reader.varint(Number.MAX_SAFE_INTEGER, 'block'));
      if (text === undefined) throw reader.malformed('a block names a text that is not there');
      blocks.push(text as BlockId);
    }
    blocks.sort();
  }
  reader.end();
  return { traceId, region, startUnixNano, ...body, blocks };
}

/** Start, end and flags alone, without a look at names. */
export function timesOfRow(value: Buffer): { startUnixNano: bigint; endUnixNano: bigint; flags: number } {
  const reader = new ByteReader(value, 'index row');
  const startUnixNano = reader.u64BigEndian();
  return { startUnixNano, ...readTimes(reader, startUnixNano) };
}
