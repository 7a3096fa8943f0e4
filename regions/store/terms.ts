import type { SpanQuery } from '../../global/model/query.js';
import { AttributeField, attributeValueText, forEachAttribute, ValueTag } from '../../global/otlp/attributes.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { type SpanRef, StatusCode } from '../../global/otlp/span-ref.js';
import type { Segment } from '../segments/segment.js';
import { UNKNOWN_SERVICE } from '../segments/summarize.js';
import type { TermHash, TermSet } from './term-filter.js';

/**
 * Terms: what a search can look for in a block before inflating it. A term is a kind and one or two texts, hashed to 64 bits (two FNV-1a
 * walks with different constants, mixed as murmur3 finishes). They name candidates only; conditions are verified on the payload.
 */
const TermKind = { service: 1, serviceOperation: 2, operation: 3, attribute: 4, errorOfService: 5, error: 6 } as const;

let h1 = 0;
let h2 = 0;

function begin(kind: number): void {
  h1 = 0x811c9dc5 ^ kind;
  h2 = 0x2f0b4c47 + Math.imul(kind, 0x9e3779b1);
}

function addByte(byte: number): void {
  h1 = Math.imul(h1 ^ byte, 0x01000193);
  h2 = Math.imul(h2 ^ byte, 0x5bd1e995);
  h2 ^= h2 >>> 15;
}

function addRange(buffer: Buffer, start: number, end: number): void {
  let a = h1;
  let b = h2;
  for (let i = start; i < end; i++) {
    const byte = buffer[i]!;
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x5bd1e995);
    b ^= b >>> 15;
  }
  h1 = a;
  h2 = b;
}

function addText(text: string): void {
  const bytes = Buffer.from(text);
  addRange(bytes, 0, bytes.length);
}

/** Between two texts; no UTF-8 holds this byte. */
const SEPARATOR = 0xff;

function finish(): void {
  h1 = mix(h1 ^ Math.imul(h2, 0x9e3779b1));
  h2 = mix(h2 ^ h1);
}

function mix(value: number): number {
  let h = value ^ (value >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hashOf(kind: number, first: string, second?: string): TermHash {
  begin(kind);
  addText(first);
  if (second !== undefined) {
    addByte(SEPARATOR);
    addText(second);
  }
  finish();
  return { h1, h2 };
}

/** The terms that every block with a match holds; the least frequent kinds first. */
export function queryTerms(query: SpanQuery): readonly TermHash[] {
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
    begin(TermKind.attribute);
    addRange(payload, keyStart, keyEnd);
    addByte(SEPARATOR);
    if (textAt >= 0) {
      addRange(payload, textAt, valueEnd);
    } else {
      const text = attributeValueText(payload, valueStart, valueEnd);
      if (text === null) return;
      addText(text);
    }
    finish();
    terms.add(h1, h2);
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

function addService({ buffer, serviceStart, serviceEnd }: SpanRef): void {
  if (serviceStart === serviceEnd) addRange(UNKNOWN, 0, UNKNOWN.length);
  else addRange(buffer, serviceStart, serviceEnd);
}

function addSpanTerms(span: SpanRef, terms: TermSet): void {
  const { buffer, nameStart, nameEnd } = span;
  begin(TermKind.service);
  addService(span);
  finish();
  terms.add(h1, h2);
  begin(TermKind.serviceOperation);
  addService(span);
  addByte(SEPARATOR);
  addRange(buffer, nameStart, nameEnd);
  finish();
  terms.add(h1, h2);
  begin(TermKind.operation);
  addRange(buffer, nameStart, nameEnd);
  finish();
  terms.add(h1, h2);
  if (span.statusCode !== StatusCode.error) return;
  begin(TermKind.errorOfService);
  addService(span);
  finish();
  terms.add(h1, h2);
  begin(TermKind.error);
  finish();
  terms.add(h1, h2);
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
