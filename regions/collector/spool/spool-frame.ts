import { crc32 } from 'node:zlib';
import type { LogEntry } from '../../../global/log/span-log.js';
import { asBuffer } from '../../../global/runtime/bytes.js';
import { MeridianError } from '../../../global/runtime/errors.js';
import { decodeHeaders, encodeHeaders } from '../../log/headers-codec.js';
import { contentOf, storedForm } from '../../log/value-codec.js';
import { SPOOL_CLASSES, type SpoolClass } from './spool-class.js';

/**
 * A record of a spool file. A file is nothing but frames one after the other. Little-endian:
 *
 *   byte 0       version (1)
 *   bytes 1-4    bytes of the body
 *   bytes 5-8    CRC-32 of bytes 0 to 4 and the body
 *   then the body: u8 class, u32 partition, u48 sequence, u48 arrival (ms since the epoch), u32 spans, u32 bytes of the key + 1 (0: no key),
 *   u32 bytes of the headers, u32 bytes of the value, then key, headers (regions/log/headers-codec.ts), value (regions/log/value-codec.ts)
 *
 * Every version begins with these nine bytes, so that a newer build's frame is told from a torn one.
 */
const VERSION = 1;
const PREFIX_BYTES = 9;
const CRC_AT = 5;
const HEAD_BYTES = 33;
export const FRAME_OVERHEAD_BYTES = PREFIX_BYTES + HEAD_BYTES;
/** Of a body; what claims to be longer is no frame. */
export const FRAME_BODY_BYTES_MAX = 32 * 1024 * 1024;

export interface FrameHead {
  readonly class: SpoolClass;
  readonly partition: number;
  /** Order of arrival in this spool. The pieces of one record share it. */
  readonly sequence: number;
  readonly arrivedMs: number;
  readonly spanCount: number;
  /** Of the value, before it was compressed. */
  readonly valueBytes: number;
}

export interface Frame extends Omit<FrameHead, 'valueBytes'> {
  readonly entry: LogEntry;
}

/** Its own memory. */
export function encodeFrame(frame: Frame): Buffer {
  const { key, value, headers } = frame.entry;
  const headerBytes = encodeHeaders(headers);
  const stored = storedForm(value);
  const bodyBytes = HEAD_BYTES + (key?.length ?? 0) + headerBytes.length + stored.length;
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + bodyBytes);
  bytes[0] = VERSION;
  bytes.writeUInt32LE(bodyBytes, 1);
  let at = bytes.writeUInt8(frame.class, PREFIX_BYTES);
  at = bytes.writeUInt32LE(frame.partition, at);
  at = bytes.writeUIntLE(frame.sequence, at, 6);
  at = bytes.writeUIntLE(frame.arrivedMs, at, 6);
  at = bytes.writeUInt32LE(frame.spanCount, at);
  at = bytes.writeUInt32LE(key ? key.length + 1 : 0, at);
  at = bytes.writeUInt32LE(headerBytes.length, at);
  at = bytes.writeUInt32LE(value.length, at);
  if (key) bytes.set(key, at);
  at += key?.length ?? 0;
  bytes.set(headerBytes, at);
  bytes.set(stored, at + headerBytes.length);
  bytes.writeUInt32LE(checksum(bytes, 0, bytes.length), CRC_AT);
  return bytes;
}

function checksum(bytes: Buffer, at: number, end: number): number {
  return crc32(bytes.subarray(at + PREFIX_BYTES, end), crc32(bytes.subarray(at, at + CRC_AT)));
}

/**
 * Where the frame at `at` ends; null where there is no whole one: a write that was torn, or damage. Throws `unknown-version` for a
 * whole frame of another version.
 */
export function frameEnd(bytes: Buffer, at: number): number | null {
  if (at + FRAME_OVERHEAD_BYTES > bytes.length) return null;
  const bodyBytes = bytes.readUInt32LE(at + 1);
  const end = at + PREFIX_BYTES + bodyBytes;
  if (bodyBytes < HEAD_BYTES || bodyBytes > FRAME_BODY_BYTES_MAX || end > bytes.length) return null;
  if (bytes.readUInt32LE(at + CRC_AT) !== checksum(bytes, at, end)) return null;
  if (bytes[at] !== VERSION) {
    throw new MeridianError(
      'unknown-version',
      `reading the spool: version ${bytes[at]} is not known; let the build that wrote it replay it, or move the folder away`,
      'never',
    );
  }
  return end;
}

/** The head of a frame that `frameEnd` found whole. Throws `malformed` for one that no build of this version writes. */
export function readFrameHead(bytes: Buffer, at: number): FrameHead {
  const head = at + PREFIX_BYTES;
  const classNumber = bytes[head]!;
  if (classNumber >= SPOOL_CLASSES.length) throw malformed(`class ${classNumber}`);
  return {
    class: classNumber as SpoolClass,
    partition: bytes.readUInt32LE(head + 1),
    sequence: bytes.readUIntLE(head + 5, 6),
    arrivedMs: bytes.readUIntLE(head + 11, 6),
    spanCount: bytes.readUInt32LE(head + 17),
    valueBytes: bytes.readUInt32LE(head + 29),
  };
}

/** The same with its entry, whose bytes may be views of `bytes`. Throws `malformed`, also for a frame that is not whole. */
export function readFrame(bytes: Buffer, at: number): Frame {
  const end = frameEnd(bytes, at);
  if (end === null) throw malformed('it is not whole');
  const { valueBytes, ...head } = readFrameHead(bytes, at);
  const keyField = bytes.readUInt32LE(at + PREFIX_BYTES + 21);
  const headersAt = at + FRAME_OVERHEAD_BYTES + Math.max(0, keyField - 1);
  const valueAt = headersAt + bytes.readUInt32LE(at + PREFIX_BYTES + 25);
  if (valueAt > end) throw malformed('its fields run past its end');
  const key = keyField === 0 ? null : bytes.subarray(at + FRAME_OVERHEAD_BYTES, headersAt);
  const headers = decodeHeaders(bytes.subarray(headersAt, valueAt));
  if (valueBytes > FRAME_BODY_BYTES_MAX) throw malformed(`a value of ${valueBytes} bytes`);
  const value = asBuffer(contentOf(bytes.subarray(valueAt, end), valueBytes));
  return { ...head, entry: { key, headers, value } };
}

export interface ScannedFrame extends FrameHead {
  readonly at: number;
  readonly end: number;
}

/**
 * The whole frames of a file from its start, up to the first that is not whole: what follows that one was never acknowledged, as nothing is
 * appended behind a write that failed. `wholeBytes` is where they end. Throws `unknown-version`. Linear in the bytes.
 */
export function scanFrames(bytes: Buffer): { readonly frames: readonly ScannedFrame[]; readonly wholeBytes: number } {
  const frames: ScannedFrame[] = [];
  let at = 0;
  for (let end = frameEnd(bytes, at); end !== null; end = frameEnd(bytes, at)) {
    frames.push({ ...readFrameHead(bytes, at), at, end });
    at = end;
  }
  return { frames, wholeBytes: at };
}

function malformed(what: string): MeridianError {
  return new MeridianError('malformed', `reading a frame of the spool: ${what}`, 'never');
}
