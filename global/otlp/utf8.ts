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
