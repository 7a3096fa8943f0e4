import { LIMITS } from '../model/limits.js';
import { isJsonObject, type JsonObject, SpanRejection } from './conversion.js';
import { arrayOf, base64Of, doubleOf, int64Of, jsonField, stringOf } from './otlp-json-fields.js';
import type { ProtoWriter } from './proto-writer.js';

/** Writes the `attributes` of an OTLP JSON message as fields `field`. */
export function writeJsonAttributes(writer: ProtoWriter, field: number, from: JsonObject): void {
  for (const item of arrayOf(from, 'attributes', 'attributes')) writeKeyValue(writer, field, item, 0);
}

function writeKeyValue(writer: ProtoWriter, field: number, item: unknown, depth: number): void {
  if (!isJsonObject(item)) throw new SpanRejection('malformed', 'an attribute is no object');
  const begun = writer.begin(field);
  const key = jsonField(item, 'key', 'key');
  if (key !== undefined) writer.stringField(1, stringOf(key, 'an attribute key'));
  const value = jsonField(item, 'value', 'value');
  if (value !== undefined) writeAnyValue(writer, 2, value, depth);
  writer.end(begun);
}

type WritePart = (writer: ProtoWriter, part: unknown, depth: number) => void;

/** The values an AnyValue may have, in the order of the definition. */
const PARTS: readonly (readonly [camel: string, snake: string, write: WritePart])[] = [
  ['stringValue', 'string_value', (writer, part) => writer.stringField(1, stringOf(part, 'stringValue'))],
  ['boolValue', 'bool_value', writeBool],
  ['intValue', 'int_value', (writer, part) => writer.int64Field(3, int64Of(part, 'intValue'))],
  ['doubleValue', 'double_value', (writer, part) => writer.doubleField(4, doubleOf(part, 'doubleValue'))],
  ['arrayValue', 'array_value', writeArray],
  ['kvlistValue', 'kvlist_value', writeKvlist],
  ['bytesValue', 'bytes_value', (writer, part) => writer.bytesField(7, base64Of(part, 'bytesValue'))],
];

/** Of several values in one AnyValue, which protobuf forbids, the first in the order of the definition holds. */
function writeAnyValue(writer: ProtoWriter, field: number, value: unknown, depth: number): void {
  if (!isJsonObject(value)) throw new SpanRejection('malformed', 'an attribute value is no object');
  const begun = writer.begin(field);
  for (const [camel, snake, write] of PARTS) {
    const part = jsonField(value, camel, snake);
    if (part === undefined) continue;
    write(writer, part, depth);
    break;
  }
  writer.end(begun);
}

function writeBool(writer: ProtoWriter, part: unknown): void {
  if (typeof part !== 'boolean') throw new SpanRejection('malformed', 'boolValue is no boolean');
  writer.boolField(2, part);
}

function writeArray(writer: ProtoWriter, part: unknown, depth: number): void {
  const begun = writer.begin(5);
  for (const item of valuesOf(part, depth + 1)) writeAnyValue(writer, 1, item, depth + 1);
  writer.end(begun);
}

function writeKvlist(writer: ProtoWriter, part: unknown, depth: number): void {
  const begun = writer.begin(6);
  for (const item of valuesOf(part, depth + 1)) writeKeyValue(writer, 1, item, depth + 1);
  writer.end(begun);
}

function valuesOf(part: unknown, depth: number): readonly unknown[] {
  if (depth > LIMITS.valueDepthMax) {
    throw new SpanRejection('invalid', `a value is nested deeper than ${LIMITS.valueDepthMax}`);
  }
  if (!isJsonObject(part)) throw new SpanRejection('malformed', 'arrayValue or kvlistValue is no object');
  return arrayOf(part, 'values', 'values');
}
