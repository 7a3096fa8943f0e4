import { cursor, fixedEnd, readLengthEnd, readTag, readVarint, skipValue } from './wire.js';

const TWO_32 = 4_294_967_296;

/**
 * A reader with a position, for making views: `wire.ts` where values are wanted. Never reads past the `end` that it is given; whatever
 * does not fit is a MeridianError `malformed`.
 */
export class ProtoReader {
  /** Of the field that `next` found. */
  field = 0;
  wire = 0;
  private tag = 0;
  private readonly keys = new Map<number, CachedKey>();

  /** `at`: where the reader stands. */
  constructor(
    readonly buffer: Buffer,
    public at = 0,
  ) {}

  /** Reads the next field's tag; false at `end`. */
  next(end: number): boolean {
    if (this.at >= end) return false;
    const tag = readTag(this.buffer, this.at, end);
    this.at = cursor.at;
    this.tag = tag;
    this.wire = tag & 7;
    this.field = tag >>> 3;
    return true;
  }

  /** Passes over the value of the field that `next` found. */
  skip(end: number): void {
    this.at = skipValue(this.buffer, this.tag, this.at, end);
  }

  /** Reads a length; the result is where the message or text that begins here ends. */
  enter(end: number): number {
    const stop = readLengthEnd(this.buffer, this.at, end);
    this.at = cursor.at;
    return stop;
  }

  string(end: number): string {
    const stop = this.enter(end);
    const start = this.at;
    this.at = stop;
    return this.text(start, stop);
  }

  /** Text that is expected to come again, such as an attribute's key: equal bytes are decoded once. */
  key(end: number): string {
    const stop = this.enter(end);
    const start = this.at;
    this.at = stop;
    const length = stop - start;
    if (length === 0 || length > 64) return this.text(start, stop);
    const { buffer } = this;
    const hash =
      (Math.imul(buffer[start]!, 31) +
        Math.imul(buffer[stop - 1]!, 7_919) +
        Math.imul(buffer[start + (length >> 1)]!, 104_729) +
        length) &
      1023;
    const cached = this.keys.get(hash);
    if (cached !== undefined && cached.length === length && sameBytes(buffer, cached.start, start, length))
      return cached.text;
    const text = this.text(start, stop);
    this.keys.set(hash, { start, length, text });
    return text;
  }

  /** A view of the buffer. */
  bytes(end: number): Buffer {
    const stop = this.enter(end);
    const bytes = this.buffer.subarray(this.at, stop);
    this.at = stop;
    return bytes;
  }

  hex(end: number): string {
    const stop = this.enter(end);
    const text = this.buffer.toString('hex', this.at, stop);
    this.at = stop;
    return text;
  }

  bool(end: number): boolean {
    this.varint(end);
    return cursor.low !== 0 || cursor.high !== 0;
  }

  /** The low 32 bits of a varint, unsigned: what protobuf makes of a uint32 field. */
  uint32(end: number): number {
    this.varint(end);
    return cursor.low;
  }

  /** The low 32 bits of a varint, signed: an enum. */
  int32(end: number): number {
    this.varint(end);
    return cursor.low | 0;
  }

  /** An int64: a number where that is exact. */
  int64(end: number): number | bigint {
    this.varint(end);
    const { high, low } = cursor;
    if (high < 0x20_0000) return high * TWO_32 + low;
    if (high >= 0xffe0_0000) {
      const value = (high - TWO_32) * TWO_32 + low;
      if (Number.isSafeInteger(value)) return value;
    }
    return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
  }

  fixed32(end: number): number {
    const at = this.take(4, end);
    return this.buffer.readUInt32LE(at);
  }

  fixed64(end: number): bigint {
    const at = this.take(8, end);
    return this.buffer.readBigUInt64LE(at);
  }

  double(end: number): number {
    const at = this.take(8, end);
    return this.buffer.readDoubleLE(at);
  }

  private text(start: number, stop: number): string {
    const { buffer } = this;
    // Short ASCII is faster by hand than through the call into the decoder.
    if (stop - start <= 12) {
      let text = '';
      for (let at = start; at < stop; at++) {
        const byte = buffer[at]!;
        if (byte > 127) return buffer.toString('utf8', start, stop);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return buffer.toString('utf8', start, stop);
  }

  private take(bytes: number, end: number): number {
    const at = this.at;
    this.at = fixedEnd(at, bytes, end);
    return at;
  }

  /** Leaves the value in `cursor`. */
  private varint(end: number): void {
    this.at = readVarint(this.buffer, this.at, end);
  }
}

interface CachedKey {
  readonly start: number;
  readonly length: number;
  readonly text: string;
}

function sameBytes(buffer: Buffer, a: number, b: number, length: number): boolean {
  for (let index = 0; index < length; index++) if (buffer[a + index] !== buffer[b + index]) return false;
  return true;
}
