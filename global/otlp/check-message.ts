import { LIMITS } from '../model/limits.js';
import { ValueTag } from './attributes.js';
import { type AsciiScan, isUtf8 } from './utf8.js';
import { fail, findings, LONG_VALUE_BYTES_MAX, Verdict } from './verdict.js';
import { cursor, malformed, readTag, skipValue, WireType } from './wire.js';

/** Keys to look for while checking: those that redaction drops or masks. */
export interface KeyLookup {
  /** By a key's length: 0 where no wanted key is that long. At least `LIMITS.attributeKeyBytesMax + 1` entries. */
  readonly byLength: Uint8Array;
  /** Called for keys of such lengths only. */
  matches(buffer: Buffer, keyStart: number, keyEnd: number): boolean;
}

/** What checking the messages of one buffer needs beside it. */
export interface CheckContext {
  /** Made of the same buffer. */
  readonly ascii: AsciiScan;
  readonly keys: KeyLookup;
}

const { attributesPerSpanMax, attributeKeyBytesMax, attributeValueBytesMax, nameBytesMax, valueDepthMax } = LIMITS;

/** What a field of a message has to be. A field that has no rule is unknown, and may be anything. */
interface FieldRule {
  readonly wireType: number;
  readonly role: 'any' | 'text' | 'attribute' | 'message';
  /** Of the text, or of each string and byte value of the attribute. */
  readonly bytesMax: number;
  /** The verdict for a text that is longer. */
  readonly tooLong: number;
  readonly message: MessageRules | null;
}

export interface MessageRules {
  /** By field number. */
  readonly fields: readonly (FieldRule | null)[];
  readonly attributesMax: number;
}

const any = (wireType: number): FieldRule => ({ wireType, role: 'any', bytesMax: 0, tooLong: 0, message: null });
const VARINT = any(WireType.varint);
const FIXED32 = any(WireType.fixed32);
const FIXED64 = any(WireType.fixed64);
const BYTES = any(WireType.bytes);
const text = (bytesMax: number, tooLong: number): FieldRule => ({
  wireType: WireType.bytes,
  role: 'text',
  bytesMax,
  tooLong,
  message: null,
});
const LONG_TEXT = text(LONG_VALUE_BYTES_MAX, Verdict.longValueBytes);
const attribute = (bytesMax: number): FieldRule => ({ ...text(bytesMax, 0), role: 'attribute' });

const ENTITY_REF: MessageRules = {
  fields: [null, LONG_TEXT, LONG_TEXT, LONG_TEXT, LONG_TEXT],
  attributesMax: 0,
};
export const RESOURCE_RULES: MessageRules = {
  fields: [null, attribute(LONG_VALUE_BYTES_MAX), VARINT, { ...BYTES, role: 'message', message: ENTITY_REF }],
  attributesMax: Number.POSITIVE_INFINITY,
};
export const SCOPE_RULES: MessageRules = {
  fields: [null, LONG_TEXT, LONG_TEXT, attribute(LONG_VALUE_BYTES_MAX), VARINT],
  attributesMax: Number.POSITIVE_INFINITY,
};
export const EVENT_RULES: MessageRules = {
  fields: [null, FIXED64, text(nameBytesMax, Verdict.nameBytes), attribute(LONG_VALUE_BYTES_MAX), VARINT],
  attributesMax: attributesPerSpanMax,
};
export const LINK_RULES: MessageRules = {
  fields: [
    null,
    BYTES,
    BYTES,
    text(attributeValueBytesMax, Verdict.valueBytes),
    attribute(attributeValueBytesMax),
    VARINT,
    FIXED32,
  ],
  attributesMax: attributesPerSpanMax,
};
export const STATUS_RULES: MessageRules = { fields: [null, null, LONG_TEXT, VARINT], attributesMax: 0 };

/** Checks a message inside or around a span by its rules; returns a Verdict. Throws `malformed`. */
export function checkMessage(
  b: Buffer,
  start: number,
  end: number,
  rules: MessageRules,
  context: CheckContext,
): number {
  const { fields } = rules;
  let attributes = 0;
  for (let p = start; p < end; ) {
    const tagAt = p;
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const number = tag >>> 3;
    const rule = number < fields.length ? fields[number]! : null;
    if (rule === null) continue;
    if ((tag & 7) !== rule.wireType) wrongWireType(tagAt, tag);
    if (rule.role === 'any') continue;
    const from = cursor.at;
    let verdict: number;
    if (rule.role === 'attribute') {
      if (++attributes > rules.attributesMax) return fail(Verdict.attributeCount, attributes);
      verdict = checkKeyValue(b, from, p, 0, rule.bytesMax, context);
    } else if (rule.role === 'text') verdict = checkText(b, from, p, rule.bytesMax, rule.tooLong, context.ascii);
    else verdict = checkMessage(b, from, p, rule.message!, context);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** KeyValue { string key = 1; AnyValue value = 2; } `depth` is the number of arrays and lists around it. */
export function checkKeyValue(
  b: Buffer,
  start: number,
  end: number,
  depth: number,
  bytesMax: number,
  context: CheckContext,
): number {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const from = cursor.at;
    if (tag === 0x0a) {
      if (p - from > attributeKeyBytesMax) return fail(Verdict.keyBytes, p - from);
      if (!isText(b, from, p, context.ascii)) return Verdict.utf8;
      if (context.keys.byLength[p - from] !== 0 && context.keys.matches(b, from, p)) findings.keyFound = true;
    } else if (tag === 0x12) {
      const verdict = checkValue(b, from, p, depth, bytesMax, context);
      if (verdict !== Verdict.ok) return verdict;
    } else if (tag < 0x18) wrongWireType(from, tag);
  }
  return Verdict.ok;
}

function checkValue(
  b: Buffer,
  start: number,
  end: number,
  depth: number,
  bytesMax: number,
  context: CheckContext,
): number {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const from = cursor.at;
    let verdict: number = Verdict.ok;
    if (tag === ValueTag.string) verdict = checkText(b, from, p, bytesMax, tooLong(bytesMax), context.ascii);
    else if (tag === ValueTag.bytes) {
      if (p - from > bytesMax) return fail(tooLong(bytesMax), p - from);
    } else if (tag === ValueTag.array || tag === ValueTag.kvlist) {
      if (depth === valueDepthMax) return fail(Verdict.valueDepth, depth + 1);
      if (tag === ValueTag.kvlist) findings.keyFound = true;
      verdict = checkElements(b, from, p, depth + 1, bytesMax, context, tag === ValueTag.kvlist);
    } else if (isWrongValueTag(tag)) wrongWireType(from, tag);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** ArrayValue { repeated AnyValue values = 1; } and KeyValueList { repeated KeyValue values = 1; } */
function checkElements(
  b: Buffer,
  start: number,
  end: number,
  depth: number,
  bytesMax: number,
  context: CheckContext,
  isList: boolean,
): number {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const from = cursor.at;
    if (tag !== 0x0a) {
      if (tag < 0x10) wrongWireType(from, tag);
      continue;
    }
    const verdict = isList
      ? checkKeyValue(b, from, p, depth, bytesMax, context)
      : checkValue(b, from, p, depth, bytesMax, context);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

function tooLong(bytesMax: number): number {
  return bytesMax === LONG_VALUE_BYTES_MAX ? Verdict.longValueBytes : Verdict.valueBytes;
}

function isWrongValueTag(tag: number): boolean {
  return tag < 0x40 && tag !== ValueTag.bool && tag !== ValueTag.int && tag !== ValueTag.double;
}

/** Throws `malformed`: a field of OTLP with another wire type. Strict readers refuse a whole message for that, so do we. */
export function wrongWireType(at: number, tag: number): never {
  return malformed(at, `wire type ${tag & 7} for field ${tag >>> 3}`);
}

/** Checks a string field: its length, then that it is UTF-8. */
export function checkText(
  b: Buffer,
  from: number,
  to: number,
  bytesMax: number,
  tooLong: number,
  ascii: AsciiScan,
): number {
  if (to - from > bytesMax) return fail(tooLong, to - from);
  return isText(b, from, to, ascii) ? Verdict.ok : Verdict.utf8;
}

/** Whether a range is UTF-8, which it mostly is by being ASCII. */
export function isText(b: Buffer, from: number, to: number, ascii: AsciiScan): boolean {
  return ascii.isAscii(from, to) || isUtf8(b, from, to);
}
