import {
  type Conversion,
  isJsonObject,
  type JsonObject,
  parseJsonBody,
  rejectWhole,
  SpanRejection,
  SpanTally,
} from './conversion.js';
import {
  arrayOf,
  enumOf,
  hexOf,
  jsonField,
  quoteLongIntegers,
  stringOf,
  uint32Of,
  uint64Of,
} from './otlp-json-fields.js';
import { writeJsonAttributes } from './otlp-json-values.js';
import { ProtoWriter } from './proto-writer.js';
import { SPAN_KIND_NAMES } from './span-ref.js';
import { isZero } from './wire.js';

const WHAT = 'OTLP JSON';

/**
 * OTLP JSON (`ExportTraceServiceRequest` or `TracesData`; opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding over
 * protobuf.dev/programming-guides/json): hex ids of either case, camelCase or snake_case names, 64-bit integers as strings or numbers (exact in both),
 * enums as numbers or names, bytes as base64; null is the default; unknown fields are ignored. A trace id of 8 bytes is padded. Resources and scopes that
 * can not be read make the whole request `malformed`, since all their spans would change their meaning.
 */
export function readOtlpJson(body: Buffer): Conversion {
  const request = parseJsonBody(body, WHAT, quoteLongIntegers);
  return rejectWhole(WHAT, () => {
    if (!isJsonObject(request)) throw new SpanRejection('malformed', 'the request is no object');
    const writer = new ProtoWriter(body.length);
    const tally = new SpanTally(WHAT);
    for (const item of arrayOf(request, 'resourceSpans', 'resource_spans')) {
      const resourceSpans = messageOf(item, 'resourceSpans');
      const begun = writer.begin(1);
      const resource = jsonField(resourceSpans, 'resource', 'resource');
      if (resource !== undefined) writeResource(writer, messageOf(resource, 'resource'));
      for (const scopeItem of arrayOf(resourceSpans, 'scopeSpans', 'scope_spans')) {
        writeScopeSpans(writer, messageOf(scopeItem, 'scopeSpans'), tally);
      }
      writeString(writer, 3, resourceSpans, 'schemaUrl', 'schema_url');
      writer.end(begun);
    }
    return tally.finish(writer.finish());
  });
}

function writeResource(writer: ProtoWriter, resource: JsonObject): void {
  const begun = writer.begin(1);
  writeJsonAttributes(writer, 1, resource);
  writeUint32(writer, 2, resource, 'droppedAttributesCount', 'dropped_attributes_count');
  for (const item of arrayOf(resource, 'entityRefs', 'entity_refs')) {
    const entity = messageOf(item, 'entityRefs');
    const entityBegun = writer.begin(3);
    writeString(writer, 1, entity, 'schemaUrl', 'schema_url');
    writeString(writer, 2, entity, 'type', 'type');
    for (const key of arrayOf(entity, 'idKeys', 'id_keys')) writer.stringField(3, stringOf(key, 'idKeys'));
    for (const key of arrayOf(entity, 'descriptionKeys', 'description_keys')) {
      writer.stringField(4, stringOf(key, 'descriptionKeys'));
    }
    writer.end(entityBegun);
  }
  writer.end(begun);
}

function writeScopeSpans(writer: ProtoWriter, scopeSpans: JsonObject, tally: SpanTally): void {
  const begun = writer.begin(2);
  const scopeItem = jsonField(scopeSpans, 'scope', 'scope');
  if (scopeItem !== undefined) {
    const scope = messageOf(scopeItem, 'scope');
    const scopeBegun = writer.begin(1);
    writeString(writer, 1, scope, 'name', 'name');
    writeString(writer, 2, scope, 'version', 'version');
    writeJsonAttributes(writer, 3, scope);
    writeUint32(writer, 4, scope, 'droppedAttributesCount', 'dropped_attributes_count');
    writer.end(scopeBegun);
  }
  for (const span of arrayOf(scopeSpans, 'spans', 'spans')) {
    tally.convert(writer, () => writeSpan(writer, messageOf(span, 'spans')));
  }
  writeString(writer, 3, scopeSpans, 'schemaUrl', 'schema_url');
  writer.end(begun);
}

const KIND_NAMES = new Map(SPAN_KIND_NAMES.map((name, kind) => [`SPAN_KIND_${name.toUpperCase()}`, kind]));
const STATUS_NAMES = new Map([
  ['STATUS_CODE_UNSET', 0],
  ['STATUS_CODE_OK', 1],
  ['STATUS_CODE_ERROR', 2],
]);

function writeSpan(writer: ProtoWriter, span: JsonObject): void {
  const begun = writer.begin(2);
  const traceId = hexOf(jsonField(span, 'traceId', 'trace_id'), 'traceId');
  if (traceId.length !== 16 && traceId.length !== 8) {
    throw new SpanRejection('invalid', `traceId has ${traceId.length} bytes instead of 16`);
  }
  if (isZero(traceId, 0, traceId.length)) throw new SpanRejection('invalid', 'traceId is all zero');
  writer.bytesField(1, traceId.length === 16 ? traceId : Buffer.concat([Buffer.alloc(8), traceId]));
  const spanId = hexOf(jsonField(span, 'spanId', 'span_id'), 'spanId');
  if (spanId.length !== 8) throw new SpanRejection('invalid', `spanId has ${spanId.length} bytes instead of 8`);
  if (isZero(spanId, 0, spanId.length)) throw new SpanRejection('invalid', 'spanId is all zero');
  writer.bytesField(2, spanId);
  writeString(writer, 3, span, 'traceState', 'trace_state');
  const parent = hexOf(jsonField(span, 'parentSpanId', 'parent_span_id'), 'parentSpanId');
  if (parent.length !== 0 && parent.length !== 8) {
    throw new SpanRejection('invalid', `parentSpanId has ${parent.length} bytes instead of 8`);
  }
  if (!isZero(parent, 0, parent.length)) writer.bytesField(4, parent);
  writeString(writer, 5, span, 'name', 'name');
  const kind = enumOf(jsonField(span, 'kind', 'kind'), KIND_NAMES, 'kind');
  if (kind !== 0) writer.int64Field(6, kind);
  writer.fixed64Field(7, uint64Of(jsonField(span, 'startTimeUnixNano', 'start_time_unix_nano'), 'startTimeUnixNano'));
  writer.fixed64Field(8, uint64Of(jsonField(span, 'endTimeUnixNano', 'end_time_unix_nano'), 'endTimeUnixNano'));
  writeJsonAttributes(writer, 9, span);
  writeUint32(writer, 10, span, 'droppedAttributesCount', 'dropped_attributes_count');
  for (const event of arrayOf(span, 'events', 'events')) writeEvent(writer, messageOf(event, 'events'));
  writeUint32(writer, 12, span, 'droppedEventsCount', 'dropped_events_count');
  for (const link of arrayOf(span, 'links', 'links')) writeLink(writer, messageOf(link, 'links'));
  writeUint32(writer, 14, span, 'droppedLinksCount', 'dropped_links_count');
  const status = jsonField(span, 'status', 'status');
  if (status !== undefined) writeStatus(writer, messageOf(status, 'status'));
  const flags = uint32Of(jsonField(span, 'flags', 'flags'), 'flags');
  if (flags !== 0) writer.fixed32Field(16, flags);
  writer.end(begun);
}

function writeEvent(writer: ProtoWriter, event: JsonObject): void {
  const begun = writer.begin(11);
  writer.fixed64Field(1, uint64Of(jsonField(event, 'timeUnixNano', 'time_unix_nano'), 'timeUnixNano'));
  writeString(writer, 2, event, 'name', 'name');
  writeJsonAttributes(writer, 3, event);
  writeUint32(writer, 4, event, 'droppedAttributesCount', 'dropped_attributes_count');
  writer.end(begun);
}

function writeLink(writer: ProtoWriter, link: JsonObject): void {
  const begun = writer.begin(13);
  const traceId = hexOf(jsonField(link, 'traceId', 'trace_id'), 'link traceId');
  if (traceId.length > 0) writer.bytesField(1, traceId);
  const spanId = hexOf(jsonField(link, 'spanId', 'span_id'), 'link spanId');
  if (spanId.length > 0) writer.bytesField(2, spanId);
  writeString(writer, 3, link, 'traceState', 'trace_state');
  writeJsonAttributes(writer, 4, link);
  writeUint32(writer, 5, link, 'droppedAttributesCount', 'dropped_attributes_count');
  const flags = uint32Of(jsonField(link, 'flags', 'flags'), 'link flags');
  if (flags !== 0) writer.fixed32Field(6, flags);
  writer.end(begun);
}

function writeStatus(writer: ProtoWriter, status: JsonObject): void {
  const message = stringOf(jsonField(status, 'message', 'message') ?? '', 'status message');
  const code = enumOf(jsonField(status, 'code', 'code'), STATUS_NAMES, 'status code');
  if (message === '' && code === 0) return;
  const begun = writer.begin(15);
  if (message !== '') writer.stringField(2, message);
  if (code !== 0) writer.int64Field(3, code);
  writer.end(begun);
}

function writeString(writer: ProtoWriter, field: number, from: JsonObject, camel: string, snake: string): void {
  const value = jsonField(from, camel, snake);
  if (value === undefined) return;
  const text = stringOf(value, camel);
  if (text !== '') writer.stringField(field, text);
}

function writeUint32(writer: ProtoWriter, field: number, from: JsonObject, camel: string, snake: string): void {
  const value = uint32Of(jsonField(from, camel, snake), camel);
  if (value !== 0) writer.uintField(field, value);
}

function messageOf(value: unknown, name: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw new SpanRejection('malformed', `${name} holds something that is no object`);
}
