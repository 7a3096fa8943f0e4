import { isUtf8 } from 'node:buffer';
import { MeridianError } from '../runtime/errors.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** Builds a byte string: fixed bytes, 64-bit little-endian counts, and LEB128 varints. Grows by doubling; not to be used after `finish`. */
export class ByteWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(initialBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#at;
  }

  #room(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + count));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  /** 24 bits, little-endian. */
  u24(value: number): void {
    this.#room(3);
    this.#bytes.writeUIntLE(value, this.#at, 3);
    this.#at += 3;
  }

  u64(value: bigint): void {
    this.#room(8);
    this.#bytes.writeBigUInt64LE(value, this.#at);
    this.#at += 8;
  }

  /** 64 bits, big-endian: compares as bytes like the number does. */
  u64BigEndian(value: bigint): void {
    this.#room(8);
    this.#bytes.writeBigUInt64BE(value, this.#at);
    this.#at += 8;
  }

  /** A non-negative safe integer. */
  varint(value: number): void {
    this.#room(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#at++] = rest;
  }

  /** An unsigned 64-bit count. */
  varint64(value: bigint): void {
    if (value <= SAFE_MAX) {
      this.varint(Number(value));
      return;
    }
    this.#room(10);
    let rest = value;
    while (rest >= 0x80n) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#at++] = Number(rest);
  }

  hex(text: string): void {
    this.#room(text.length / 2);
    this.#at += this.#bytes.write(text, this.#at, 'hex');
  }

  /** A varint of the length in bytes, then UTF-8. */
  text(text: string): void {
    const size = Buffer.byteLength(text);
    this.varint(size);
    this.#room(size);
    this.#at += this.#bytes.write(text, this.#at, 'utf8');
  }

  /** What was written. The caller owns it. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }
}

/** Reads what `ByteWriter` wrote, from untrusted bytes: anything out of bounds or out of range is `malformed`. Varints must be minimal. */
export class ByteReader {
  #at = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly what: string,
  ) {}

  get remaining(): number {
    return this.bytes.length - this.#at;
  }

  malformed(problem: string): MeridianError {
    return new MeridianError(
      'malformed',
      `${this.what}: ${problem} (byte ${this.#at} of ${this.bytes.length})`,
      'never',
    );
  }

  #need(count: number): void {
    if (count > this.remaining) throw this.malformed(`ends within a field of ${count} bytes`);
  }

  byte(): number {
    this.#need(1);
    return this.bytes[this.#at++]!;
  }

  u24(): number {
    this.#need(3);
    const value = this.bytes.readUIntLE(this.#at, 3);
    this.#at += 3;
    return value;
  }

  u64(): bigint {
    this.#need(8);
    const value = this.bytes.readBigUInt64LE(this.#at);
    this.#at += 8;
    return value;
  }

  u64BigEndian(): bigint {
    this.#need(8);
    const value = this.bytes.readBigUInt64BE(this.#at);
    this.#at += 8;
    return value;
  }

  /** A count from 0 to `max` (a safe integer). */
  varint(max: number, name: string): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (value > max) throw this.malformed(`${name} is beyond ${max}`);
      if (byte < 0x80) {
        if (byte === 0 && factor > 1) throw this.malformed(`${name} is not minimal`);
        return value;
      }
      factor *= 0x80;
      if (factor > 2 ** 49) throw this.malformed(`${name} is beyond ${max}`);
    }
  }

  varint64(name: string): bigint {
    let low = 0;
    let factor = 1;
    for (let i = 0; i < 7; i++) {
      const byte = this.byte();
      low += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) throw this.malformed(`${name} is not minimal`);
        return BigInt(low);
      }
      factor *= 0x80;
    }
    let value = BigInt(low);
    for (let shift = 49n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (value > U64_MAX || shift > 63n) throw this.malformed(`${name} is beyond 64 bits`);
      if (byte < 0x80) {
        if (byte === 0) throw this.malformed(`${name} is not minimal`);
        return value;
      }
    }
  }

  hex(bytes: number): string {
    this.#need(bytes);
    const text = this.bytes.toString('hex', this.#at, this.#at + bytes);
    this.#at += bytes;
    return text;
  }

  text(bytesMax: number, name: string): string {
    const size = this.varint(bytesMax, `${name} length`);
    this.#need(size);
    const part = this.bytes.subarray(this.#at, this.#at + size);
    if (!isUtf8(part)) throw this.malformed(`${name} is not UTF-8`);
    this.#at += size;
    return part.toString('utf8');
  }

  end(): void {
    if (this.remaining !== 0) throw this.malformed(`${this.remaining} bytes too many`);
  }
}
