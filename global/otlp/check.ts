import { LIMITS } from '../model/limits.js';
import { ValueTag } from './attributes.js';
import { Tag } from './scan.js';
import { type AsciiScan, isUtf8 } from './utf8.js';
import {
  cursor,
  fixedEnd,
  isZero,
  lengthPastEnd,
  readLengthEnd,
  readTag,
  skipValue,
  skipVarint,
  uint32At,
} from './wire.js';

/**
 * The rules of In3, span by span: a span that breaks one is rejected by itself, with a code and a message. What breaks protobuf
 * itself is `malformed` and fails the whole batch, as it would in any other reader.
 *
 * Beyond In3: strings must be UTF-8, as proto3 says, because a strict reader of the log (an OpenTelemetry Collector) would refuse the
 * whole record for one bad string. An end before the start is no fault here: such spans are stored as they are and readers
 * show a duration of zero or less as what it is.
 */
export const Verdict = {
  ok: 0,
  traceId: 1,
  spanId: 2,
  parentSpanId: 3,
  attributeCount: 4,
  keyBytes: 5,
  valueBytes: 6,
  valueDepth: 7,
  eventCount: 8,
  linkCount: 9,
  nameBytes: 10,
  utf8: 11,
  longValueBytes: 12,
} as const;

/**
 * Strings of events, status messages, resources and scopes. In3's 4,096 bytes hold for the attributes of spans and links; stack
 * traces and command lines stand in the former and are longer as a rule, and their spans are those that matter most.
 */
export const LONG_VALUE_BYTES_MAX = 65_536;

/** What `checkSpan` found beside its verdict; one object for all checks, valid until the next. */
export const findings = {
  /** Position of the ids (-1 where absent) and their lengths. */
  traceIdAt: -1,
  traceIdBytes: 0,
  spanIdAt: -1,
  spanIdBytes: 0,
  startHigh: 0,
  startLow: 0,
  /** Some attribute has a key that the redactor may want (by `KeyLookup`), or is a key-value list, whose keys were not looked up. */
  keyFound: false,
  /** The size or count that broke the rule. */
  detail: 0,
};

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

const { attributesPerSpanMax, attributeKeyBytesMax, attributeValueBytesMax } = LIMITS;
const { valueDepthMax, eventsPerSpanMax, linksPerSpanMax, nameBytesMax } = LIMITS;

/**
 * Checks the Span message whose content is [start, end): returns a `Verdict` and fills `findings`. After the first broken rule the
 * span's own fields are still read (its ids name it in the answer), deeper ones may not be. Throws `malformed`.
 */
export function checkSpan(b: Buffer, start: number, end: number, context: CheckContext): number {
  const { ascii, keys } = context;
  const keyLengths = keys.byLength;
  let verdict: number = Verdict.ok;
  let traceIdAt = -1;
  let traceIdBytes = 0;
  let spanIdAt = -1;
  let spanIdBytes = 0;
  let parentAt = start;
  let parentBytes = 0;
  let startAt = -1;
  let attributes = 0;
  let events = 0;
  let links = 0;
  let found = 0;
  findings.keyFound = false;
  findings.detail = 0;
  let p = start;
  while (p < end) {
    let tag = b[p]!;
    let at = p + 1;
    if (tag >= 0x80 || tag <= 7) {
      tag = readTag(b, p, end);
      at = cursor.at;
    }
    if ((tag & 7) === 2) {
      let from = at + 1;
      let to = from;
      if (at < end && b[at]! < 0x80) {
        to += b[at]!;
        if (to > end) lengthPastEnd(at, b[at]!, end);
      } else {
        to = readLengthEnd(b, at, end);
        from = cursor.at;
      }
      p = to;
      if (tag === Tag.attribute) {
        attributes++;
        // The layout that every encoder writes, with lengths of one byte; all else takes the long way round.
        if (to - from > 5 && to - from < 128 && b[from] === 0x0a) {
          const keyFrom = from + 2;
          const keyTo = keyFrom + b[from + 1]!;
          const valueAt = keyTo + 2;
          if (valueAt + 2 <= to && b[keyTo] === 0x12 && valueAt + b[keyTo + 1]! === to) {
            const kind = b[valueAt]!;
            let plain = false;
            if (kind === ValueTag.string) {
              plain = valueAt + 2 + b[valueAt + 1]! === to && isText(b, keyFrom, to, ascii);
            } else if (kind === ValueTag.int || kind === ValueTag.bool) {
              plain = skipVarint(b, valueAt + 1, to) === to && isText(b, keyFrom, keyTo, ascii);
            } else if (kind === ValueTag.double) plain = valueAt + 9 === to && isText(b, keyFrom, keyTo, ascii);
            if (plain) {
              if (keyLengths[keyTo - keyFrom] !== 0 && keys.matches(b, keyFrom, keyTo)) found = 1;
              continue;
            }
          }
        }
        if (verdict === Verdict.ok) verdict = checkKeyValue(b, from, to, 0, attributeValueBytesMax, context);
      } else if (tag === Tag.traceId) {
        traceIdAt = from;
        traceIdBytes = to - from;
      } else if (tag === Tag.spanId) {
        spanIdAt = from;
        spanIdBytes = to - from;
      } else if (tag === Tag.parentSpanId) {
        parentAt = from;
        parentBytes = to - from;
      } else if (tag === Tag.name) {
        if (to - from > nameBytesMax) verdict = fail(Verdict.nameBytes, to - from);
        else if (!isText(b, from, to, ascii)) verdict = Verdict.utf8;
      } else if (tag === Tag.traceState) {
        if (verdict === Verdict.ok) verdict = checkString(b, from, to, attributeValueBytesMax, context.ascii);
      } else if (tag === Tag.event) {
        if (++events <= eventsPerSpanMax && verdict === Verdict.ok) verdict = checkEvent(b, from, to, context);
      } else if (tag === Tag.link) {
        if (++links <= linksPerSpanMax && verdict === Verdict.ok) verdict = checkLink(b, from, to, context);
      } else if (tag === Tag.status) {
        if (verdict === Verdict.ok) verdict = checkStatus(b, from, to, context);
      }
    } else if (tag === Tag.start) {
      p = fixedEnd(at, 8, end);
      startAt = at;
    } else p = skipValue(b, tag, at, end);
  }
  if (found !== 0) findings.keyFound = true;
  findings.traceIdAt = traceIdAt;
  findings.traceIdBytes = traceIdBytes;
  findings.spanIdAt = spanIdAt;
  findings.spanIdBytes = spanIdBytes;
  findings.startLow = startAt < 0 ? 0 : uint32At(b, startAt);
  findings.startHigh = startAt < 0 ? 0 : uint32At(b, startAt + 4);
  if ((traceIdBytes !== 16 && traceIdBytes !== 8) || isZero(b, traceIdAt, traceIdAt + traceIdBytes)) {
    return fail(Verdict.traceId, traceIdBytes);
  }
  if (spanIdBytes !== 8 || isZero(b, spanIdAt, spanIdAt + 8)) return fail(Verdict.spanId, spanIdBytes);
  if (parentBytes !== 0 && parentBytes !== 8 && !isZero(b, parentAt, parentAt + parentBytes)) {
    return fail(Verdict.parentSpanId, parentBytes);
  }
  if (verdict !== Verdict.ok) return verdict;
  if (attributes > attributesPerSpanMax) return fail(Verdict.attributeCount, attributes);
  if (events > eventsPerSpanMax) return fail(Verdict.eventCount, events);
  if (links > linksPerSpanMax) return fail(Verdict.linkCount, links);
  return Verdict.ok;
}

/** Checks the content of a Resource or an InstrumentationScope; `fieldNumber` is that of its attributes. Throws `malformed`. */
export function checkAttributesOf(
  b: Buffer,
  start: number,
  end: number,
  fieldNumber: number,
  context: CheckContext,
): number {
  findings.keyFound = false;
  findings.detail = 0;
  const attribute = (fieldNumber << 3) | 2;
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if ((tag & 7) !== 2) continue;
    const from = cursor.at;
    let verdict: number = Verdict.ok;
    if (tag === attribute) verdict = checkKeyValue(b, from, p, 0, LONG_VALUE_BYTES_MAX, context);
    // InstrumentationScope { string name = 1; string version = 2; ... }
    else if (fieldNumber !== 1 && (tag === 0x0a || tag === 0x12))
      verdict = checkString(b, from, p, LONG_VALUE_BYTES_MAX, context.ascii);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** Event { fixed64 time = 1; string name = 2; repeated KeyValue attributes = 3; uint32 dropped = 4; } */
function checkEvent(b: Buffer, start: number, end: number, context: CheckContext): number {
  let attributes = 0;
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const from = cursor.at;
    let verdict: number = Verdict.ok;
    if (tag === 0x12) {
      if (p - from > nameBytesMax) return fail(Verdict.nameBytes, p - from);
      if (!isText(b, from, p, context.ascii)) return Verdict.utf8;
    } else if (tag === 0x1a) {
      if (++attributes > attributesPerSpanMax) return fail(Verdict.attributeCount, attributes);
      verdict = checkKeyValue(b, from, p, 0, LONG_VALUE_BYTES_MAX, context);
    }
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** Link { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; repeated KeyValue attributes = 4; ... } */
function checkLink(b: Buffer, start: number, end: number, context: CheckContext): number {
  let attributes = 0;
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    const from = cursor.at;
    let verdict: number = Verdict.ok;
    if (tag === 0x22) {
      if (++attributes > attributesPerSpanMax) return fail(Verdict.attributeCount, attributes);
      verdict = checkKeyValue(b, from, p, 0, attributeValueBytesMax, context);
    } else if (tag === 0x1a) verdict = checkString(b, from, p, attributeValueBytesMax, context.ascii);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** Status { string message = 2; StatusCode code = 3; } */
function checkStatus(b: Buffer, start: number, end: number, context: CheckContext): number {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag !== 0x12) continue;
    const verdict = checkString(b, cursor.at, p, LONG_VALUE_BYTES_MAX, context.ascii);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

/** KeyValue { string key = 1; AnyValue value = 2; } `depth` is the number of arrays and lists around it. */
function checkKeyValue(
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
    }
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
    if (tag === ValueTag.string) verdict = checkString(b, from, p, bytesMax, context.ascii);
    else if (tag === ValueTag.bytes) {
      if (p - from > bytesMax) return failBytes(p - from, bytesMax);
    } else if (tag === ValueTag.array || tag === ValueTag.kvlist) {
      if (depth === valueDepthMax) return fail(Verdict.valueDepth, depth + 1);
      if (tag === ValueTag.kvlist) findings.keyFound = true;
      verdict = checkElements(b, from, p, depth + 1, bytesMax, context, tag === ValueTag.kvlist);
    }
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
    if (tag !== 0x0a) continue;
    const from = cursor.at;
    const verdict = isList
      ? checkKeyValue(b, from, p, depth, bytesMax, context)
      : checkValue(b, from, p, depth, bytesMax, context);
    if (verdict !== Verdict.ok) return verdict;
  }
  return Verdict.ok;
}

function checkString(b: Buffer, from: number, to: number, bytesMax: number, ascii: AsciiScan): number {
  if (to - from > bytesMax) return failBytes(to - from, bytesMax);
  return isText(b, from, to, ascii) ? Verdict.ok : Verdict.utf8;
}

function isText(b: Buffer, from: number, to: number, ascii: AsciiScan): boolean {
  return ascii.isAscii(from, to) || isUtf8(b, from, to);
}

function failBytes(bytes: number, bytesMax: number): number {
  return fail(bytesMax === LONG_VALUE_BYTES_MAX ? Verdict.longValueBytes : Verdict.valueBytes, bytes);
}

function fail(verdict: number, detail: number): number {
  findings.detail = detail;
  return verdict;
}

/** A stable code and a message for people, for a verdict other than ok with its `findings.detail`. */
export function describeVerdict(verdict: number, detail: number): { code: string; message: string } {
  switch (verdict) {
    case Verdict.traceId:
      return { code: 'trace-id', message: idMessage('trace id', detail, 16) };
    case Verdict.spanId:
      return { code: 'span-id', message: idMessage('span id', detail, 8) };
    case Verdict.parentSpanId:
      return { code: 'parent-span-id', message: `parent span id of ${detail} bytes, expected none or 8` };
    case Verdict.attributeCount:
      return { code: 'attribute-count', message: `${detail} attributes, at most ${attributesPerSpanMax}` };
    case Verdict.keyBytes:
      return { code: 'attribute-key', message: `an attribute key of ${detail} bytes, at most ${attributeKeyBytesMax}` };
    case Verdict.valueBytes:
      return { code: 'attribute-value', message: `a value of ${detail} bytes, at most ${attributeValueBytesMax}` };
    case Verdict.longValueBytes:
      return { code: 'attribute-value', message: `a value of ${detail} bytes, at most ${LONG_VALUE_BYTES_MAX}` };
    case Verdict.valueDepth:
      return { code: 'value-depth', message: `a value nested deeper than ${valueDepthMax} arrays or lists` };
    case Verdict.eventCount:
      return { code: 'event-count', message: `${detail} events, at most ${eventsPerSpanMax}` };
    case Verdict.linkCount:
      return { code: 'link-count', message: `${detail} links, at most ${linksPerSpanMax}` };
    case Verdict.nameBytes:
      return { code: 'name', message: `a name of ${detail} bytes, at most ${nameBytesMax}` };
    default:
      return { code: 'utf8', message: 'a string that is not UTF-8' };
  }
}

function idMessage(what: string, bytes: number, wanted: number): string {
  if (bytes === 0) return `no ${what}`;
  return bytes === wanted || (wanted === 16 && bytes === 8)
    ? `${what} is all zero`
    : `${what} of ${bytes} bytes, expected ${wanted}`;
}

/** Starts further ahead of the receiver's clock, or further behind it, than these are flagged as implausible (In7), never dropped. */
export const IMPLAUSIBLE_FUTURE_MS = 3_600_000;
export const IMPLAUSIBLE_PAST_MS = 7 * 24 * 3_600_000;

/** Whether a span's start (unsigned halves of Unix nanoseconds) is implausible at `nowMs`. */
export function isImplausibleStart(startHigh: number, startLow: number, nowMs: number): boolean {
  // A float is exact to a quarter of a microsecond here, which is plenty for a judgement in hours.
  const startMs = (startHigh * 4_294_967_296 + startLow) / 1e6;
  return startMs > nowMs + IMPLAUSIBLE_FUTURE_MS || startMs < nowMs - IMPLAUSIBLE_PAST_MS;
}
