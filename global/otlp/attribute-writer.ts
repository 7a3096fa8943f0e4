import { LIMITS } from '../model/limits.js';
import { isJsonObject, SpanRejection } from './conversion.js';
import type { ProtoWriter } from './proto-writer.js';

/** Writers of single attributes: KeyValue messages as field `field` of the message that is open. */

export function writeStringAttribute(writer: ProtoWriter, field: number, key: string, value: string): void {
  const begun = writer.begin(field);
  writer.stringField(1, key);
  const any = writer.begin(2);
  writer.stringField(1, value);
  writer.end(any);
  writer.end(begun);
}

/**
 * Any JSON value: integers up to 2^53 as int64, other numbers as doubles, null as the empty value, arrays and objects as array and key-value list. Nested
 * deeper than `LIMITS.valueDepthMax`: SpanRejection `invalid`.
 */
export function writeJsonAttribute(writer: ProtoWriter, field: number, key: string, value: unknown): void {
  writeJsonKeyValue(writer, field, key, value, 0);
}

function writeJsonKeyValue(writer: ProtoWriter, field: number, key: string, value: unknown, depth: number): void {
  const begun = writer.begin(field);
  writer.stringField(1, key);
  writeJsonValue(writer, 2, value, depth);
  writer.end(begun);
}

function writeJsonValue(writer: ProtoWriter, field: number, value: unknown, depth: number): void {
  const begun = writer.begin(field);
  if (typeof value === 'string') {
    writer.stringField(1, value);
  } else if (typeof value === 'boolean') {
    writer.boolField(2, value);
  } else if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.int64Field(3, value);
    else writer.doubleField(4, value);
  } else if (Array.isArray(value)) {
    checkDepth(depth + 1);
    const array = writer.begin(5);
    for (const item of value) writeJsonValue(writer, 1, item, depth + 1);
    writer.end(array);
  } else if (isJsonObject(value)) {
    checkDepth(depth + 1);
    const list = writer.begin(6);
    for (const key of Object.keys(value)) writeJsonKeyValue(writer, 1, key, value[key], depth + 1);
    writer.end(list);
  }
  writer.end(begun);
}

function checkDepth(depth: number): void {
  if (depth <= LIMITS.valueDepthMax) return;
  throw new SpanRejection('invalid', `a value is nested deeper than ${LIMITS.valueDepthMax}`);
}
