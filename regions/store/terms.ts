import type { SpanQuery } from '../../global/model/query.js';
import { AttributeField, attributeValueText, forEachAttribute, ValueTag } from '../../global/otlp/attributes.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { type SpanRef, StatusCode } from '../../global/otlp/span-ref.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';
import type { Segment } from '../segments/segment.js';
import type { TermSet } from './term-filter.js';

/**
 * Terms: what a search can look for in a block before inflating it. A term is a kind and one or two texts, hashed to 32 bits (FNV-1a,
 * mixed as murmur3 finishes). They name candidates only; conditions are verified on the payload.
 */
const TermKind = { service: 1, serviceOperation: 2, operation: 3, attribute: 4, errorOfService: 5, error: 6 } as const;

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** Between two texts; no UTF-8 holds this byte. */
const SEPARATOR = 0xff;

function begin(kind: number): number {
  return Math.imul(FNV_OFFSET ^ kind, FNV_PRIME);
}

function addByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, FNV_PRIME);
}

function addRange(hash: number, buffer: Buffer, start: number, end: number): number {
  let h = hash;
  for (let i = start; i < end; i++) h = Math.imul(h ^ buffer[i]!, FNV_PRIME);
  return h;
}

function addText(hash: number, text: string): number {
  const bytes = Buffer.from(text);
  return addRange(hash, bytes, 0, bytes.length);
}

function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hashOf(kind: number, first: string, second?: string): number {
  const h = addText(begin(kind), first);
  return finish(second === undefined ? h : addText(addByte(h, SEPARATOR), second));
}

/** The terms that every block with a match holds; the least frequent kinds first. */
export function queryTerms(query: SpanQuery): readonly number[] {
  const { service, operation, attributes, error } = query;
  const terms = attributes.map(({ key, value }) => hashOf(TermKind.attribute, key, value));
  if (service !== undefined && operation !== undefined) {
    terms.push(hashOf(TermKind.serviceOperation, service, operation));
  } else if (operation !== undefined) {
    terms.push(hashOf(TermKind.operation, operation));
  }
  if (error === true) {
    terms.push(service === undefined ? hashOf(TermKind.error, '') : hashOf(TermKind.errorOfService, service));
  }
  if (service !== undefined) terms.push(hashOf(TermKind.service, service));
  return terms;
}

/** What the spans of a block have in common with a query's plain conditions; a join takes the widest. */
export interface SpanBounds {
  startUnixNanoMax: bigint;
  durationNanoMax: bigint;
  /** Bit n: a span of kind n (kinds above 30 share bit 31). */
  kinds: number;
}

/** Adds the terms of a segment's spans, and widens the bounds. Throws `malformed`. */
export function addSegmentTerms(segment: Segment, terms: TermSet, bounds: SpanBounds): void {
  const { payload } = segment;
  let resourceStart = -1;
  let startHigh = 0;
  let startLow = 0;
  let durationHigh = 0;
  let durationLow = 0;
  const addAttribute = (keyStart: number, keyEnd: number, valueStart: number, valueEnd: number): undefined => {
    if (valueStart === valueEnd) return;
    const textAt = stringValueAt(payload, valueStart, valueEnd);
    const key = addByte(addRange(begin(TermKind.attribute), payload, keyStart, keyEnd), SEPARATOR);
    if (textAt >= 0) {
      terms.add(finish(addRange(key, payload, textAt, valueEnd)));
    } else {
      const text = attributeValueText(payload, valueStart, valueEnd);
      if (text !== null) terms.add(finish(addText(key, text)));
    }
  };
  forEachSpan(payload, (span) => {
    if (span.resourceStart !== resourceStart) {
      resourceStart = span.resourceStart;
      forEachAttribute(payload, resourceStart, span.resourceEnd, AttributeField.resource, addAttribute);
    }
    forEachAttribute(payload, span.spanStart, span.spanEnd, AttributeField.span, addAttribute);
    addSpanTerms(span, terms);
    if (span.startHigh > startHigh || (span.startHigh === startHigh && span.startLow > startLow)) {
      startHigh = span.startHigh;
      startLow = span.startLow;
    }
    const borrow = span.endLow < span.startLow ? 1 : 0;
    const high = span.endHigh - span.startHigh - borrow;
    const low = span.endLow - span.startLow + borrow * 0x1_0000_0000;
    if (high > durationHigh || (high === durationHigh && low > durationLow)) {
      durationHigh = high;
      durationLow = low;
    }
    bounds.kinds |= kindBit(span.kind);
    return undefined;
  });
  bounds.startUnixNanoMax = larger(bounds.startUnixNanoMax, startHigh, startLow);
  bounds.durationNanoMax = larger(bounds.durationNanoMax, durationHigh, durationLow);
}

function larger(value: bigint, high: number, low: number): bigint {
  const other = (BigInt(high) << 32n) | BigInt(low);
  return other > value ? other : value;
}

export function kindBit(kind: number): number {
  return 1 << Math.min(kind, 31);
}

const UNKNOWN = Buffer.from(UNKNOWN_SERVICE);

function addService(hash: number, { buffer, serviceStart, serviceEnd }: SpanRef): number {
  if (serviceStart === serviceEnd) return addRange(hash, UNKNOWN, 0, UNKNOWN.length);
  return addRange(hash, buffer, serviceStart, serviceEnd);
}

function addSpanTerms(span: SpanRef, terms: TermSet): void {
  const { buffer, nameStart, nameEnd } = span;
  terms.add(finish(addService(begin(TermKind.service), span)));
  const service = addByte(addService(begin(TermKind.serviceOperation), span), SEPARATOR);
  terms.add(finish(addRange(service, buffer, nameStart, nameEnd)));
  terms.add(finish(addRange(begin(TermKind.operation), buffer, nameStart, nameEnd)));
  if (span.statusCode !== StatusCode.error) return;
  terms.add(finish(addService(begin(TermKind.errorOfService), span)));
  terms.add(finish(begin(TermKind.error)));
}

/** Where the text of an AnyValue begins that is one string and nothing else (as every encoder writes it); -1 otherwise. */
function stringValueAt(buffer: Buffer, start: number, end: number): number {
  if (buffer[start] !== ValueTag.string) return -1;
  const first = buffer[start + 1]!;
  if (first < 0x80) return start + 2 + first === end ? start + 2 : -1;
  const second = buffer[start + 2]!;
  if (second >= 0x80) return -1;
  return start + 3 + (first & 0x7f) + (second << 7) === end ? start + 3 : -1;
}
