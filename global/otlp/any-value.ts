import { LIMITS } from '../model/limits.js';
import { MeridianError } from '../runtime/errors.js';
import type { ProtoReader } from './proto-reader.js';
import { WireType } from './wire.js';

/**
 * OTLP `AnyValue` (opentelemetry-proto v1 `common.proto`) as an object. An int64 is a number where it is exact as one, else a bigint; `empty`
 * is the AnyValue that has no value.
 */
export type AnyValueView =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: number | bigint }
  | { readonly type: 'double'; readonly value: number }
  | { readonly type: 'bytes'; readonly value: Buffer }
  | { readonly type: 'array'; readonly value: readonly AnyValueView[] }
  | { readonly type: 'kvlist'; readonly value: readonly KeyValueView[] }
  | { readonly type: 'empty'; readonly value: null };

export interface KeyValueView {
  readonly key: string;
  readonly value: AnyValueView;
}

/** A value that `JSON.stringify` takes. */
export type PlainJson = string | number | boolean | null | readonly PlainJson[] | { readonly [key: string]: PlainJson };

const EMPTY: AnyValueView = { type: 'empty', value: null };
const TRUE: AnyValueView = { type: 'bool', value: true };
const FALSE: AnyValueView = { type: 'bool', value: false };

/**
 * Nesting that reading accepts. Above what a request may bring (`LIMITS.valueDepthMax`), so that whatever was stored can be read whichever way
 * a level is counted.
 */
export const VALUE_READ_DEPTH_MAX = LIMITS.valueDepthMax * 2;

/** The KeyValue message in [start, end). Its byte values are views of the buffer. */
export function readKeyValue(reader: ProtoReader, end: number, depth = 0): KeyValueView {
  let key = '';
  let value = EMPTY;
  while (reader.next(end)) {
    if (reader.field === 1 && reader.wire === WireType.bytes) {
      key = reader.key(end);
    } else if (reader.field === 2 && reader.wire === WireType.bytes) {
      value = readAnyValue(reader, reader.enter(end), depth);
    } else {
      reader.skip(end);
    }
  }
  return { key, value };
}

/** The AnyValue message from the reader's place to `end`. Of several values the last one holds, as protobuf has it. */
export function readAnyValue(reader: ProtoReader, end: number, depth = 0): AnyValueView {
  let value = EMPTY;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (field === 1 && wire === WireType.bytes) value = { type: 'string', value: reader.string(end) };
    else if (field === 2 && wire === WireType.varint) value = reader.bool(end) ? TRUE : FALSE;
    else if (field === 3 && wire === WireType.varint) value = { type: 'int', value: reader.int64(end) };
    else if (field === 4 && wire === WireType.fixed64) value = { type: 'double', value: reader.double(end) };
    else if (field === 5 && wire === WireType.bytes) value = readArray(reader, reader.enter(end), depth + 1);
    else if (field === 6 && wire === WireType.bytes) value = readKvlist(reader, reader.enter(end), depth + 1);
    else if (field === 7 && wire === WireType.bytes) value = { type: 'bytes', value: reader.bytes(end) };
    else reader.skip(end);
  }
  return value;
}

function readArray(reader: ProtoReader, end: number, depth: number): AnyValueView {
  checkDepth(depth);
  const values: AnyValueView[] = [];
  while (reader.next(end)) {
    if (reader.field === 1 && reader.wire === WireType.bytes)
      values.push(readAnyValue(reader, reader.enter(end), depth));
    else reader.skip(end);
  }
  return { type: 'array', value: values };
}

function readKvlist(reader: ProtoReader, end: number, depth: number): AnyValueView {
  checkDepth(depth);
  const values: KeyValueView[] = [];
  while (reader.next(end)) {
    if (reader.field === 1 && reader.wire === WireType.bytes)
      values.push(readKeyValue(reader, reader.enter(end), depth));
    else reader.skip(end);
  }
  return { type: 'kvlist', value: values };
}

function checkDepth(depth: number): void {
  if (depth <= VALUE_READ_DEPTH_MAX) return;
  throw new MeridianError('malformed', `reading OTLP: a value is nested deeper than ${VALUE_READ_DEPTH_MAX}`, 'never');
}

/** The first value of the key, or null. */
export function findValue(attributes: readonly KeyValueView[], key: string): AnyValueView | null {
  for (const attribute of attributes) if (attribute.key === key) return attribute.value;
  return null;
}

/**
 * For people and their JSON: integers beyond 2^53 become decimal strings, bytes base64, doubles that JSON lacks their names (`NaN`, `Infinity`,
 * `-Infinity`), an empty value null. Not reversible; for that there is OTLP JSON.
 */
function plainValue(view: AnyValueView): PlainJson {
  switch (view.type) {
    case 'int':
      return typeof view.value === 'bigint' ? view.value.toString() : view.value;
    case 'double':
      return Number.isFinite(view.value) ? view.value : String(view.value);
    case 'bytes':
      return view.value.toString('base64');
    case 'array':
      return view.value.map(plainValue);
    case 'kvlist':
      return plainRecord(view.value);
    default:
      return view.value;
  }
}

/** Attributes as a record without a prototype, in their order; of a repeated key the last value. */
export function plainRecord(attributes: readonly KeyValueView[]): { [key: string]: PlainJson } {
  const record: { [key: string]: PlainJson } = Object.create(null);
  for (const { key, value } of attributes) record[key] = plainValue(value);
  return record;
}
