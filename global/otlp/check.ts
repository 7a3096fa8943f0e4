import { LIMITS } from '../model/limits.js';
import { ValueTag } from './attributes.js';
import {
  type CheckContext,
  checkKeyValue,
  checkMessage,
  checkText,
  EVENT_RULES,
  LINK_RULES,
  STATUS_RULES,
  wrongWireType,
} from './check-message.js';
import { Tag } from './scan.js';
import { isUtf8 } from './utf8.js';
import { fail, findings, Verdict } from './verdict.js';
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

const { attributesPerSpanMax, attributeValueBytesMax, eventsPerSpanMax, linksPerSpanMax, nameBytesMax } = LIMITS;

/** The wire types of Span's fields by number; -1 where there is no such field. */
const SPAN_WIRE_TYPES = Int8Array.of(-1, 2, 2, 2, 2, 2, 0, 1, 1, 2, 0, 2, 0, 2, 0, 2, 5);

/**
 * The rules of In3, span by span: a span that breaks one is rejected by itself, with a code and a message. What breaks protobuf
 * itself is `malformed` and fails the whole batch, as it would in any other reader.
 *
 * Beyond In3: strings must be UTF-8, as proto3 says, because a strict reader of the log (an OpenTelemetry Collector) would refuse the
 * whole record for one bad string. An end before the start is no fault here: such spans are stored as they are and readers
 * show a duration of zero or less as what it is.
 *
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
              plain = valueAt + 2 + b[valueAt + 1]! === to && (ascii.isAscii(keyFrom, to) || isUtf8(b, keyFrom, to));
            } else if (kind === ValueTag.int || kind === ValueTag.bool) {
              plain =
                skipVarint(b, valueAt + 1, to) === to && (ascii.isAscii(keyFrom, keyTo) || isUtf8(b, keyFrom, keyTo));
            } else if (kind === ValueTag.double)
              plain = valueAt + 9 === to && (ascii.isAscii(keyFrom, keyTo) || isUtf8(b, keyFrom, keyTo));
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
        else if (!(ascii.isAscii(from, to) || isUtf8(b, from, to))) verdict = Verdict.utf8;
      } else if (tag === Tag.traceState) {
        if (verdict === Verdict.ok) verdict = checkText(b, from, to, attributeValueBytesMax, Verdict.valueBytes, ascii);
      } else if (tag === Tag.event) {
        if (++events <= eventsPerSpanMax && verdict === Verdict.ok)
          verdict = checkMessage(b, from, to, EVENT_RULES, context);
      } else if (tag === Tag.link) {
        if (++links <= linksPerSpanMax && verdict === Verdict.ok)
          verdict = checkMessage(b, from, to, LINK_RULES, context);
      } else if (tag === Tag.status) {
        if (verdict === Verdict.ok) verdict = checkMessage(b, from, to, STATUS_RULES, context);
      } else if (isWrongWireType(tag)) wrongWireType(at, tag);
    } else if (tag === Tag.start) {
      p = fixedEnd(at, 8, end);
      startAt = at;
    } else {
      if (isWrongWireType(tag)) wrongWireType(at, tag);
      p = skipValue(b, tag, at, end);
    }
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

function isWrongWireType(tag: number): boolean {
  const number = tag >>> 3;
  return number < SPAN_WIRE_TYPES.length && SPAN_WIRE_TYPES[number] !== (tag & 7);
}

/** Whether a span's start (unsigned halves of Unix nanoseconds) is implausible at `nowMs`. */
export function isImplausibleStart(startHigh: number, startLow: number, nowMs: number): boolean {
  // A float is exact to a quarter of a microsecond here, which is plenty for a judgement in minutes.
  const startMs = (startHigh * 4_294_967_296 + startLow) / 1e6;
  return startMs > nowMs + LIMITS.startAheadMsMax || startMs < nowMs - LIMITS.startBehindMsMax;
}
