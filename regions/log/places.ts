import { asBuffer } from '../../global/runtime/bytes.js';
import { invariant } from '../../global/runtime/errors.js';

const PLACE_BYTES = 16;

/**
 * Where the records of one partition are in one slice, by offset: row, bytes of the value, time of the append. 16 bytes a
 * record in memory, and the same on disk once the slice is sealed: per record uint32 row, uint32 bytes, float64 time, all
 * little-endian. Row 0 means that the record was compacted away.
 */
export class Places {
  #rows = new Uint32Array(16);
  #bytes = new Uint32Array(16);
  #times = new Float64Array(16);
  #length = 0;

  constructor(readonly firstOffset: number) {}

  get endOffset(): number {
    return this.firstOffset + this.#length;
  }

  push(row: number, bytes: number, appendedMs: number): void {
    if (this.#length === this.#rows.length) {
      const capacity = this.#length * 2;
      this.#rows = grown(this.#rows, new Uint32Array(capacity));
      this.#bytes = grown(this.#bytes, new Uint32Array(capacity));
      this.#times = grown(this.#times, new Float64Array(capacity));
    }
    this.#rows[this.#length] = row;
    this.#bytes[this.#length] = bytes;
    this.#times[this.#length] = appendedMs;
    this.#length++;
  }

  /** Like `push` at a known offset; offsets that are left out become holes. */
  pushAt(offset: number, row: number, bytes: number, appendedMs: number): void {
    invariant(offset >= this.endOffset, `row ${row} has offset ${offset}, before ${this.endOffset}`);
    while (this.endOffset < offset) this.push(0, 0, appendedMs);
    this.push(row, bytes, appendedMs);
  }

  /** 0 where the record is gone. */
  rowAt(offset: number): number {
    return this.#rows[offset - this.firstOffset]!;
  }

  bytesAt(offset: number): number {
    return this.#bytes[offset - this.firstOffset]!;
  }

  timeAt(offset: number): number {
    return this.#times[offset - this.firstOffset]!;
  }

  remove(offset: number): void {
    this.#rows[offset - this.firstOffset] = 0;
  }

  /** The first offset from `offset` on that still has its record; the end where there is none. */
  nextPresent(offset: number): number {
    let at = Math.max(offset, this.firstOffset);
    while (at < this.endOffset && this.rowAt(at) === 0) at++;
    return Math.min(at, this.endOffset);
  }

  /** Drops what was pushed from `offset` on: a commit that failed. */
  truncate(offset: number): void {
    this.#length = offset - this.firstOffset;
  }

  encode(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#length * PLACE_BYTES);
    for (let i = 0, at = 0; i < this.#length; i++) {
      at = bytes.writeUInt32LE(this.#rows[i]!, at);
      at = bytes.writeUInt32LE(this.#bytes[i]!, at);
      at = bytes.writeDoubleLE(this.#times[i]!, at);
    }
    return bytes;
  }

  static decode(firstOffset: number, encoded: Uint8Array): Places {
    invariant(encoded.length % PLACE_BYTES === 0, `places of ${encoded.length} bytes`);
    const bytes = asBuffer(encoded);
    const places = new Places(firstOffset);
    for (let at = 0; at < bytes.length; at += PLACE_BYTES) {
      places.push(bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes.readDoubleLE(at + 8));
    }
    return places;
  }
}

function grown<T extends Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
