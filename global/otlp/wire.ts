import { MeridianError } from '../runtime/errors.js';

/**
 * Reading and writing the protobuf wire format in place, with strict bounds. Every read names the end of the message that it is in; what
 * runs past it is `malformed`, at an offset of the buffer. Groups (wire types 3 and 4) do not occur in OTLP and are refused.
 * Source: https://protobuf.dev/programming-guides/encoding/.
 */

export const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/**
 * Where the last read ended, and the halves of the last 64-bit value: one object for all reads, so that none of them allocates.
 * Reads are synchronous; copy what you need before the next one.
 */
export const cursor = { at: 0, low: 0, high: 0 };

const VARINT_BYTES_MAX = 10;

/** Throws `malformed`: not the wire format of OTLP, at byte `at`. */
export function malformed(at: number, what: string): never {
  throw new MeridianError('malformed', `reading OTLP protobuf: ${what} at byte ${at}`, 'never');
}

/**
 * Reads a varint of up to 10 bytes into `cursor.low` and `cursor.high` (unsigned halves; bits beyond the 64th are dropped, as
 * official parsers do) and returns the position after it.
 */
export function readVarint(buffer: Buffer, at: number, end: number): number {
  let low = 0;
  let high = 0;
  const stop = Math.min(end, at + VARINT_BYTES_MAX);
  for (let p = at, shift = 0; p < stop; p++, shift += 7) {
    const byte = buffer[p]!;
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high |= bits >>> 4;
    } else high |= bits << (shift - 32);
    if (byte < 0x80) {
      cursor.low = low >>> 0;
      cursor.high = high >>> 0;
      cursor.at = p + 1;
      return p + 1;
    }
  }
  return malformed(at, stop - at < VARINT_BYTES_MAX ? 'a truncated varint' : 'a varint of more than 10 bytes');
}

/** The position after a varint. */
export function skipVarint(buffer: Buffer, at: number, end: number): number {
  if (at < end && buffer[at]! < 0x80) return at + 1;
  return readVarint(buffer, at, end);
}

/** Reads a tag; returns `fieldNumber << 3 | wireType` (unsigned) and leaves the position after it in `cursor.at`. */
export function readTag(buffer: Buffer, at: number, end: number): number {
  if (at < end) {
    const byte = buffer[at]!;
    if (byte < 0x80 && byte > 7) {
      cursor.at = at + 1;
      return byte;
    }
  }
  readVarint(buffer, at, end);
  if (cursor.high !== 0) malformed(at, 'a tag of more than 32 bits');
  if (cursor.low <= 7) malformed(at, 'field number 0');
  return cursor.low;
}

/**
 * Reads the length of a length-delimited field; returns where its content ends, and leaves where it starts in `cursor.at`. A length
 * that runs past `end` is malformed.
 */
export function readLengthEnd(buffer: Buffer, at: number, end: number): number {
  if (at < end) {
    const byte = buffer[at]!;
    if (byte < 0x80) {
      const to = at + 1 + byte;
      if (to > end) lengthPastEnd(at, byte, end);
      cursor.at = at + 1;
      return to;
    }
  }
  const from = readVarint(buffer, at, end);
  if (cursor.high !== 0 || cursor.low > end - from) {
    lengthPastEnd(at, cursor.high * 4_294_967_296 + cursor.low, end);
  }
  return from + cursor.low;
}

/** Throws `malformed`: a length that lies. */
export function lengthPastEnd(at: number, length: number, end: number): never {
  return malformed(at, `a length of ${length} that runs past the end of its message (byte ${end}),`);
}

/** The position after the value of a field whose tag was read; `at` is where the value begins. */
export function skipValue(buffer: Buffer, tag: number, at: number, end: number): number {
  switch (tag & 7) {
    case WireType.varint:
      return skipVarint(buffer, at, end);
    case WireType.fixed64:
      return fixedEnd(at, 8, end);
    case WireType.bytes:
      return readLengthEnd(buffer, at, end);
    case WireType.fixed32:
      return fixedEnd(at, 4, end);
    default:
      return malformed(at, `wire type ${tag & 7} (field ${tag >>> 3})`);
  }
}

/** The position after `bytes` bytes from `at`, which must lie in the message. */
export function fixedEnd(at: number, bytes: number, end: number): number {
  if (at + bytes > end) malformed(at, `a truncated fixed${bytes * 8}`);
  return at + bytes;
}

/** Four bytes at `at` as an unsigned little-endian number. The caller has checked the bounds. */
export function uint32At(buffer: Buffer, at: number): number {
  return (buffer[at]! | (buffer[at + 1]! << 8) | (buffer[at + 2]! << 16) | (buffer[at + 3]! << 24)) >>> 0;
}

/** Whether all bytes of a range are zero. */
export function isZero(buffer: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (buffer[i] !== 0) return false;
  return true;
}

/** Bytes that a varint below 2^32 takes. */
export function varintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

/** Writes a varint below 2^32; returns the position after it. */
export function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  let p = at;
  while (rest > 0x7f) {
    target[p++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[p++] = rest;
  return p;
}

/** A length-delimited field with this content, in its own memory. */
export function encodeBytesField(fieldNumber: number, content: Buffer): Buffer {
  const tag = (fieldNumber << 3) | WireType.bytes;
  const head = varintSize(tag) + varintSize(content.length);
  const field = Buffer.allocUnsafeSlow(head + content.length);
  content.copy(field, writeVarint(field, writeVarint(field, 0, tag), content.length));
  return field;
}
