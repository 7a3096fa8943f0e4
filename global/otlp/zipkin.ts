import { MeridianError } from '../runtime/errors.js';
import { writeJsonAttribute, writeStringAttribute } from './attribute-writer.js';
import {
  type Conversion,
  isJsonObject,
  type JsonObject,
  parseJsonBody,
  ResourceRuns,
  SpanRejection,
  SpanTally,
} from './conversion.js';
import { arrayOf, stringOf } from './otlp-json-fields.js';
import { ProtoWriter } from './proto-writer.js';
import { StatusCode } from './span-ref.js';
import { isResourceTag } from './zipkin-resource-tags.js';
import { annotationOf, linkOf, ZIPKIN_LINKS_MAX } from './zipkin-texts.js';

const WHAT = 'Zipkin v2 JSON';

/** Set where a Zipkin span has no timestamp, as OpenTelemetry's Collector does. */
export const ZIPKIN_START_ABSENT = 'otel.zipkin.absentField.startTime';

/**
 * `POST /api/v2/spans` (zipkin.io/zipkin-api): an array of spans. Follows OpenTelemetry's mapping
 * (opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin, and the Collector's translator for the reverse):
 * - ids are padded on the left; a span that is its own parent has none
 * - tags that OpenTelemetry's exporters took from a resource go back there, `localEndpoint.serviceName` becomes `service.name`; tags of scope,
 *   status, links, trace state and dropped counts become those fields
 * - without `otel.status_code` the tag `error` (unless "false") makes the status an error, its text the message
 * - endpoints become `net.host.*`, `net.peer.*` and `peer.service`, where no tag says otherwise
 * - `shared` and `debug` become `zipkin.shared` and `zipkin.debug`
 * Differs from the Collector in that nothing is lost: resource tags of every span are kept, and a tag or annotation that has the form of a link or an event but is none stays text.
 */
export function readZipkinJson(body: Buffer): Conversion {
  const items = parseJsonBody(body, WHAT);
  if (!Array.isArray(items)) throw new MeridianError('malformed', `reading ${WHAT}: the body is no array`, 'never');
  const writer = new ProtoWriter(body.length);
  const runs = new ResourceRuns(writer);
  const tally = new SpanTally(WHAT);
  const scratch = new ProtoWriter(4096);
  for (const item of items) {
    tally.convert(writer, () => {
      if (!isJsonObject(item)) throw new SpanRejection('malformed', 'the span is no object');
      convertSpan(item, scratch, runs);
    });
  }
  runs.close();
  return tally.finish(writer.finish());
}

type TagValue = string | number | boolean;

/** Nothing reaches `runs` unless the whole span was written into `scratch`. */
function convertSpan(span: JsonObject, scratch: ProtoWriter, runs: ResourceRuns): void {
  const tags = tagsOf(span);
  const local = endpointOf(span, 'localEndpoint');
  const resource = takeResource(tags, local?.serviceName ?? '');
  const scopeName = takeText(tags, 'otel.scope.name') ?? takeText(tags, 'otel.library.name') ?? '';
  const scopeVersion = takeText(tags, 'otel.scope.version') ?? takeText(tags, 'otel.library.version') ?? '';
  scratch.rollback(0);
  writeSpan(scratch, span, tags, local);
  const writeResource = (writer: ProtoWriter): void => {
    for (const [key, value] of resource) writeJsonAttribute(writer, 1, key, value);
  };
  runs.append(JSON.stringify([...resource]), writeResource, scopeName, scopeVersion, scratch.view());
}

function writeSpan(writer: ProtoWriter, span: JsonObject, tags: Map<string, TagValue>, local: Endpoint | null): void {
  const traceId = idOf(span.traceId, 'traceId', 32);
  const spanId = idOf(span.id, 'id', 16);
  if (traceId === null) throw new SpanRejection('invalid', 'traceId is absent or zero');
  if (spanId === null) throw new SpanRejection('invalid', 'id is absent or zero');
  writer.bytesField(1, Buffer.from(traceId, 'hex'));
  writer.bytesField(2, Buffer.from(spanId, 'hex'));
  const traceState = takeText(tags, 'w3c.tracestate');
  if (traceState !== null) writer.stringField(3, traceState);
  const parent = idOf(span.parentId, 'parentId', 16);
  if (parent !== null && parent !== spanId) writer.bytesField(4, Buffer.from(parent, 'hex'));
  const name = span.name === undefined || span.name === null ? '' : stringOf(span.name, 'name');
  if (name !== '') writer.stringField(5, name);
  const kind = kindOf(span.kind, tags);
  if (kind !== 0) writer.uintField(6, kind);

  const absent = span.timestamp === undefined || span.timestamp === null || span.timestamp === 0;
  const startMicros = absent ? 0n : microsOf(span.timestamp, 'timestamp');
  const durationMicros =
    span.duration === undefined || span.duration === null ? 0n : microsOf(span.duration, 'duration');
  writer.fixed64Field(7, startMicros * 1000n);
  writer.fixed64Field(8, (startMicros + durationMicros) * 1000n);

  writeStatus(writer, tags);
  writeDropped(writer, tags, 10, 'otel.dropped_attributes_count');
  writeDropped(writer, tags, 12, 'otel.dropped_events_count');
  writeDropped(writer, tags, 14, 'otel.dropped_links_count');
  writeLinks(writer, tags);
  for (const annotation of arrayOf(span, 'annotations', 'annotations')) writeEvent(writer, annotation);

  if (local !== null) addEndpoint(tags, local, 'net.host');
  const remote = endpointOf(span, 'remoteEndpoint');
  if (remote !== null) {
    if (remote.serviceName !== '') addTag(tags, 'peer.service', remote.serviceName);
    addEndpoint(tags, remote, 'net.peer');
  }
  if (span.shared === true) addTag(tags, 'zipkin.shared', true);
  if (span.debug === true) addTag(tags, 'zipkin.debug', true);
  if (absent) addTag(tags, ZIPKIN_START_ABSENT, true);
  for (const [key, value] of tags) {
    if (typeof value === 'string') writeStringAttribute(writer, 9, key, value);
    else writeJsonAttribute(writer, 9, key, value);
  }
}

function tagsOf(span: JsonObject): Map<string, TagValue> {
  const tags = new Map<string, TagValue>();
  if (span.tags === undefined || span.tags === null) return tags;
  if (!isJsonObject(span.tags)) throw new SpanRejection('malformed', 'tags is no object');
  for (const key of Object.keys(span.tags)) {
    const value = span.tags[key];
    // Zipkin's tags are strings; some reporters send what they have.
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') tags.set(key, value);
    else throw new SpanRejection('malformed', `the tag ${key.slice(0, 64)} is no string`);
  }
  return tags;
}

function takeResource(tags: Map<string, TagValue>, serviceName: string): Map<string, TagValue> {
  const resource = new Map<string, TagValue>();
  const source = takeText(tags, 'otlp.service.name.source');
  if (serviceName !== '') resource.set(source === null || source === '' ? 'service.name' : source, serviceName);
  for (const [key, value] of tags) {
    if (!isResourceTag(key)) continue;
    resource.set(key, value);
    tags.delete(key);
  }
  return resource;
}

const KINDS = new Map([
  ['SERVER', 2],
  ['CLIENT', 3],
  ['PRODUCER', 4],
  ['CONSUMER', 5],
]);

function kindOf(kind: unknown, tags: Map<string, TagValue>): number {
  if (kind === undefined || kind === null || kind === '') {
    return takeIf(tags, 'span.kind', (value) => value === 'internal') === null ? 0 : 1;
  }
  const known = KINDS.get(stringOf(kind, 'kind').toUpperCase());
  if (known === undefined) throw new SpanRejection('invalid', 'kind is none of CLIENT, SERVER, PRODUCER, CONSUMER');
  return known;
}

const STATUS_CODES: ReadonlyMap<TagValue, number> = new Map([
  ['UNSET', StatusCode.unset],
  ['OK', StatusCode.ok],
  ['ERROR', StatusCode.error],
  ['STATUS_CODE_UNSET', StatusCode.unset],
  ['STATUS_CODE_OK', StatusCode.ok],
  ['STATUS_CODE_ERROR', StatusCode.error],
]);

function writeStatus(writer: ProtoWriter, tags: Map<string, TagValue>): void {
  const explicit = takeIf(tags, 'otel.status_code', (value) => STATUS_CODES.has(value));
  let code = explicit === null ? StatusCode.unset : STATUS_CODES.get(explicit)!;
  let message = explicit === null ? '' : (takeText(tags, 'otel.status_description') ?? '');
  if (explicit === null || code === StatusCode.error) {
    const error = takeIf(tags, 'error', (value) => value !== 'false' && value !== false);
    if (error !== null) {
      code = StatusCode.error;
      const says = error !== true && error !== 'true';
      if (message === '' && says) message = String(error);
      else if (says && error !== '' && error !== message) tags.set('error', error);
    }
  }
  if (code === StatusCode.unset && message === '') return;
  const begun = writer.begin(15);
  if (message !== '') writer.stringField(2, message);
  if (code !== StatusCode.unset) writer.uintField(3, code);
  writer.end(begun);
}

function writeDropped(writer: ProtoWriter, tags: Map<string, TagValue>, field: number, key: string): void {
  const count = takeIf(tags, key, (value) => /^[0-9]{1,9}$/.test(String(value)));
  if (count !== null && Number(count) > 0) writer.uintField(field, Number(count));
}

function writeLinks(writer: ProtoWriter, tags: Map<string, TagValue>): void {
  for (let index = 0; index < ZIPKIN_LINKS_MAX; index++) {
    const key = `otlp.link.${index}`;
    const text = tags.get(key);
    if (text === undefined) return;
    const link = typeof text === 'string' ? linkOf(text) : null;
    if (link === null) continue;
    tags.delete(key);
    const begun = writer.begin(13);
    writer.bytesField(1, Buffer.from(link.traceId, 'hex'));
    writer.bytesField(2, Buffer.from(link.spanId, 'hex'));
    if (link.traceState !== '') writer.stringField(3, link.traceState);
    for (const name of Object.keys(link.attributes)) writeJsonAttribute(writer, 4, name, link.attributes[name]);
    if (link.droppedAttributesCount > 0) writer.uintField(5, link.droppedAttributesCount);
    writer.end(begun);
  }
}

function writeEvent(writer: ProtoWriter, annotation: unknown): void {
  if (!isJsonObject(annotation)) throw new SpanRejection('malformed', 'an annotation is no object');
  const { timestamp, value } = annotation;
  const { name, attributes, droppedAttributesCount } = annotationOf(stringOf(value ?? '', 'an annotation value'));
  const begun = writer.begin(11);
  const micros = timestamp === undefined || timestamp === null ? 0n : microsOf(timestamp, 'an annotation timestamp');
  writer.fixed64Field(1, micros * 1000n);
  if (name !== '') writer.stringField(2, name);
  for (const key of Object.keys(attributes)) writeJsonAttribute(writer, 3, key, attributes[key]);
  if (droppedAttributesCount > 0) writer.uintField(4, droppedAttributesCount);
  writer.end(begun);
}

interface Endpoint {
  readonly serviceName: string;
  readonly ip: string;
  readonly port: number;
}

function endpointOf(span: JsonObject, name: string): Endpoint | null {
  const endpoint = span[name];
  if (endpoint === undefined || endpoint === null) return null;
  if (!isJsonObject(endpoint)) throw new SpanRejection('malformed', `${name} is no object`);
  const { serviceName, ipv4, ipv6, port } = endpoint;
  return {
    serviceName: stringOf(serviceName ?? '', `${name}.serviceName`),
    ip: stringOf(ipv4 || ipv6 || '', `${name}.ipv4 or ipv6`),
    port: typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0,
  };
}

function addEndpoint(tags: Map<string, TagValue>, endpoint: Endpoint, prefix: string): void {
  if (endpoint.ip !== '') addTag(tags, `${prefix}.ip`, endpoint.ip);
  if (endpoint.port !== 0) addTag(tags, `${prefix}.port`, endpoint.port);
}

function addTag(tags: Map<string, TagValue>, key: string, value: TagValue): void {
  if (!tags.has(key)) tags.set(key, value);
}

function takeIf(tags: Map<string, TagValue>, key: string, fits: (value: TagValue) => boolean): TagValue | null {
  const value = tags.get(key);
  if (value === undefined || !fits(value)) return null;
  tags.delete(key);
  return value;
}

function takeText(tags: Map<string, TagValue>, key: string): string | null {
  const value = takeIf(tags, key, (candidate) => typeof candidate === 'string');
  return value === null ? null : String(value);
}

const HEX = /^[0-9a-fA-F]{1,32}$/;

/** The id as hex of full length (a trace id of 16 or less is padded, too); null where it is absent or zero. */
function idOf(value: unknown, name: string, characters: number): string | null {
  if (value === undefined || value === null || value === '') return null;
  const text = stringOf(value, name);
  if (text.length > characters || !HEX.test(text)) {
    throw new SpanRejection('malformed', `${name} is not 1 to ${characters} hexadecimal characters`);
  }
  const id = text.toLowerCase().padStart(characters, '0');
  return /^0+$/.test(id) ? null : id;
}

/** Microseconds as an integer; fractions, which some clocks give, are cut off. Above 2^53 no reporter's clock can be. */
function microsOf(value: unknown, name: string): bigint {
  const number = typeof value === 'string' && /^[0-9]{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number') throw new SpanRejection('malformed', `${name} is no number of microseconds`);
  if (!(number >= 0 && number <= Number.MAX_SAFE_INTEGER))
    throw new SpanRejection('invalid', `${name} is out of range`);
  return BigInt(Math.trunc(number));
}
