import { parseSpanId, parseTraceId, type SpanId, type TraceId } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
import { MeridianError } from '../runtime/errors.js';
import { findValue, type KeyValueView, readKeyValue } from './any-value.js';
import { ProtoReader } from './proto-reader.js';
import { WireType } from './wire.js';

/**
 * A span as an object, for the edge: the router's JSON, the terminal, tests. Every field of opentelemetry-proto v1 `trace.proto` is here;
 * fields that are absent on the wire have protobuf's default. Byte values are views of the buffer that was read.
 */
export interface SpanView {
  readonly traceId: TraceId;
  readonly spanId: SpanId;
  /** Null where absent, all zero, or not of 8 bytes. */
  readonly parentSpanId: SpanId | null;
  readonly traceState: string;
  /** Unsigned 32 bits: W3C trace flags in the low 8, OTLP's own above. */
  readonly flags: number;
  readonly name: string;
  /** OTLP SpanKind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer; others as they came. */
  readonly kind: number;
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
  readonly attributes: readonly KeyValueView[];
  readonly droppedAttributesCount: number;
  readonly events: readonly EventView[];
  readonly droppedEventsCount: number;
  readonly links: readonly LinkView[];
  readonly droppedLinksCount: number;
  readonly status: StatusView;
  /** One object for all spans of a ResourceSpans. */
  readonly resource: ResourceView;
  /** One object for all spans of a ScopeSpans. */
  readonly scope: ScopeView;
  /** The resource's `service.name`, or `unknown_service`. */
  readonly service: string;
}

export interface EventView {
  readonly timeUnixNano: bigint;
  readonly name: string;
  readonly attributes: readonly KeyValueView[];
  readonly droppedAttributesCount: number;
}

export interface LinkView {
  /** Lower-case hex of whatever bytes were sent; normally 32 and 16 characters. */
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly attributes: readonly KeyValueView[];
  readonly droppedAttributesCount: number;
  readonly flags: number;
}

export interface StatusView {
  /** OTLP StatusCode: 0 unset, 1 ok, 2 error. */
  readonly code: number;
  readonly message: string;
}

export interface ResourceView {
  readonly attributes: readonly KeyValueView[];
  readonly droppedAttributesCount: number;
  readonly entityRefs: readonly EntityRefView[];
  /** Of the ResourceSpans. */
  readonly schemaUrl: string;
}

export interface EntityRefView {
  readonly schemaUrl: string;
  readonly type: string;
  readonly idKeys: readonly string[];
  readonly descriptionKeys: readonly string[];
}

export interface ScopeView {
  readonly name: string;
  readonly version: string;
  readonly attributes: readonly KeyValueView[];
  readonly droppedAttributesCount: number;
  /** Of the ScopeSpans. */
  readonly schemaUrl: string;
}

export const UNKNOWN_SERVICE = 'unknown_service';

/**
 * The spans of a `TracesData` in the order of the bytes; empty bytes have none. MeridianError `malformed` for anything that is no OTLP,
 * `too-large` beyond `spansMax`. Of a repeated embedded message (two resources in one ResourceSpans) the last one holds.
 */
export function readSpanViews(tracesData: Buffer, spansMax: number = LIMITS.traceSpansMax): SpanView[] {
  const spans: SpanView[] = [];
  for (const span of spanViews(tracesData)) {
    if (spans.length >= spansMax) {
      throw new MeridianError('too-large', `reading OTLP: more than ${spansMax} spans`, 'never');
    }
    spans.push(span);
  }
  return spans;
}

/** The same one by one, so that no more than one view has to be held. */
export function* spanViews(tracesData: Buffer): Generator<SpanView, void, undefined> {
  const reader = new ProtoReader(tracesData);
  const end = tracesData.length;
  while (reader.next(end)) {
    if (reader.field !== 1 || reader.wire !== WireType.bytes) {
      reader.skip(end);
      continue;
    }
    const stop = reader.enter(end);
    yield* resourceSpans(reader, stop);
  }
}

function* resourceSpans(reader: ProtoReader, end: number): Generator<SpanView, void, undefined> {
  const start = reader.at;
  // The resource may stand behind the spans.
  let resourceStart = -1;
  let resourceEnd = -1;
  let schemaUrl = '';
  while (reader.next(end)) {
    if (reader.field === 1 && reader.wire === WireType.bytes) {
      resourceEnd = reader.enter(end);
      resourceStart = reader.at;
      reader.at = resourceEnd;
    } else if (reader.field === 3 && reader.wire === WireType.bytes) schemaUrl = reader.string(end);
    else reader.skip(end);
  }
  reader.at = resourceStart < 0 ? start : resourceStart;
  const resource = readResource(reader, resourceStart < 0 ? start : resourceEnd, schemaUrl);
  const named = findValue(resource.attributes, 'service.name');
  const service = named?.type === 'string' && named.value !== '' ? named.value : UNKNOWN_SERVICE;
  reader.at = start;
  while (reader.next(end)) {
    if (reader.field === 2 && reader.wire === WireType.bytes) {
      const stop = reader.enter(end);
      yield* scopeSpans(reader, stop, resource, service);
    } else {
      reader.skip(end);
    }
  }
}

function* scopeSpans(
  reader: ProtoReader,
  end: number,
  resource: ResourceView,
  service: string,
): Generator<SpanView, void, undefined> {
  const start = reader.at;
  let scopeStart = -1;
  let scopeEnd = -1;
  let schemaUrl = '';
  while (reader.next(end)) {
    if (reader.field === 1 && reader.wire === WireType.bytes) {
      scopeEnd = reader.enter(end);
      scopeStart = reader.at;
      reader.at = scopeEnd;
    } else if (reader.field === 3 && reader.wire === WireType.bytes) schemaUrl = reader.string(end);
    else reader.skip(end);
  }
  reader.at = scopeStart < 0 ? start : scopeStart;
  const scope = readScope(reader, scopeStart < 0 ? start : scopeEnd, schemaUrl);
  reader.at = start;
  while (reader.next(end)) {
    if (reader.field === 2 && reader.wire === WireType.bytes)
      yield readSpan(reader, reader.enter(end), resource, scope, service);
    else reader.skip(end);
  }
}

function readResource(reader: ProtoReader, end: number, schemaUrl: string): ResourceView {
  const attributes: KeyValueView[] = [];
  const entityRefs: EntityRefView[] = [];
  let droppedAttributesCount = 0;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (field === 1 && wire === WireType.bytes) attributes.push(readKeyValue(reader, reader.enter(end)));
    else if (field === 2 && wire === WireType.varint) droppedAttributesCount = reader.uint32(end);
    else if (field === 3 && wire === WireType.bytes) entityRefs.push(readEntityRef(reader, reader.enter(end)));
    else reader.skip(end);
  }
  return { attributes, droppedAttributesCount, entityRefs, schemaUrl };
}

function readEntityRef(reader: ProtoReader, end: number): EntityRefView {
  let schemaUrl = '';
  let type = '';
  const idKeys: string[] = [];
  const descriptionKeys: string[] = [];
  while (reader.next(end)) {
    if (reader.wire !== WireType.bytes || reader.field > 4) reader.skip(end);
    else if (reader.field === 1) schemaUrl = reader.string(end);
    else if (reader.field === 2) type = reader.string(end);
    else (reader.field === 3 ? idKeys : descriptionKeys).push(reader.string(end));
  }
  return { schemaUrl, type, idKeys, descriptionKeys };
}

function readScope(reader: ProtoReader, end: number, schemaUrl: string): ScopeView {
  const attributes: KeyValueView[] = [];
  let name = '';
  let version = '';
  let droppedAttributesCount = 0;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (field === 1 && wire === WireType.bytes) name = reader.string(end);
    else if (field === 2 && wire === WireType.bytes) version = reader.string(end);
    else if (field === 3 && wire === WireType.bytes) attributes.push(readKeyValue(reader, reader.enter(end)));
    else if (field === 4 && wire === WireType.varint) droppedAttributesCount = reader.uint32(end);
    else reader.skip(end);
  }
  return { name, version, attributes, droppedAttributesCount, schemaUrl };
}

const NO_STATUS: StatusView = { code: 0, message: '' };

function readSpan(
  reader: ProtoReader,
  end: number,
  resource: ResourceView,
  scope: ScopeView,
  service: string,
): SpanView {
  const attributes: KeyValueView[] = [];
  const events: EventView[] = [];
  const links: LinkView[] = [];
  let traceId = '';
  let spanId = '';
  let parentSpanId = '';
  let traceState = '';
  let flags = 0;
  let name = '';
  let kind = 0;
  let startUnixNano = 0n;
  let endUnixNano = 0n;
  let droppedAttributesCount = 0;
  let droppedEventsCount = 0;
  let droppedLinksCount = 0;
  let status = NO_STATUS;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (wire === WireType.bytes) {
      if (field === 9) attributes.push(readKeyValue(reader, reader.enter(end)));
      else if (field === 1) traceId = reader.hex(end);
      else if (field === 2) spanId = reader.hex(end);
      else if (field === 4) parentSpanId = reader.hex(end);
      else if (field === 5) name = reader.key(end);
      else if (field === 3) traceState = reader.string(end);
      else if (field === 11) events.push(readEvent(reader, reader.enter(end)));
      else if (field === 13) links.push(readLink(reader, reader.enter(end)));
      else if (field === 15) status = readStatus(reader, reader.enter(end));
      else reader.skip(end);
    } else if (wire === WireType.fixed64 && field === 7) startUnixNano = reader.fixed64(end);
    else if (wire === WireType.fixed64 && field === 8) endUnixNano = reader.fixed64(end);
    else if (wire === WireType.fixed32 && field === 16) flags = reader.fixed32(end);
    else if (wire !== WireType.varint) reader.skip(end);
    else if (field === 6) kind = reader.int32(end);
    else if (field === 10) droppedAttributesCount = reader.uint32(end);
    else if (field === 12) droppedEventsCount = reader.uint32(end);
    else if (field === 14) droppedLinksCount = reader.uint32(end);
    else reader.skip(end);
  }
  const checkedTraceId = traceId.length === 32 ? parseTraceId(traceId) : null;
  const checkedSpanId = parseSpanId(spanId);
  if (checkedTraceId === null || checkedSpanId === null) {
    throw new MeridianError(
      'malformed',
      `reading OTLP: a span with trace id "${traceId.slice(0, 64)}", span id "${spanId.slice(0, 64)}"`,
      'never',
    );
  }
  return {
    traceId: checkedTraceId,
    spanId: checkedSpanId,
    parentSpanId: parentSpanId === '' ? null : parseSpanId(parentSpanId),
    traceState,
    flags,
    name,
    kind,
    startUnixNano,
    endUnixNano,
    attributes,
    droppedAttributesCount,
    events,
    droppedEventsCount,
    links,
    droppedLinksCount,
    status,
    resource,
    scope,
    service,
  };
}

function readEvent(reader: ProtoReader, end: number): EventView {
  const attributes: KeyValueView[] = [];
  let timeUnixNano = 0n;
  let name = '';
  let droppedAttributesCount = 0;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (field === 1 && wire === WireType.fixed64) timeUnixNano = reader.fixed64(end);
    else if (field === 2 && wire === WireType.bytes) name = reader.key(end);
    else if (field === 3 && wire === WireType.bytes) attributes.push(readKeyValue(reader, reader.enter(end)));
    else if (field === 4 && wire === WireType.varint) droppedAttributesCount = reader.uint32(end);
    else reader.skip(end);
  }
  return { timeUnixNano, name, attributes, droppedAttributesCount };
}

function readLink(reader: ProtoReader, end: number): LinkView {
  const attributes: KeyValueView[] = [];
  let traceId = '';
  let spanId = '';
  let traceState = '';
  let droppedAttributesCount = 0;
  let flags = 0;
  while (reader.next(end)) {
    const { field, wire } = reader;
    if (field === 1 && wire === WireType.bytes) traceId = reader.hex(end);
    else if (field === 2 && wire === WireType.bytes) spanId = reader.hex(end);
    else if (field === 3 && wire === WireType.bytes) traceState = reader.string(end);
    else if (field === 4 && wire === WireType.bytes) attributes.push(readKeyValue(reader, reader.enter(end)));
    else if (field === 5 && wire === WireType.varint) droppedAttributesCount = reader.uint32(end);
    else if (field === 6 && wire === WireType.fixed32) flags = reader.fixed32(end);
    else reader.skip(end);
  }
  return { traceId, spanId, traceState, attributes, droppedAttributesCount, flags };
}

function readStatus(reader: ProtoReader, end: number): StatusView {
  let code = 0;
  let message = '';
  while (reader.next(end)) {
    if (reader.field === 2 && reader.wire === WireType.bytes) message = reader.string(end);
    else if (reader.field === 3 && reader.wire === WireType.varint) code = reader.int32(end);
    else reader.skip(end);
  }
  return { code, message };
}
