import type { LogHeaders } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';

/**
 * Headers as the embedded log stores them; no headers are no bytes.
 *
 *   byte 0   version (1)
 *   then per header: uint16 LE bytes of the name, the name in UTF-8, uint32 LE bytes of the value, the value
 */
const VERSION = 1;
const EMPTY = Buffer.alloc(0);

export function headersBytes(headers: LogHeaders): number {
  let bytes = 0;
  for (const name in headers) bytes += 6 + Buffer.byteLength(name) + headers[name]!.length;
  return bytes === 0 ? 0 : bytes + 1;
}

export function encodeHeaders(headers: LogHeaders): Buffer {
  const length = headersBytes(headers);
  if (length === 0) return EMPTY;
  const bytes = Buffer.allocUnsafe(length);
  let at = bytes.writeUInt8(VERSION, 0);
  for (const name in headers) {
    const value = headers[name]!;
    at = bytes.writeUInt16LE(Buffer.byteLength(name), at);
    at += bytes.write(name, at);
    at = bytes.writeUInt32LE(value.length, at);
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}

/** The values are views of `bytes`. Throws `unknown-version` or `malformed`. */
export function decodeHeaders(bytes: Buffer): LogHeaders {
  const headers: Record<string, Uint8Array> = {};
  if (bytes.length === 0) return headers;
  if (bytes[0] !== VERSION) {
    throw new MeridianError('unknown-version', `reading record headers: version ${bytes[0]} is not known`, 'never');
  }
  let at = 1;
  while (at < bytes.length) {
    const nameEnd = at + 2 <= bytes.length ? at + 2 + bytes.readUInt16LE(at) : bytes.length + 1;
    const valueAt = nameEnd + 4;
    const valueEnd = valueAt <= bytes.length ? valueAt + bytes.readUInt32LE(nameEnd) : bytes.length + 1;
    if (valueEnd > bytes.length) {
      throw new MeridianError('malformed', `reading record headers: they end in the middle, at byte ${at}`, 'never');
    }
    const name = bytes.toString('utf8', at + 2, nameEnd);
    // A header may have any name, `__proto__` included.
    Object.defineProperty(headers, name, {
      value: bytes.subarray(valueAt, valueEnd),
      enumerable: true,
      configurable: true,
      writable: true,
    });
    at = valueEnd;
  }
  return headers;
}
