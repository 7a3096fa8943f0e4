import { MeridianError } from '../runtime/errors.js';

/** Thrift's types, numbered as in TBinaryProtocol. */
export const ThriftType = {
  stop: 0,
  bool: 2,
  byte: 3,
  double: 4,
  i16: 6,
  i32: 8,
  i64: 10,
  string: 11,
  struct: 12,
  map: 13,
  set: 14,
  list: 15,
  uuid: 16,
} as const;

/** Nesting of structs and containers that is passed over in unknown fields. */
export const THRIFT_SKIP_DEPTH_MAX = 32;

/**
 * Reads one thrift value after another from a buffer; whoever calls knows what comes (thrift is not self-describing within a list). Never reads
 * out of bounds; whatever does not fit is a MeridianError `malformed`.
 */
export abstract class ThriftReader {
  protected at = 0;
  /** Of the field that `nextField` found. */
  fieldType = 0;
  fieldId = 0;

  constructor(protected readonly buffer: Buffer) {}

  /** Brackets every struct. */
  abstract structBegin(): void;
  abstract structEnd(): void;
  /** False at the end of the struct. */
  abstract nextField(): boolean;
  abstract bool(): boolean;
  abstract i16(): number;
  abstract i32(): number;
  abstract i64(): bigint;
  abstract double(): number;
  /** The element's type; for both lists and sets. */
  protected abstract listHeader(): { type: number; count: number };
  protected abstract mapHeader(): { keyType: number; valueType: number; count: number };
  protected abstract byteLength(): number;

  /**
   * The number of elements of a list of `type`, or -1 where the list is of another type and was passed over. An element takes a byte at least,
   * so a count above the bytes that are left is a lie.
   */
  listOf(type: number): number {
    const header = this.listHeader();
    this.checkCount(header.count, 1);
    // An empty list's type says nothing: some writers put 0.
    if (header.type === type || header.count === 0) return header.count;
    this.skipElements(header.type, header.count, 1);
    return -1;
  }

  /** A view of the buffer. */
  bytes(): Buffer {
    const length = this.byteLength();
    const start = this.take(length);
    return this.buffer.subarray(start, start + length);
  }

  text(): string {
    const length = this.byteLength();
    const start = this.take(length);
    return this.buffer.toString('utf8', start, start + length);
  }

  /** Passes over a value of the type, unknown fields nested in it included. */
  skip(type: number, depth = 0): void {
    if (depth > THRIFT_SKIP_DEPTH_MAX) this.fail(`nesting deeper than ${THRIFT_SKIP_DEPTH_MAX}`);
    switch (type) {
      case ThriftType.bool:
        this.bool();
        return;
      case ThriftType.byte:
        this.take(1);
        return;
      case ThriftType.double:
        this.take(8);
        return;
      case ThriftType.i16:
        this.i16();
        return;
      case ThriftType.i32:
        this.i32();
        return;
      case ThriftType.i64:
        this.i64();
        return;
      case ThriftType.string:
        this.take(this.byteLength());
        return;
      case ThriftType.uuid:
        this.take(16);
        return;
      case ThriftType.struct:
        this.structBegin();
        while (this.nextField()) this.skip(this.fieldType, depth + 1);
        this.structEnd();
        return;
      case ThriftType.list:
      case ThriftType.set: {
        const { type: elementType, count } = this.listHeader();
        this.checkCount(count, 1);
        this.skipElements(elementType, count, depth + 1);
        return;
      }
      case ThriftType.map: {
        const { keyType, valueType, count } = this.mapHeader();
        this.checkCount(count, 2);
        for (let index = 0; index < count; index++) {
          this.skip(keyType, depth + 1);
          this.skip(valueType, depth + 1);
        }
        return;
      }
      default:
        this.fail(`type ${type}`);
    }
  }

  skipElements(type: number, count: number, depth = 1): void {
    for (let index = 0; index < count; index++) this.skip(type, depth);
  }

  /** Passes over `length` bytes; the result is where they begin. */
  protected take(length: number): number {
    const start = this.at;
    if (length < 0 || length > this.buffer.length - start) {
      this.fail(`${length} bytes expected where ${this.buffer.length - start} are left`);
    }
    this.at = start + length;
    return start;
  }

  protected fail(what: string): never {
    throw new MeridianError('malformed', `reading thrift: ${what} at byte ${this.at}`, 'never');
  }

  private checkCount(count: number, bytesEach: number): void {
    const left = this.buffer.length - this.at;
    if (count < 0 || count * bytesEach > left) this.fail(`${count} elements where ${left} bytes are left`);
  }
}
