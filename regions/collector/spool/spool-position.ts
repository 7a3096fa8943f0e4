import { crc32 } from 'node:zlib';
import { MeridianError } from '../../../global/runtime/errors.js';

/**
 * How far the spool was replayed: per partition the sequence before which everything is in the log. Two files are written in turn, so
 * that one is whole whenever a write is torn; the higher generation counts. Little-endian:
 *
 *   byte 0     version (1)
 *   bytes 1-4  CRC-32 of byte 0 and all from byte 5 on
 *   then       u32 generation, u32 partitions, and per partition u32 its number, u48 the sequence
 */
export interface ReplayPosition {
  readonly generation: number;
  readonly next: ReadonlyMap<number, number>;
}

const VERSION = 1;
const CRC_AT = 1;
const BODY_AT = 5;
const HEAD_BYTES = 13;
const PARTITION_BYTES = 10;
const PARTITIONS_MAX = 1 << 20;

export function encodePosition({ generation, next }: ReplayPosition): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES + next.size * PARTITION_BYTES);
  bytes[0] = VERSION;
  bytes.writeUInt32LE(generation >>> 0, BODY_AT);
  let at = bytes.writeUInt32LE(next.size, BODY_AT + 4);
  for (const [partition, sequence] of next) {
    at = bytes.writeUInt32LE(partition, at);
    at = bytes.writeUIntLE(sequence, at, 6);
  }
  bytes.writeUInt32LE(checksum(bytes), CRC_AT);
  return bytes;
}

/** Null for bytes that are no whole position; bytes after it are of an earlier, longer one. Throws `unknown-version`. */
export function decodePosition(bytes: Buffer): ReplayPosition | null {
  if (bytes.length < HEAD_BYTES) return null;
  const count = bytes.readUInt32LE(BODY_AT + 4);
  const end = HEAD_BYTES + count * PARTITION_BYTES;
  if (count > PARTITIONS_MAX || end > bytes.length) return null;
  const whole = bytes.subarray(0, end);
  if (whole.readUInt32LE(CRC_AT) !== checksum(whole)) return null;
  if (whole[0] !== VERSION) {
    throw new MeridianError(
      'unknown-version',
      `reading the spool's position: version ${whole[0]} is not known`,
      'never',
    );
  }
  const next = new Map<number, number>();
  for (let at = HEAD_BYTES; at < end; at += PARTITION_BYTES) {
    next.set(whole.readUInt32LE(at), whole.readUIntLE(at + 4, 6));
  }
  return { generation: whole.readUInt32LE(BODY_AT), next };
}

function checksum(bytes: Buffer): number {
  return crc32(bytes.subarray(BODY_AT), crc32(bytes.subarray(0, CRC_AT)));
}
