import type { AnyValueView, KeyValueView } from './any-value.js';
import { type EventView, type LinkView, type SpanView, spanViews } from './span-view.js';

/** Characters gathered before a chunk is handed on. */
export const JSON_CHUNK_CHARACTERS = 64 * 1024;

/**
 * OTLP JSON (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding) of several `TracesData` as one `TracesData`, in chunks of about
 * `JSON_CHUNK_CHARACTERS`, made as they are asked for: ids as lower-case hex, 64-bit integers as decimal strings, bytes as base64, enums as
 * integers. Fields that hold the default are left out except ids, name, kind, times and status. A resource or scope
 * without spans is left out. Bytes that are no OTLP: MeridianError `malformed`, possibly after some chunks.
 */
export function* encodeOtlpJson(parts: readonly Buffer[]): Generator<string, void, undefined> {
  let text = '{"resourceSpans":[';
  let previous: SpanView | null = null;
  for (const part of parts) {
    for (const span of spanViews(part)) {
      if (previous === null || previous.resource !== span.resource) {
        text += `${previous === null ? '' : ']}]},'}${openResource(span)}${openScope(span)}`;
      } else if (previous.scope !== span.scope) {
        text += `]},${openScope(span)}`;
      } else {
        text += ',';
      }
      text += encodeSpan(span);
      previous = span;
      if (text.length >= JSON_CHUNK_CHARACTERS) {
        yield text;
        text = '';
      }
    }
  }
  yield `${text}${previous === null ? '' : ']}]}'}]}`;
}

function openResource({ resource }: SpanView): string {
  const fields: string[] = [];
  if (resource.attributes.length > 0) fields.push(attributes(resource.attributes));
  if (resource.droppedAttributesCount !== 0) fields.push(`"droppedAttributesCount":${resource.droppedAttributesCount}`);
  if (resource.entityRefs.length > 0) fields.push(`"entityRefs":${JSON.stringify(resource.entityRefs)}`);
  const schema = resource.schemaUrl === '' ? '' : `"schemaUrl":${JSON.stringify(resource.schemaUrl)},`;
  return `{"resource":{${fields.join(',')}},${schema}"scopeSpans":[`;
}

function openScope({ scope }: SpanView): string {
  const fields: string[] = [];
  if (scope.name !== '') fields.push(`"name":${JSON.stringify(scope.name)}`);
  if (scope.version !== '') fields.push(`"version":${JSON.stringify(scope.version)}`);
  if (scope.attributes.length > 0) fields.push(attributes(scope.attributes));
  if (scope.droppedAttributesCount !== 0) fields.push(`"droppedAttributesCount":${scope.droppedAttributesCount}`);
  const schema = scope.schemaUrl === '' ? '' : `"schemaUrl":${JSON.stringify(scope.schemaUrl)},`;
  return `{"scope":{${fields.join(',')}},${schema}"spans":[`;
}

function encodeSpan(span: SpanView): string {
  let text = `{"traceId":"${span.traceId}","spanId":"${span.spanId}"`;
  if (span.parentSpanId !== null) text += `,"parentSpanId":"${span.parentSpanId}"`;
  if (span.traceState !== '') text += `,"traceState":${JSON.stringify(span.traceState)}`;
  if (span.flags !== 0) text += `,"flags":${span.flags}`;
  text += `,"name":${JSON.stringify(span.name)},"kind":${span.kind}`;
  text += `,"startTimeUnixNano":"${span.startUnixNano}","endTimeUnixNano":"${span.endUnixNano}"`;
  if (span.attributes.length > 0) text += `,${attributes(span.attributes)}`;
  if (span.droppedAttributesCount !== 0) text += `,"droppedAttributesCount":${span.droppedAttributesCount}`;
  if (span.events.length > 0) text += `,"events":[${span.events.map(encodeEvent).join(',')}]`;
  if (span.droppedEventsCount !== 0) text += `,"droppedEventsCount":${span.droppedEventsCount}`;
  if (span.links.length > 0) text += `,"links":[${span.links.map(encodeLink).join(',')}]`;
  if (span.droppedLinksCount !== 0) text += `,"droppedLinksCount":${span.droppedLinksCount}`;
  const status: string[] = [];
  if (span.status.message !== '') status.push(`"message":${JSON.stringify(span.status.message)}`);
  if (span.status.code !== 0) status.push(`"code":${span.status.code}`);
  return `${text},"status":{${status.join(',')}}}`;
}

function encodeEvent(event: EventView): string {
  let text = `{"timeUnixNano":"${event.timeUnixNano}","name":${JSON.stringify(event.name)}`;
  if (event.attributes.length > 0) text += `,${attributes(event.attributes)}`;
  if (event.droppedAttributesCount !== 0) text += `,"droppedAttributesCount":${event.droppedAttributesCount}`;
  return `${text}}`;
}

function encodeLink(link: LinkView): string {
  let text = `{"traceId":"${link.traceId}","spanId":"${link.spanId}"`;
  if (link.traceState !== '') text += `,"traceState":${JSON.stringify(link.traceState)}`;
  if (link.attributes.length > 0) text += `,${attributes(link.attributes)}`;
  if (link.droppedAttributesCount !== 0) text += `,"droppedAttributesCount":${link.droppedAttributesCount}`;
  if (link.flags !== 0) text += `,"flags":${link.flags}`;
  return `${text}}`;
}

function attributes(list: readonly KeyValueView[]): string {
  return `"attributes":[${list.map(keyValue).join(',')}]`;
}

function keyValue({ key, value }: KeyValueView): string {
  return `{"key":${JSON.stringify(key)},"value":${anyValue(value)}}`;
}

function anyValue(view: AnyValueView): string {
  switch (view.type) {
    case 'string':
      return `{"stringValue":${JSON.stringify(view.value)}}`;
    case 'bool':
      return `{"boolValue":${view.value}}`;
    case 'int':
      return `{"intValue":"${view.value}"}`;
    case 'double':
      return `{"doubleValue":${double(view.value)}}`;
    case 'bytes':
      return `{"bytesValue":"${view.value.toString('base64')}"}`;
    case 'array':
      return `{"arrayValue":{"values":[${view.value.map(anyValue).join(',')}]}}`;
    case 'kvlist':
      return `{"kvlistValue":{"values":[${view.value.map(keyValue).join(',')}]}}`;
    case 'empty':
      return '{}';
  }
}

/** JSON has no name for these, and `String(-0)` loses the sign. */
function double(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`;
  return Object.is(value, -0) ? '-0' : String(value);
}
