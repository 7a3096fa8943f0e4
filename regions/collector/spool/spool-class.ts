import { AttributeField, forEachAttribute, rangeEquals } from '../../../global/otlp/attributes.js';
import { IdTable } from '../../../global/otlp/id-table.js';
import { Regrouping } from '../../../global/otlp/regroup.js';
import { forEachSpan, MutableSpanRef, parseSpan, Tag } from '../../../global/otlp/scan.js';
import { type SpanRef, StatusCode } from '../../../global/otlp/span-ref.js';
import { cursor, readTag, skipValue } from '../../../global/otlp/wire.js';

/**
 * What a full spool drops first (In6), lowest first. The unit is a piece: the spans of one trace in one record. It has ONE class, so that a
 * trace is not torn where it need not be and what a client sent together stays together (decision 0002).
 *
 * - `vital`: a span of the piece is an error (its status, an `error.type` or an `exception.*` attribute), or is the trace's root.
 * - `notable`: a span crosses a process (any kind but internal and unspecified), has an event or a link, or an attribute that is not of those
 *   that instrumentation writes on every span (`PLAIN_PREFIXES`).
 * - `routine`: all else: plain internal spans, health checks, and what stands beside a root that is a health check. Errors win over that.
 */
export const SPOOL_CLASSES = ['routine', 'notable', 'vital'] as const;
/** Index in `SPOOL_CLASSES`; a higher one is worth more. */
export type SpoolClass = 0 | 1 | 2;
export const ROUTINE: SpoolClass = 0;
export const NOTABLE: SpoolClass = 1;
export const VITAL: SpoolClass = 2;

/** Keys that begin so say where in the code a span is, not what it did. */
export const PLAIN_PREFIXES: readonly string[] = [
  'code.',
  'connect.',
  'express.',
  'fastify.',
  'hapi.',
  'http.route',
  'internal.span.format',
  'koa.',
  'nestjs.',
  'otel.',
  'router.',
  'sampler.',
  'thread.',
];

/** The last part of a path that probes ask for. Without a path in front only those that can mean nothing else count. */
const HEALTH_WORDS = new Set([
  ...['health', 'healthz', 'healthcheck', 'health-check', 'health_check', 'livez', 'liveness', 'live'],
  ...['readyz', 'readiness', 'ready', 'ping', 'heartbeat'],
]);
const HEALTH_NAMES = new Set(['healthz', 'livez', 'readyz', 'healthcheck', 'health-check', 'health_check']);
const GRPC_HEALTH = 'grpc.health.v1.Health';
const PATH_BYTES_MAX = 200;
const METHOD = /^(?:GET|HEAD|OPTIONS|POST) (?=\/)/;

/** Whether the name of a span, or the path that it served, is that of a health check. */
export function isHealthCheckName(name: string): boolean {
  if (name.startsWith(GRPC_HEALTH)) return true;
  const path = name.replace(METHOD, '').replace(/[?#].*$/, '');
  if (!path.startsWith('/')) return HEALTH_NAMES.has(path.toLowerCase());
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path;
  return HEALTH_WORDS.has(trimmed.slice(trimmed.lastIndexOf('/') + 1).toLowerCase());
}

/** What spans contribute to the class of their piece; bits that are joined by `|`. */
const Trait = { error: 1, root: 2, healthRoot: 4, notable: 8 } as const;

/** The class of a piece whose spans have these traits between them. */
function classOfTraits(traits: number): SpoolClass {
  if (traits & (Trait.error | Trait.root)) return VITAL;
  if (traits & Trait.healthRoot) return ROUTINE;
  return traits & Trait.notable ? NOTABLE : ROUTINE;
}

const ERROR_TYPE = Buffer.from('error.type');
const EXCEPTION = Buffer.from('exception.');
const PLAIN = PLAIN_PREFIXES.map((prefix) => Buffer.from(prefix));
const PATH_KEYS = ['http.route', 'url.path', 'http.target', 'rpc.service'].map((key) => Buffer.from(key));
const KIND_INTERNAL_MAX = 1;

function traitsOf(span: SpanRef): number {
  const b = span.buffer;
  let isError = span.statusCode === StatusCode.error;
  let isHealth = isHealthCheckText(b, span.nameStart, span.nameEnd);
  let isNotable = span.kind > KIND_INTERNAL_MAX || hasEventOrLink(span);
  forEachAttribute(b, span.spanStart, span.spanEnd, AttributeField.span, (keyStart, keyEnd, valueStart, valueEnd) => {
    if (rangeEquals(b, keyStart, keyEnd, ERROR_TYPE) || startsWith(b, keyStart, keyEnd, EXCEPTION)) isError = true;
    else if (!PLAIN.some((prefix) => startsWith(b, keyStart, keyEnd, prefix))) isNotable = true;
    if (!isHealth && PATH_KEYS.some((key) => rangeEquals(b, keyStart, keyEnd, key))) {
      // A string value: its tag, a length of one or two bytes, the text.
      const textAt = valueStart + (b[valueStart + 1]! < 0x80 ? 2 : 3);
      isHealth =
        valueEnd - valueStart > 2 && b[valueStart] === Tag.stringValue && isHealthCheckText(b, textAt, valueEnd);
    }
    return undefined;
  });
  if (isError) return Trait.error;
  const isRoot = span.parentSpanIdAt === -1;
  if (isHealth) return isRoot ? Trait.healthRoot : 0;
  return (isRoot ? Trait.root : 0) | (isNotable ? Trait.notable : 0);
}

function isHealthCheckText(b: Buffer, start: number, end: number): boolean {
  return end > start && end - start <= PATH_BYTES_MAX && isHealthCheckName(b.toString('latin1', start, end));
}

function startsWith(b: Buffer, start: number, end: number, prefix: Buffer): boolean {
  return end - start >= prefix.length && rangeEquals(b, start, start + prefix.length, prefix);
}

function hasEventOrLink(span: SpanRef): boolean {
  const b = span.buffer;
  for (let p = span.spanStart; p < span.spanEnd; ) {
    const tag = readTag(b, p, span.spanEnd);
    if (tag === Tag.event || tag === Tag.link) return true;
    p = skipValue(b, tag, cursor.at, span.spanEnd);
  }
  return false;
}

export interface ClassPiece {
  readonly class: SpoolClass;
  /** `TracesData`; the very buffer that was passed in where all of it has one class. */
  readonly bytes: Buffer;
  readonly spanCount: number;
}

const groups = new Regrouping();
const traces = new IdTable(16);

/**
 * Takes a record's `TracesData` apart by class, lowest first: the pieces of each trace stay whole, their spans in order. No span is lost: one without
 * valid ids counts as vital. Throws MeridianError `malformed`. Linear in the bytes plus, per class, the resources and scopes that it needs.
 */
export function splitByClass(tracesData: Buffer): ClassPiece[] {
  traces.clear();
  const traits: number[] = [];
  forEachSpan(tracesData, (span) => {
    const trace = traces.add(tracesData, span.traceIdAt, traits.length);
    traits[trace] = (traits[trace] ?? 0) | traitsOf(span);
    return undefined;
  });
  const classes = traits.map(classOfTraits);
  try {
    groups.begin(tracesData);
    forEachMessage(tracesData, 0, tracesData.length, Tag.resourceSpans, (from, start, end) => {
      groups.openResourceSpans(from, start, end);
      dealScopes(tracesData, start, end, classes);
      groups.closeResourceSpans();
    });
    const pieces = groups
      .write(SPOOL_CLASSES.length)
      .map(({ group, bytes, spanCount }): ClassPiece => ({ class: group as SpoolClass, bytes, spanCount }));
    return pieces.length === 1 ? [{ ...pieces[0]!, bytes: tracesData }] : pieces;
  } finally {
    groups.release();
  }
}

const scanned = new MutableSpanRef();

function dealScopes(b: Buffer, start: number, end: number, classes: readonly SpoolClass[]): void {
  forEachMessage(b, start, end, Tag.scopeSpans, (from, inner, to) => {
    groups.openScopeSpans(from, inner, to);
    forEachMessage(b, inner, to, Tag.span, (spanFrom, spanStart, spanTo) => {
      const isValid = parseSpan(b, spanStart, spanTo, scanned);
      groups.addSpan(isValid ? classes[traces.add(b, scanned.traceIdAt, 0)]! : VITAL, spanFrom, spanTo, null);
    });
    groups.closeScopeSpans();
  });
}

function forEachMessage(
  b: Buffer,
  start: number,
  end: number,
  wanted: number,
  visit: (from: number, inner: number, to: number) => void,
): void {
  for (let p = start; p < end; ) {
    const from = p;
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag === wanted) visit(from, cursor.at, p);
  }
}
