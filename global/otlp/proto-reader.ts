import { MeridianError } from '../runtime/errors.js';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_FIXED32 = 5;

const TWO_32 = 4_294_967_296;

/**
 * A reader of the protobuf wire format for making views. Never reads past the `end` that it is given; whatever does not fit is a
 * MeridianError `malformed`. Groups (wire types 3 and 4), which OTLP does not have, are malformed.
 */
export class ProtoReader {
  /** Of the field that `next` found. */
  field = 0;
  wire = 0;
  private high = 0;
  private low = 0;
  private readonly keys = new Map<number, CachedKey>();

  /** `at`: where the reader stands. */
  constructor(
    readonly buffer: Buffer,
    public at = 0,
  ) {}

  /** Reads the next field's tag; false at `end`. */
  next(end: number): boolean {
    if (this.at >= end) return false;
    const first = this.buffer[this.at]!;
    let tag = first;
    if (first < 128) {
      this.at++;
    } else {
      tag = this.uint(end);
      if (tag >= TWO_32) this.fail('a tag of more than 32 bits');
    }
    this.wire = tag & 7;
    this.field = tag >>> 3;
    if (this.field === 0) this.fail('field number 0');
    return true;
  }

  /** Passes over the value of the field that `next` found. */
  skip(end: number): void {
    switch (this.wire) {
      case WIRE_VARINT:
        this.varint(end);
        return;
      case WIRE_FIXED64:
        this.take(8, end);
        return;
      case WIRE_BYTES:
        this.at = this.enter(end);
        return;
      case WIRE_FIXED32:
        this.take(4, end);
        return;
      default:
        this.fail(`wire type ${this.wire}`);
    }
  }

  /** Reads a length; the result is where the message or text that begins here ends. */
  enter(end: number): number {
    const first = this.at < end ? this.buffer[this.at]! : 128;
    let length = first;
    if (first < 128) this.at++;
    else length = this.uint(end);
    if (length > end - this.at) this.fail(`a length of ${length} where ${end - this.at} bytes are left`);
    return this.at + length;
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
    return this.low !== 0 || this.high !== 0;
  }

  /** The low 32 bits of a varint, unsigned: what protobuf makes of a uint32 field. */
  uint32(end: number): number {
    this.varint(end);
    return this.low;
  }

  /** The low 32 bits of a varint, signed: an enum. */
  int32(end: number): number {
    this.varint(end);
    return this.low | 0;
  }

  /** An int64: a number where that is exact. */
  int64(end: number): number | bigint {
    this.varint(end);
    const { high, low } = this;
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
    if (bytes > end - at) this.fail(`${bytes} bytes expected where ${end - at} are left`);
    this.at = at + bytes;
    return at;
  }

  /** A varint that must be below 2^53 to be of use; a larger one comes out as something above any length. */
  private uint(end: number): number {
    this.varint(end);
    return this.high * TWO_32 + this.low;
  }

  private varint(end: number): void {
    const { buffer } = this;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (this.at >= end) this.fail('a varint that is cut off');
      const byte = buffer[this.at++]!;
      const bits = byte & 127;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (index < 9) high |= bits << (7 * index - 32);
      else high |= bits << 31;
      if (byte < 128) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    this.fail('a varint of more than 10 bytes');
  }

  private fail(what: string): never {
    throw new MeridianError('malformed', `reading OTLP: ${what} at byte ${this.at}`, 'never');
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
