/**
 * Whether a range of a buffer is well-formed UTF-8: no stray or missing continuation bytes, no overlong forms, no
 * surrogates, nothing above U+10FFFF. In place, because Node's `isUtf8` wants a view per string.
 * Source: The Unicode Standard, table 3-7 (Well-Formed UTF-8 Byte Sequences).
 */
export function isUtf8(buffer: Buffer, from: number, to: number): boolean {
  let p = from;
  while (p < to) {
    const lead = buffer[p]!;
    if (lead < 0x80) {
      p++;
      continue;
    }
    const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length === 0 || p + length > to) return false;
    const second = buffer[p + 1]!;
    const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (let i = 2; i < length; i++) if ((buffer[p + i]! & 0xc0) !== 0x80) return false;
    p += length;
  }
  return true;
}

const HIGH_BITS = 0x80808080 | 0;

/**
 * Tells quickly that ranges of a buffer are ASCII, for a reader that goes through it from front to back: it remembers where the next byte
 * from 0x80 up stands, and looks for the one after it, by 32-bit words, only when the reader has passed that. So each
 * byte is looked at once, however many ranges there are. Ranges may come in any order; those behind the last one cost a new search.
 */
export class AsciiScan {
  readonly #bytes: Buffer;
  readonly #words: Int32Array;
  /** Position in the buffer of the first aligned word, 0 to 3. */
  readonly #base: number;
  /** No byte in [#from, #high) is above 0x7f, that at #high is (or the buffer ends there). -1 while nothing was searched. */
  #from = 0;
  #high = -1;

  constructor(buffer: Buffer) {
    this.#bytes = buffer;
    this.#base = (4 - (buffer.byteOffset & 3)) & 3;
    const count = (buffer.length - this.#base) >> 2;
    // A view of nothing has no aligned place to stand.
    this.#words = count > 0 ? new Int32Array(buffer.buffer, buffer.byteOffset + this.#base, count) : new Int32Array(0);
  }

  /** Whether all bytes in [from, to) are below 0x80. */
  isAscii(from: number, to: number): boolean {
    if (from >= this.#from && to <= this.#high) return true;
    if (from >= this.#from && from <= this.#high) return from === to;
    return this.#search(from) >= to;
  }

  #search(from: number): number {
    const bytes = this.#bytes;
    const words = this.#words;
    const base = this.#base;
    const aligned = from < base ? base : from + ((4 - ((from - base) & 3)) & 3);
    let p = from;
    while (p < aligned && p < bytes.length && bytes[p]! < 0x80) p++;
    if (p === aligned) {
      let w = (p - base) >> 2;
      const last = words.length - 4;
      while (w <= last && ((words[w]! | words[w + 1]! | words[w + 2]! | words[w + 3]!) & HIGH_BITS) === 0) w += 4;
      while (w < words.length && (words[w]! & HIGH_BITS) === 0) w++;
      p = base + w * 4;
      while (p < bytes.length && bytes[p]! < 0x80) p++;
    }
    this.#from = from;
    this.#high = p;
    return p;
  }
}
