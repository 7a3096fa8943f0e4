import { ThriftReader, ThriftType } from './thrift-reader.js';

/** TBinaryProtocol (thrift/doc/specs/thrift-binary-protocol.md): big-endian integers of full width. */
export class ThriftBinaryReader extends ThriftReader {
  override structBegin(): void {}

  override structEnd(): void {}

  override nextField(): boolean {
    this.fieldType = this.buffer[this.take(1)]!;
    if (this.fieldType === ThriftType.stop) return false;
    this.fieldId = this.i16();
    return true;
  }

  override bool(): boolean {
    return this.buffer[this.take(1)] !== 0;
  }

  override i16(): number {
    return this.buffer.readInt16BE(this.take(2));
  }

  override i32(): number {
    return this.buffer.readInt32BE(this.take(4));
  }

  override i64(): bigint {
    return this.buffer.readBigInt64BE(this.take(8));
  }

  override double(): number {
    return this.buffer.readDoubleBE(this.take(8));
  }

  protected override listHeader(): { type: number; count: number } {
    const type = this.buffer[this.take(1)]!;
    return { type, count: this.i32() };
  }

  protected override mapHeader(): { keyType: number; valueType: number; count: number } {
    const at = this.take(2);
    return { keyType: this.buffer[at]!, valueType: this.buffer[at + 1]!, count: this.i32() };
  }

  protected override byteLength(): number {
    return this.i32();
  }
}
