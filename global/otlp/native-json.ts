import { parseSpanId, parseTraceId } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
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
import { ProtoWriter } from './proto-writer.js';
import { SPAN_KIND_NAMES, StatusCode } from './span-ref.js';

const WHAT = 'native spans';

/**
 * `POST /v1/spans`: `{"spans":[...]}` or a bare array. Strict on what a span must have and on types; properties that
 * are not known are ignored, null is absent. A span that breaks a rule is left out and named; only a body without an array of spans is refused as a whole (`malformed`).
 * - `tags` and log `fields` keep their JSON type: integers, doubles, booleans, arrays, objects, null
 * - a log's name is its field `event` (which leaves the fields), else a copy of `message`, if they are strings
 * - without `status`, the tag `error` = true makes it an error, as in OpenTracing; the tag stays
 */
export function readNativeJson(body: Buffer): Conversion {
  const request = parseJsonBody(body, WHAT);
  const items = isJsonObject(request) ? request.spans : request;
  if (!Array.isArray(items)) {
    throw new MeridianError(
      'malformed',
      `reading ${WHAT}: neither an array nor an object with an array "spans"`,
      'never',
    );
  }
  const writer = new ProtoWriter(body.length);
  const runs = new ResourceRuns(writer);
  const tally = new SpanTally(WHAT);
  const scratch = new ProtoWriter(4096);
  for (const item of items) {
    tally.convert(writer, () => {
      if (!isJsonObject(item)) throw new SpanRejection('malformed', 'the span is no object');
      scratch.rollback(0);
      const service = textOf(item, 'service_name');
      writeSpan(scratch, item);
      runs.append(service, (to) => writeStringAttribute(to, 1, 'service.name', service), '', '', scratch.view());
    });
  }
  runs.close();
  return tally.finish(writer.finish());
}

function writeSpan(writer: ProtoWriter, span: JsonObject): void {
  const traceId = parseTraceId(textOf(span, 'trace_id'));
  if (traceId === null)
    throw new SpanRejection('invalid', 'trace_id is not 16 or 32 hexadecimal characters, not all zero');
  writer.bytesField(1, Buffer.from(traceId, 'hex'));
  const spanId = parseSpanId(textOf(span, 'span_id'));
  if (spanId === null) throw new SpanRejection('invalid', 'span_id is not 16 hexadecimal characters, not all zero');
  writer.bytesField(2, Buffer.from(spanId, 'hex'));
  const parent = span.parent_span_id;
  if (parent !== undefined && parent !== null && parent !== '') {
    const text = textOf(span, 'parent_span_id');
    const parentId = parseSpanId(text);
    // All zero is how some say "none".
    if (parentId !== null) writer.bytesField(4, Buffer.from(parentId, 'hex'));
    else if (!/^0{16}$/.test(text))
      throw new SpanRejection('invalid', 'parent_span_id is not 16 hexadecimal characters');
  }
  writer.stringField(5, textOf(span, 'operation_name'));
  const kind = kindOf(span.kind);
  if (kind !== 0) writer.uintField(6, kind);
  const startMicros = microsOf(span.start_time, 'start_time');
  const durationMicros = microsOf(span.duration, 'duration');
  writer.fixed64Field(7, startMicros * 1000n);
  writer.fixed64Field(8, (startMicros + durationMicros) * 1000n);
  const tags = recordOf(span.tags, 'tags');
  for (const key of Object.keys(tags)) writeJsonAttribute(writer, 9, key, tags[key]);
  writeLogs(writer, span.logs);
  writeStatus(writer, span.status, tags);
}

/** A name of OpenTelemetry's, in either case and with or without `SPAN_KIND_`, or OTLP's number. */
function kindOf(kind: unknown): number {
  if (kind === undefined || kind === null || kind === '') return 0;
  if (typeof kind !== 'string' && typeof kind !== 'number') throw new SpanRejection('malformed', 'kind is no string');
  const index =
    typeof kind === 'number' ? kind : SPAN_KIND_NAMES.indexOf(kind.toLowerCase().replace(/^span_kind_/, ''));
  if (SPAN_KIND_NAMES[index] === undefined)
    throw new SpanRejection('invalid', `kind is none of ${SPAN_KIND_NAMES.join(', ')}`);
  return index;
}

function writeLogs(writer: ProtoWriter, logs: unknown): void {
  if (logs === undefined || logs === null) return;
  if (!Array.isArray(logs)) throw new SpanRejection('malformed', 'logs is no array');
  if (logs.length > LIMITS.eventsPerSpanMax)
    throw new SpanRejection('invalid', `more than ${LIMITS.eventsPerSpanMax} logs`);
  for (const log of logs) {
    if (!isJsonObject(log)) throw new SpanRejection('malformed', 'a log is no object');
    const fields = recordOf(log.fields, 'fields');
    const { event, message } = fields;
    const begun = writer.begin(11);
    writer.fixed64Field(1, microsOf(log.timestamp, 'a log timestamp') * 1000n);
    const named = typeof event === 'string';
    const name = named ? event : typeof message === 'string' ? message : '';
    if (name !== '') writer.stringField(2, name);
    for (const key of Object.keys(fields)) {
      if (!named || key !== 'event') writeJsonAttribute(writer, 3, key, fields[key]);
    }
    writer.end(begun);
  }
}

function writeStatus(writer: ProtoWriter, status: unknown, tags: JsonObject): void {
  let code: number = StatusCode.unset;
  if (status === undefined || status === null || status === '') {
    if (tags.error === true) code = StatusCode.error;
  } else if (status === 'error') code = StatusCode.error;
  else if (status === 'ok') code = StatusCode.ok;
  else if (status !== 'unset') throw new SpanRejection('invalid', 'status is neither "ok" nor "error"');
  if (code === StatusCode.unset) return;
  const begun = writer.begin(15);
  writer.uintField(3, code);
  writer.end(begun);
}

function recordOf(value: unknown, name: string): JsonObject {
  if (value === undefined || value === null) return {};
  if (isJsonObject(value)) return value;
  throw new SpanRejection('malformed', `${name} is no object`);
}

function textOf(span: JsonObject, name: string): string {
  const value = span[name];
  if (value === undefined || value === null || value === '') throw new SpanRejection('invalid', `${name} is missing`);
  if (typeof value !== 'string') throw new SpanRejection('malformed', `${name} is no string`);
  return value;
}

function microsOf(value: unknown, name: string): bigint {
  if (value === undefined || value === null) throw new SpanRejection('invalid', `${name} is missing`);
  if (typeof value !== 'number') throw new SpanRejection('malformed', `${name} is no number`);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new SpanRejection('invalid', `${name} is no count of microseconds, 0 or more`);
  }
  return BigInt(value);
}
