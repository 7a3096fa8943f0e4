import type { SpanQuery } from '../../global/model/query.js';
import { UINT64_MAX } from '../../global/model/time.js';
import {
  AttributeField,
  attributeEquals,
  findAttribute,
  foundValue,
  rangeEquals,
  type ValueMatcher,
  valueMatcher,
} from '../../global/otlp/attributes.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { type SpanRef, StatusCode } from '../../global/otlp/span-ref.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';
import type { Segment } from './segment.js';

/**
 * Whether a segment holds a span on which all conditions of the query hold (St2), decided on the OTLP bytes without building objects.
 *
 *   service      the first `service.name` of the span's resource; without one, or with an empty one, it is `unknown_service`
 *   operation    the span's name
 *   attributes   each condition: the span's first attribute of that key, where it has one, else the first of its resource (a span's
 *                attribute hides its resource's). Its value as text equals the condition's: strings as they are, integers in decimal, booleans
 *                `true` and `false`, doubles as JavaScript prints them; bytes, arrays, lists and empty values equal nothing.
 *                Keys are taken literally: there are no invented ones (`error`, `span.kind`, `name`); who offers those turns them into
 *                the conditions below
 *   error        status code error, or anything but that
 *   kind         the OTLP SpanKind; absent is 0
 *   duration     end - start; 0 where the end lies before the start or is missing
 *   start        within the range, both ends included; a missing start is 0
 *   traceIds     the segment's trace is one of them
 */
export interface CompiledQuery {
  readonly query: SpanQuery;
  readonly service: Buffer | null;
  readonly operation: Buffer | null;
  readonly attributes: readonly CompiledAttribute[];
  /** 1: is error; 0: is not; -1: either. */
  readonly error: number;
  readonly kind: number;
  readonly start: Range64;
  readonly duration: Range64 | null;
  readonly traceIds: ReadonlySet<string> | null;
  /** Texts that stand as they are in the bytes of every segment that matches. */
  readonly needles: readonly Buffer[];
  /** No span can match. */
  readonly empty: boolean;
}

export interface CompiledAttribute {
  readonly key: Buffer;
  readonly value: ValueMatcher;
}

/** An inclusive range of unsigned 64-bit numbers, by halves. */
interface Range64 {
  readonly minHigh: number;
  readonly minLow: number;
  readonly maxHigh: number;
  readonly maxLow: number;
}

/** Prepares a query for many segments. Bounds outside of 64 unsigned bits are taken as their nearest ends. */
export function compileQuery(query: SpanQuery): CompiledQuery {
  const { service, operation, attributes, error, kind, durationNanoMin, durationNanoMax, traceIds } = query;
  const compiled = attributes.map(({ key, value }) => ({ key: Buffer.from(key), value: valueMatcher(value) }));
  const serviceBytes = service === undefined ? null : Buffer.from(service);
  const operationBytes = operation === undefined ? null : Buffer.from(operation);
  const start = range64(query.startUnixNanoMin, query.startUnixNanoMax);
  const limited = durationNanoMin !== undefined || durationNanoMax !== undefined;
  const duration = limited ? range64(durationNanoMin ?? 0n, durationNanoMax ?? UINT64_MAX) : undefined;
  const needles: Buffer[] = compiled.map(({ key }) => key);
  for (const { value } of compiled) {
    if (value.int === null && value.double === null && value.bool === null) needles.push(value.bytes);
  }
  if (operationBytes) needles.push(operationBytes);
  if (serviceBytes && service !== UNKNOWN_SERVICE) needles.push(serviceBytes);
  return {
    query,
    service: serviceBytes,
    operation: operationBytes,
    attributes: compiled,
    error: error === undefined ? -1 : error ? 1 : 0,
    kind: kind ?? -1,
    start: start ?? { minHigh: 1, minLow: 0, maxHigh: 0, maxLow: 0 },
    duration: duration ?? null,
    traceIds: traceIds ? new Set(traceIds) : null,
    needles: needles.filter((needle) => needle.length > 0),
    empty: start === null || duration === null || traceIds?.length === 0,
  };
}

/** Null where the range is empty. */
function range64(min: bigint, max: bigint): Range64 | null {
  const from = min < 0n ? 0n : min;
  const to = max > UINT64_MAX ? UINT64_MAX : max;
  if (from > to) return null;
  const half = (value: bigint) => Number(value & 0xffff_ffffn);
  return { minHigh: half(from >> 32n), minLow: half(from), maxHigh: half(to >> 32n), maxLow: half(to) };
}

/** Throws `malformed` where the payload is no OTLP. Who asks about more than one segment compiles the query once. */
export function matchSegment(segment: Segment, query: SpanQuery | CompiledQuery): boolean {
  const compiled = 'needles' in query ? query : compileQuery(query);
  if (compiled.empty) return false;
  if (compiled.traceIds && !compiled.traceIds.has(segment.metadata.traceId)) return false;
  const { payload } = segment;
  for (const needle of compiled.needles) if (!payload.includes(needle)) return false;
  let matches = false;
  forEachSpan(payload, (span) => {
    matches = matchSpan(span, compiled);
    return !matches;
  });
  return matches;
}

/** Whether all conditions but `traceIds` hold on this span. Throws `malformed`. */
function matchSpan(span: SpanRef, query: CompiledQuery): boolean {
  const { buffer } = span;
  if (query.error >= 0 && (span.statusCode === StatusCode.error ? 1 : 0) !== query.error) return false;
  if (query.kind >= 0 && span.kind !== query.kind) return false;
  if (query.service && !serviceIs(span, query.service)) return false;
  if (query.operation && !rangeEquals(buffer, span.nameStart, span.nameEnd, query.operation)) return false;
  if (!within(span.startHigh, span.startLow, query.start)) return false;
  if (query.duration && !durationWithin(span, query.duration)) return false;
  for (const condition of query.attributes) if (!attributeHolds(span, condition)) return false;
  return true;
}

const UNKNOWN = Buffer.from(UNKNOWN_SERVICE);

function serviceIs({ buffer, serviceStart, serviceEnd }: SpanRef, wanted: Buffer): boolean {
  return serviceStart === serviceEnd ? wanted.equals(UNKNOWN) : rangeEquals(buffer, serviceStart, serviceEnd, wanted);
}

function attributeHolds(
  { buffer, spanStart, spanEnd, resourceStart, resourceEnd }: SpanRef,
  wanted: CompiledAttribute,
): boolean {
  const found =
    findAttribute(buffer, spanStart, spanEnd, AttributeField.span, wanted.key) ||
    findAttribute(buffer, resourceStart, resourceEnd, AttributeField.resource, wanted.key);
  return found && attributeEquals(buffer, foundValue.start, foundValue.end, wanted.value);
}

function within(high: number, low: number, range: Range64): boolean {
  if (high < range.minHigh || (high === range.minHigh && low < range.minLow)) return false;
  return high < range.maxHigh || (high === range.maxHigh && low <= range.maxLow);
}

function durationWithin({ startHigh, startLow, endHigh, endLow }: SpanRef, range: Range64): boolean {
  let high = endHigh - startHigh;
  let low = endLow - startLow;
  if (low < 0) {
    low += 0x1_0000_0000;
    high -= 1;
  }
  return high < 0 ? within(0, 0, range) : within(high, low, range);
}
