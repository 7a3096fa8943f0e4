import { cursor, readLengthEnd, readTag, readVarint, skipValue } from './wire.js';

/** The field of `repeated KeyValue attributes` in each message of `trace.proto` that has one. */
export const AttributeField = { span: 9, resource: 1, scope: 3, event: 3, link: 4 } as const;

/** Ranges of the key's UTF-8 and of the AnyValue's content (start = end where it is absent). Returning false ends the walk. */
export type AttributeVisitor = (
  keyStart: number,
  keyEnd: number,
  valueStart: number,
  valueEnd: number,
) => boolean | undefined;

/** Where `readKeyValue` found a key and a value; one object for all calls. */
const keyValue = { keyStart: 0, keyEnd: 0, valueStart: 0, valueEnd: 0 };

/** The AnyValue that `findAttribute` found last; one object for all calls. */
export const foundValue = { start: 0, end: 0 };

/**
 * Calls `visit` for each attribute of a message whose content is [start, end) of the buffer, in order; `fieldNumber` is where that message
 * keeps them (`AttributeField`). Other fields are passed over. Throws `malformed`.
 */
export function forEachAttribute(
  buffer: Buffer,
  start: number,
  end: number,
  fieldNumber: number,
  visit: AttributeVisitor,
): void {
  const wanted = (fieldNumber << 3) | 2;
  for (let p = start; p < end; ) {
    const tag = readTag(buffer, p, end);
    p = skipValue(buffer, tag, cursor.at, end);
    if (tag !== wanted) continue;
    readKeyValue(buffer, cursor.at, p);
    const { keyStart, keyEnd, valueStart, valueEnd } = keyValue;
    if (visit(keyStart, keyEnd, valueStart, valueEnd) === false) return;
  }
}

/** Finds the first attribute with this key; its value's range is in `foundValue`. Throws `malformed`. */
export function findAttribute(buffer: Buffer, start: number, end: number, fieldNumber: number, key: Buffer): boolean {
  const wanted = (fieldNumber << 3) | 2;
  for (let p = start; p < end; ) {
    const tag = readTag(buffer, p, end);
    p = skipValue(buffer, tag, cursor.at, end);
    if (tag !== wanted) continue;
    readKeyValue(buffer, cursor.at, p);
    if (rangeEquals(buffer, keyValue.keyStart, keyValue.keyEnd, key)) {
      foundValue.start = keyValue.valueStart;
      foundValue.end = keyValue.valueEnd;
      return true;
    }
  }
  return false;
}

/** KeyValue { string key = 1; AnyValue value = 2; }: the last of each counts. */
function readKeyValue(buffer: Buffer, start: number, end: number): void {
  keyValue.keyStart = keyValue.keyEnd = keyValue.valueStart = keyValue.valueEnd = start;
  for (let p = start; p < end; ) {
    const tag = readTag(buffer, p, end);
    p = skipValue(buffer, tag, cursor.at, end);
    if (tag === 0x0a) {
      keyValue.keyStart = cursor.at;
      keyValue.keyEnd = p;
    } else if (tag === 0x12) {
      keyValue.valueStart = cursor.at;
      keyValue.valueEnd = p;
    }
  }
}

/** Whether a range holds just these bytes. */
export function rangeEquals(buffer: Buffer, start: number, end: number, wanted: Buffer): boolean {
  const length = wanted.length;
  if (end - start !== length) return false;
  for (let i = 0; i < length; i++) if (buffer[start + i] !== wanted[i]) return false;
  return true;
}

/** The fields of AnyValue, by tag. */
export const ValueTag = {
  string: 0x0a,
  bool: 0x10,
  int: 0x18,
  double: 0x21,
  array: 0x2a,
  kvlist: 0x32,
  bytes: 0x3a,
} as const;

/** The value that counts (the last one of the oneof), as `readScalar` found it; one object for all calls. */
const scalar = { tag: 0, start: 0, end: 0, low: 0, high: 0 };

function readScalar(buffer: Buffer, start: number, end: number): void {
  scalar.tag = 0;
  for (let p = start; p < end; ) {
    const tag = readTag(buffer, p, end);
    const at = cursor.at;
    if (tag === ValueTag.bool || tag === ValueTag.int) {
      p = readVarint(buffer, at, end);
      scalar.tag = tag;
      scalar.low = cursor.low;
      scalar.high = cursor.high;
    } else if (tag === ValueTag.string || tag === ValueTag.array || tag === ValueTag.kvlist || tag === ValueTag.bytes) {
      p = readLengthEnd(buffer, at, end);
      scalar.tag = tag;
      scalar.start = cursor.at;
      scalar.end = p;
    } else {
      p = skipValue(buffer, tag, at, end);
      if (tag === ValueTag.double) {
        scalar.tag = tag;
        scalar.start = at;
        scalar.end = p;
      }
    }
  }
}

/**
 * The text of an AnyValue: strings as they are (invalid UTF-8 replaced by U+FFFD), int64 as decimal, bool as `true` or `false`, double as
 * JavaScript prints it. Null for bytes, arrays, lists and the empty value. Throws `malformed`.
 */
export function attributeValueText(buffer: Buffer, valueStart: number, valueEnd: number): string | null {
  readScalar(buffer, valueStart, valueEnd);
  switch (scalar.tag) {
    case ValueTag.string:
      return buffer.toString('utf8', scalar.start, scalar.end);
    case ValueTag.bool:
      return (scalar.low | scalar.high) !== 0 ? 'true' : 'false';
    case ValueTag.int:
      return int64Text(scalar.high, scalar.low);
    case ValueTag.double:
      return String(buffer.readDoubleLE(scalar.start));
    default:
      return null;
  }
}

function int64Text(high: number, low: number): string {
  const signed = high | 0;
  if (signed >= -0x200000 && signed < 0x200000) return String(signed * 4_294_967_296 + low);
  return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)).toString();
}

/** A wanted value, made once per search by `valueMatcher`, so that `attributeEquals` builds nothing per span. */
export interface ValueMatcher {
  readonly text: string;
  readonly bytes: Buffer;
  /** Unsigned halves, where the text is a decimal int64 as `attributeValueText` would write it. */
  readonly int: { readonly high: number; readonly low: number } | null;
  /** Where the text is a double as `attributeValueText` would write it. */
  readonly double: number | null;
  readonly bool: boolean | null;
}

const INT64 = /^(?:0|-?[1-9][0-9]{0,18})$/;

/** Prepares a comparison with this text. */
export function valueMatcher(text: string): ValueMatcher {
  let int: ValueMatcher['int'] = null;
  if (INT64.test(text)) {
    const value = BigInt(text);
    if (BigInt.asIntN(64, value) === value) {
      const bits = BigInt.asUintN(64, value);
      int = { high: Number(bits >> 32n), low: Number(bits & 0xffffffffn) };
    }
  }
  const number = Number(text);
  return {
    text,
    bytes: Buffer.from(text),
    int,
    double: String(number) === text ? number : null,
    bool: text === 'true' ? true : text === 'false' ? false : null,
  };
}

/** Whether `attributeValueText` of the AnyValue would be the wanted text; builds no string. Throws `malformed`. */
export function attributeEquals(buffer: Buffer, valueStart: number, valueEnd: number, wanted: ValueMatcher): boolean {
  readScalar(buffer, valueStart, valueEnd);
  switch (scalar.tag) {
    case ValueTag.string:
      return rangeEquals(buffer, scalar.start, scalar.end, wanted.bytes);
    case ValueTag.bool:
      return wanted.bool === ((scalar.low | scalar.high) !== 0);
    case ValueTag.int:
      return wanted.int !== null && wanted.int.low === scalar.low && wanted.int.high === scalar.high;
    case ValueTag.double: {
      if (wanted.double === null) return false;
      const value = buffer.readDoubleLE(scalar.start);
      return value === wanted.double || (Number.isNaN(value) && Number.isNaN(wanted.double));
    }
    default:
      return false;
  }
}
