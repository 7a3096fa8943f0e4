import { MeridianError } from '../runtime/errors.js';

/**
 * A growing writer of the protobuf wire format (protobuf.dev/programming-guides/encoding). Nested messages are written in
 * place: `begin` leaves one byte for the length, `end` fills it in and moves the content where it needs more. Fields are written
 * in the order of the calls. Fields of value zero are written too: leaving out defaults is the caller's decision.
 */
export class ProtoWriter {
  private buffer: Buffer;
  private at = 0;

  /** `bytesMax` bounds what `finish` hands out (MeridianError `too-large`); memory is bounded by it and the largest value. */
  constructor(
    initialBytes = 1024,
    private readonly bytesMax = PROTO_BYTES_MAX,
  ) {
    this.buffer = Buffer.allocUnsafe(Math.max(16, initialBytes));
  }

  /** Bytes written so far. A mark to return to with `rollback`. */
  get length(): number {
    return this.at;
  }

  /** Forgets everything that was written after `mark` (a former `length`, outside of any message begun since). */
  rollback(mark: number): void {
    this.at = mark;
  }

  /** The bytes written: a view of the writer's own memory. The writer must not be used afterwards. */
  finish(): Buffer {
    this.checkSize();
    return this.buffer.subarray(0, this.at);
  }

  /** The bytes written so far, for copying at once: the next write may change them. */
  view(): Buffer {
    return this.buffer.subarray(0, this.at);
  }

  /** An unsigned integer below 2^53, wire type 0. */
  uintField(field: number, value: number): void {
    this.ensure(20);
    this.varint(field * 8);
    this.varint(value);
  }

  boolField(field: number, value: boolean): void {
    this.uintField(field, value ? 1 : 0);
  }

  /** An int64 of the range -2^63 to 2^63 - 1, wire type 0, two's complement (not zigzag). */
  int64Field(field: number, value: bigint | number): void {
    if (typeof value === 'number') {
      if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) {
        this.uintField(field, value);
        return;
      }
      this.int64Field(field, BigInt(value));
      return;
    }
    this.ensure(20);
    this.varint(field * 8);
    let rest = BigInt.asUintN(64, value);
    while (rest > 127n) {
      this.buffer[this.at++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.buffer[this.at++] = Number(rest);
  }

  /** An unsigned 64-bit integer, wire type 1. */
  fixed64Field(field: number, value: bigint): void {
    this.ensure(18);
    this.varint(field * 8 + 1);
    this.buffer.writeBigUInt64LE(BigInt.asUintN(64, value), this.at);
    this.at += 8;
  }

  /** An unsigned 32-bit integer, wire type 5. */
  fixed32Field(field: number, value: number): void {
    this.ensure(14);
    this.varint(field * 8 + 5);
    this.buffer.writeUInt32LE(value >>> 0, this.at);
    this.at += 4;
  }

  doubleField(field: number, value: number): void {
    this.ensure(18);
    this.varint(field * 8 + 1);
    this.buffer.writeDoubleLE(value, this.at);
    this.at += 8;
  }

  /** UTF-8; a lone surrogate becomes U+FFFD. */
  stringField(field: number, value: string): void {
    const length = value.length;
    this.ensure(20 + (length < 1024 ? length * 3 : Buffer.byteLength(value)));
    this.varint(field * 8 + 2);
    // The length of ASCII text, the usual case, is known at once; other text moves where its length needs another byte.
    const guess = varintBytes(length);
    const start = this.at + guess;
    const written = length < 24 ? this.shortAscii(value, start) : -1;
    const bytes = written >= 0 ? written : this.buffer.write(value, start, 'utf8');
    const needed = varintBytes(bytes);
    if (needed !== guess) this.buffer.copyWithin(this.at + needed, start, start + bytes);
    this.varint(bytes);
    this.at += bytes;
  }

  bytesField(field: number, value: Uint8Array): void {
    this.ensure(20 + value.length);
    this.varint(field * 8 + 2);
    this.varint(value.length);
    this.buffer.set(value, this.at);
    this.at += value.length;
  }

  /** Opens a nested message; the result is handed to `end`. Messages close in the reverse order. */
  begin(field: number): number {
    this.ensure(11);
    this.varint(field * 8 + 2);
    return this.at++;
  }

  end(begun: number): void {
    const bytes = this.at - begun - 1;
    const extra = varintBytes(bytes) - 1;
    if (extra > 0) {
      this.ensure(extra);
      this.buffer.copyWithin(begun + 1 + extra, begun + 1, this.at);
    }
    this.at = begun;
    this.varint(bytes);
    this.at += bytes;
  }

  /** Bytes that are encoded fields already. */
  raw(encoded: Uint8Array): void {
    this.ensure(encoded.length);
    this.buffer.set(encoded, this.at);
    this.at += encoded.length;
  }

  private varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.buffer[this.at++] = (rest % 128) | 128;
      rest = rest < 2_147_483_648 ? rest >>> 7 : Math.floor(rest / 128);
    }
    this.buffer[this.at++] = rest;
  }

  /** Writes text that is all ASCII and tells its length, or -1. */
  private shortAscii(value: string, start: number): number {
    const { buffer } = this;
    for (let index = 0; index < value.length; index++) {
      const unit = value.charCodeAt(index);
      if (unit > 127) return -1;
      buffer[start + index] = unit;
    }
    return value.length;
  }

  private checkSize(): void {
    if (this.at <= this.bytesMax) return;
    throw new MeridianError('too-large', `writing OTLP: ${this.at} bytes, more than ${this.bytesMax}`, 'never');
  }

  private ensure(more: number): void {
    const needed = this.at + more;
    if (needed <= this.buffer.length) return;
    this.checkSize();
    const grown = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(grown, 0, 0, this.at);
    this.buffer = grown;
  }
}

/** What one writer holds at most: a request's inflated body and then some, as conversions add little. */
const PROTO_BYTES_MAX = 256 * 1024 * 1024;

/** Bytes that the varint of an unsigned integer below 2^53 takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}
