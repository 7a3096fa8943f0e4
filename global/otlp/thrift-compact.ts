import { THRIFT_SKIP_DEPTH_MAX, ThriftReader, ThriftType } from './thrift-reader.js';

/** Compact type numbers to ThriftType; a boolean field's value is in its type (1 true, 2 false). */
const TYPES = [
  ThriftType.stop,
  ThriftType.bool,
  ThriftType.bool,
  ThriftType.byte,
  ThriftType.i16,
  ThriftType.i32,
  ThriftType.i64,
  ThriftType.double,
  ThriftType.string,
  ThriftType.list,
  ThriftType.set,
  ThriftType.map,
  ThriftType.struct,
  ThriftType.uuid,
];
const TRUE = 1;
const FALSE = 2;

/** TCompactProtocol (thrift/doc/specs/thrift-compact-protocol.md): zigzag varints, field ids as differences, little-endian doubles. */
export class ThriftCompactReader extends ThriftReader {
  private readonly enclosingIds: number[] = [];
  /** The value of a boolean field, until it is asked for. */
  private heldBool: boolean | null = null;

  override structBegin(): void {
    if (this.enclosingIds.length > THRIFT_SKIP_DEPTH_MAX + 8) this.fail('structs nested too deeply');
    this.enclosingIds.push(this.fieldId);
    this.fieldId = 0;
  }

  override structEnd(): void {
    this.fieldId = this.enclosingIds.pop() ?? 0;
  }

  override nextField(): boolean {
    const header = this.buffer[this.take(1)]!;
    const compact = header & 15;
    if (compact === 0) return false;
    this.fieldType = this.typeOf(compact);
    const delta = header >>> 4;
    this.fieldId = delta === 0 ? this.i16() : this.fieldId + delta;
    this.heldBool = compact === TRUE ? true : compact === FALSE ? false : null;
    return true;
  }

  override bool(): boolean {
    const held = this.heldBool;
    this.heldBool = null;
    return held ?? this.buffer[this.take(1)] === TRUE;
  }

  override i16(): number {
    return this.i32();
  }

  override i32(): number {
    const value = this.uint32();
    return (value >>> 1) ^ -(value & 1);
  }

  override i64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.buffer[this.take(1)]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
    }
    return this.fail('a varint of more than 10 bytes');
  }

  override double(): number {
    return this.buffer.readDoubleLE(this.take(8));
  }

  protected override listHeader(): { type: number; count: number } {
    const header = this.buffer[this.take(1)]!;
    const short = header >>> 4;
    this.heldBool = null;
    return { type: this.typeOf(header & 15), count: short === 15 ? this.uint32() : short };
  }

  protected override mapHeader(): { keyType: number; valueType: number; count: number } {
    const count = this.uint32();
    this.heldBool = null;
    if (count === 0) return { keyType: ThriftType.stop, valueType: ThriftType.stop, count };
    const types = this.buffer[this.take(1)]!;
    return { keyType: this.typeOf(types >>> 4), valueType: this.typeOf(types & 15), count };
  }

  protected override byteLength(): number {
    return this.uint32();
  }

  private typeOf(compact: number): number {
    return TYPES[compact] ?? this.fail(`compact type ${compact}`);
  }

  /** Unsigned; bits beyond 32 are refused by the length of the varint. */
  private uint32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.buffer[this.take(1)]!;
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
    return this.fail('a varint of more than 5 bytes');
  }
}
