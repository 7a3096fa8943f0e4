import type { LogHeaders, LogRecord } from '../../global/log/span-log.js';
import type { WireMessage } from './kafka-wire.js';

const EMPTY = Buffer.alloc(0);

/** Of a header that is there several times, which only other producers write, the last counts. A tombstone is an empty value. */
export function toRecord(message: WireMessage): LogRecord {
  const headers: Record<string, Uint8Array> = {};
  for (const [name, given] of Object.entries(message.headers)) {
    headers[name] = (Array.isArray(given) ? given.at(-1) : given) ?? EMPTY;
  }
  return {
    offset: Number(message.offset),
    appendedMs: Number(message.timestamp),
    key: message.key,
    value: message.value ?? EMPTY,
    headers: headers satisfies LogHeaders,
  };
}

/** The records from an offset on: a broker answers with whole batches, which may begin before it. */
export function recordsFrom(messages: readonly WireMessage[], fromOffset: number): LogRecord[] {
  const records: LogRecord[] = [];
  for (const message of messages) {
    if (!message.isControlRecord && Number(message.offset) >= fromOffset) records.push(toRecord(message));
  }
  return records;
}

/** How many of the first records make a batch: up to `bytesMax` of values, but at least one where there is one. */
export function countUpTo(records: readonly LogRecord[], bytesMax: number): number {
  let bytes = 0;
  for (const [index, { value }] of records.entries()) {
    bytes += value.length;
    if (index > 0 && bytes > bytesMax) return index;
  }
  return records.length;
}
