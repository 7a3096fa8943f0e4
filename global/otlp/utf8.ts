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

/**
 * Tells quickly that a range of a buffer is ASCII, by its aligned 32-bit words. The words at the edges are looked at whole, so false only
 * means "look closer"; no byte outside the buffer is read.
 */
export class AsciiWords {
  readonly #words: Int32Array;
  /** Position in the buffer of the first word, 0 to 3. */
  readonly #base: number;

  constructor(buffer: Buffer) {
    this.#base = Math.min((4 - (buffer.byteOffset & 3)) & 3, buffer.length);
    // An empty view has no aligned place to stand.
    const count = (buffer.length - this.#base) >> 2;
    this.#words = count > 0 ? new Int32Array(buffer.buffer, buffer.byteOffset + this.#base, count) : new Int32Array(0);
  }

  /** True only if all bytes in [from, to) are below 0x80. */
  isAscii(from: number, to: number): boolean {
    const words = this.#words;
    const first = (from - this.#base) >> 2;
    const last = (to - 1 - this.#base) >> 2;
    if (first < 0 || last >= words.length) return false;
    let bits = 0;
    for (let i = first; i <= last; i++) bits |= words[i]!;
    return (bits & 0x80808080) === 0;
  }
}
