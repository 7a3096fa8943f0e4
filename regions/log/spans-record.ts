import type { LogHeaders, LogRecord } from '../../global/log/span-log.js';
import { asBuffer } from '../../global/runtime/bytes.js';

/**
 * A record of `spans`. Its value is plain OTLP `TracesData` (any OpenTelemetry Collector can read or write it) with spans
 * of one partition only; what Meridian adds travels in one header, `meridian`:
 *
 *   byte 0      version (1)
 *   bytes 1-4   collector instance, random at its start (uint32 little-endian)
 *   bytes 5-8   sequence of the record among all that this instance made (uint32 little-endian)
 *   bytes 9-16  received time, milliseconds since the epoch (uint64 little-endian)
 *   bytes 17-   collector id (UTF-8)
 *
 * Instance and sequence are the record's stamp: the same in every copy, whatever its offset.
 */
export interface SpansRecordInfo {
  readonly stamp: { readonly instance: number; readonly sequence: number };
  readonly receivedMs: number;
  readonly collectorId: string;
}

export const SPANS_RECORD_HEADER = 'meridian';
const VERSION = 1;
const FIXED_BYTES = 17;

function encodeSpansRecordInfo(info: SpansRecordInfo): Buffer {
  const bytes = Buffer.alloc(FIXED_BYTES + Buffer.byteLength(info.collectorId));
  bytes.writeUInt8(VERSION, 0);
  bytes.writeUInt32LE(info.stamp.instance, 1);
  bytes.writeUInt32LE(info.stamp.sequence, 5);
  bytes.writeBigUInt64LE(BigInt(info.receivedMs), 9);
  bytes.write(info.collectorId, FIXED_BYTES);
  return bytes;
}

export function spansRecordHeaders(info: SpansRecordInfo): LogHeaders {
  return { [SPANS_RECORD_HEADER]: encodeSpansRecordInfo(info) };
}

/**
 * Reads the header. A record without it, or of a version that is not known, was written by somebody else (an OpenTelemetry
 * Collector, a newer Meridian): it is taken as OTLP all the same, with a stamp from its place in the log.
 */
export function readSpansRecordInfo(record: LogRecord, partition: number): SpansRecordInfo {
  const header = record.headers[SPANS_RECORD_HEADER];
  if (!header || header.length < FIXED_BYTES || header[0] !== VERSION) {
    return {
      stamp: { instance: partition, sequence: record.offset >>> 0 },
      receivedMs: record.appendedMs,
      collectorId: '',
    };
  }
  const bytes = asBuffer(header);
  return {
    stamp: { instance: bytes.readUInt32LE(1), sequence: bytes.readUInt32LE(5) },
    receivedMs: Number(bytes.readBigUInt64LE(9)),
    collectorId: bytes.toString('utf8', FIXED_BYTES),
  };
}
