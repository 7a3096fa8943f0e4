import type { LogHeaders, LogOffsets, LogReads, LogRecord } from '../log/span-log.js';
import { MeridianError } from '../runtime/errors.js';

/**
 * A mirrored record carries its offset at the source in one more header, so that appending it and remembering how far the mirror
 * got are one durable effect. `meridian-mirror`: byte 0 version (1), bytes 1-8 source offset (uint64 little-endian).
 */
export const MIRROR_HEADER = 'meridian-mirror';
const VERSION = 1;
const BYTES = 9;
/** Offsets may have gaps: the last record is looked for this far before the end, in growing steps. */
const LOOK_BACK_MAX = 1 << 20;
const READ_BYTES_MAX = 256 * 1024;

export function encodeMirrorOffset(sourceOffset: number): Buffer {
  const bytes = Buffer.alloc(BYTES);
  bytes.writeUInt8(VERSION, 0);
  bytes.writeBigUInt64LE(BigInt(sourceOffset), 1);
  return bytes;
}

/** The source offset in a record's headers; null where there is none. Throws `unknown-version` or `malformed`. */
export function readMirrorOffset(headers: LogHeaders): number | null {
  const header = headers[MIRROR_HEADER];
  if (!header) return null;
  if (header[0] !== VERSION) {
    throw new MeridianError(
      'unknown-version',
      `header ${MIRROR_HEADER}: version ${header[0]}, known is ${VERSION}`,
      'never',
    );
  }
  if (header.length !== BYTES) {
    throw new MeridianError(
      'malformed',
      `header ${MIRROR_HEADER}: ${header.length} bytes instead of ${BYTES}`,
      'never',
    );
  }
  return Number(Buffer.from(header.buffer, header.byteOffset, BYTES).readBigUInt64LE(1));
}

/**
 * A record before which records of the source are missing carries one more header, so that it is as durable as the record itself:
 * `meridian-mirror-gap`: byte 0 version (1), bytes 1-8 when the source's log took this record (Unix milliseconds, uint64 little-endian). What is
 * missing was taken before that.
 */
export const MIRROR_GAP_HEADER = 'meridian-mirror-gap';
const GAP_VERSION = 1;

export function encodeMirrorGap(sourceAppendedMs: number): Buffer {
  const bytes = Buffer.alloc(BYTES);
  bytes.writeUInt8(GAP_VERSION, 0);
  bytes.writeBigUInt64LE(BigInt(Math.max(0, Math.trunc(sourceAppendedMs))), 1);
  return bytes;
}

/** The time in the header; null where there is none; `unreadable` for one of another version or length. */
export function readMirrorGap(headers: LogHeaders): number | 'unreadable' | null {
  const header = headers[MIRROR_GAP_HEADER];
  if (!header) return null;
  if (header[0] !== GAP_VERSION || header.length !== BYTES) return 'unreadable';
  return Number(Buffer.from(header.buffer, header.byteOffset, BYTES).readBigUInt64LE(1));
}

/** The source offset from which the mirror of a partition goes on: after the last mirrored record, 0 where there is none. */
export async function mirrorPosition(log: LogOffsets & LogReads, topic: string, partition: number): Promise<number> {
  const end = (await log.ends(topic))[partition] ?? 0;
  const start = (await log.starts(topic))[partition] ?? 0;
  for (let back = 1; ; back = Math.min(back * 4, LOOK_BACK_MAX)) {
    const from = Math.max(start, end - back);
    const last = await lastRecord(log, topic, partition, from);
    const offset = last ? readMirrorOffset(last.headers) : null;
    if (offset !== null) return offset + 1;
    if (from === start || back === LOOK_BACK_MAX) return 0;
  }
}

async function lastRecord(
  log: LogReads,
  topic: string,
  partition: number,
  fromOffset: number,
): Promise<LogRecord | undefined> {
  let last: LogRecord | undefined;
  for (let next = fromOffset; ; next = last!.offset + 1) {
    const found = (await log.read(topic, partition, next, READ_BYTES_MAX)).at(-1);
    if (!found) return last;
    last = found;
  }
}
