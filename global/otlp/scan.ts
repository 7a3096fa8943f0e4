import { AttributeField, findAttribute, foundValue } from './attributes.js';
import type { SpanRef, SpanVisitor } from './span-ref.js';
import {
  cursor,
  fixedEnd,
  isZero,
  lengthPastEnd,
  readLengthEnd,
  readTag,
  readVarint,
  skipValue,
  uint32At,
} from './wire.js';

/** The tags (`fieldNumber << 3 | wireType`) of `trace.proto` that scanning knows by name. */
export const Tag = {
  resourceSpans: 0x0a,
  resource: 0x0a,
  scopeSpans: 0x12,
  scope: 0x0a,
  span: 0x12,
  schemaUrl: 0x1a,
  traceId: 0x0a,
  spanId: 0x12,
  parentSpanId: 0x22,
  traceState: 0x1a,
  name: 0x2a,
  kind: 0x30,
  start: 0x39,
  end: 0x41,
  attribute: 0x4a,
  event: 0x5a,
  link: 0x6a,
  status: 0x7a,
  flags: 0x85,
  /** AnyValue. */
  stringValue: 0x0a,
} as const;

const EMPTY = Buffer.alloc(0);

/** A SpanRef that is filled anew for each span. */
export class MutableSpanRef implements SpanRef {
  buffer: Buffer = EMPTY;
  resourceSpansStart = 0;
  resourceSpansEnd = 0;
  resourceStart = 0;
  resourceEnd = 0;
  scopeSpansStart = 0;
  scopeSpansEnd = 0;
  scopeStart = 0;
  scopeEnd = 0;
  spanStart = 0;
  spanEnd = 0;
  traceIdAt = 0;
  spanIdAt = 0;
  parentSpanIdAt = -1;
  nameStart = 0;
  nameEnd = 0;
  kind = 0;
  flags = 0;
  startHigh = 0;
  startLow = 0;
  endHigh = 0;
  endLow = 0;
  statusCode = 0;
  serviceStart = 0;
  serviceEnd = 0;
}

const SERVICE_NAME = Buffer.from('service.name');

/**
 * Calls `visit` for each span of a `TracesData` message (or `ExportTraceServiceRequest`, the same on the wire) in the order of the bytes,
 * with one SpanRef that is filled anew each time. Fields may come in any order, repeated (the last one of a singular field counts,
 * so does the last Resource or scope) and with unknown fields between them. The first `service.name` of the resource counts.
 *
 * A span without a trace id of 16 bytes or a span id of 8 (both non-zero) is passed over: `prepareBatch` lets no such span in.
 * Throws MeridianError `malformed` for bytes that are no protobuf, possibly after some visits. Content of attributes, events
 * and links is not looked at. Linear in the bytes; allocates per scan, not per span.
 */
export function forEachSpan(tracesData: Buffer, visit: SpanVisitor): void {
  const span = new MutableSpanRef();
  span.buffer = tracesData;
  const end = tracesData.length;
  for (let p = 0; p < end; ) {
    const tag = readTag(tracesData, p, end);
    if (tag !== Tag.resourceSpans) {
      p = skipValue(tracesData, tag, cursor.at, end);
      continue;
    }
    p = readLengthEnd(tracesData, cursor.at, end);
    if (!visitResourceSpans(tracesData, cursor.at, p, span, visit)) return;
  }
}

function visitResourceSpans(b: Buffer, start: number, end: number, span: MutableSpanRef, visit: SpanVisitor): boolean {
  span.resourceSpansStart = start;
  span.resourceSpansEnd = end;
  span.resourceEnd = lastBytesField(b, start, end, Tag.resource);
  span.resourceStart = cursor.at;
  span.serviceStart = span.serviceEnd = span.resourceStart;
  if (findAttribute(b, span.resourceStart, span.resourceEnd, AttributeField.resource, SERVICE_NAME)) {
    span.serviceEnd = lastBytesField(b, foundValue.start, foundValue.end, Tag.stringValue);
    span.serviceStart = cursor.at;
  }
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    if (tag !== Tag.scopeSpans) {
      p = skipValue(b, tag, cursor.at, end);
      continue;
    }
    p = readLengthEnd(b, cursor.at, end);
    if (!visitScopeSpans(b, cursor.at, p, span, visit)) return false;
  }
  return true;
}

function visitScopeSpans(b: Buffer, start: number, end: number, span: MutableSpanRef, visit: SpanVisitor): boolean {
  span.scopeSpansStart = start;
  span.scopeSpansEnd = end;
  span.scopeEnd = lastBytesField(b, start, end, Tag.scope);
  span.scopeStart = cursor.at;
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    if (tag !== Tag.span) {
      p = skipValue(b, tag, cursor.at, end);
      continue;
    }
    p = readLengthEnd(b, cursor.at, end);
    if (parseSpan(b, cursor.at, p, span) && visit(span) === false) return false;
  }
  return true;
}

/**
 * The content of the last length-delimited field with this tag in a message: returns its end and leaves its start in
 * `cursor.at`; an empty range at `start` where there is none. Reads the message's own fields to its end.
 */
export function lastBytesField(b: Buffer, start: number, end: number, wanted: number): number {
  let from = start;
  let to = start;
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag === wanted) {
      to = p;
      // `skipValue` left the start of the content there.
      from = cursor.at;
    }
  }
  cursor.at = from;
  return to;
}

/** Fills the span's own fields from its message; false where its ids are not valid. */
export function parseSpan(b: Buffer, start: number, end: number, span: MutableSpanRef): boolean {
  span.spanStart = start;
  span.spanEnd = end;
  span.nameStart = span.nameEnd = start;
  span.kind = span.flags = span.statusCode = 0;
  span.startHigh = span.startLow = span.endHigh = span.endLow = 0;
  let traceIdAt = -1;
  let spanIdAt = -1;
  let parentAt = -1;
  let p = start;
  while (p < end) {
    let tag = b[p]!;
    let at = p + 1;
    if (tag >= 0x80 || tag <= 7) {
      tag = readTag(b, p, end);
      at = cursor.at;
    }
    if ((tag & 7) === 2) {
      // The common case by hand: a length of one byte.
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
      if (tag === Tag.attribute) continue;
      if (tag === Tag.traceId) traceIdAt = to - from === 16 ? from : -1;
      else if (tag === Tag.spanId) spanIdAt = to - from === 8 ? from : -1;
      else if (tag === Tag.parentSpanId) parentAt = to - from === 8 && !isZero(b, from, to) ? from : -1;
      else if (tag === Tag.name) {
        span.nameStart = from;
        span.nameEnd = to;
      } else if (tag === Tag.status) parseStatus(b, from, to, span);
    } else if (tag === Tag.start) {
      p = fixedEnd(at, 8, end);
      span.startLow = uint32At(b, at);
      span.startHigh = uint32At(b, at + 4);
    } else if (tag === Tag.end) {
      p = fixedEnd(at, 8, end);
      span.endLow = uint32At(b, at);
      span.endHigh = uint32At(b, at + 4);
    } else if (tag === Tag.kind) {
      p = readVarint(b, at, end);
      span.kind = cursor.low;
    } else if (tag === Tag.flags) {
      p = fixedEnd(at, 4, end);
      span.flags = uint32At(b, at);
    } else p = skipValue(b, tag, at, end);
  }
  if (traceIdAt < 0 || spanIdAt < 0 || isZero(b, traceIdAt, traceIdAt + 16) || isZero(b, spanIdAt, spanIdAt + 8)) {
    return false;
  }
  span.traceIdAt = traceIdAt;
  span.spanIdAt = spanIdAt;
  span.parentSpanIdAt = parentAt;
  return true;
}

/** Status { string message = 2; StatusCode code = 3; } A repeated status merges: a code that is absent changes nothing. */
function parseStatus(b: Buffer, start: number, end: number, span: MutableSpanRef): void {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    if (tag === 0x18) {
      p = readVarint(b, cursor.at, end);
      span.statusCode = cursor.low;
    } else p = skipValue(b, tag, cursor.at, end);
  }
}
