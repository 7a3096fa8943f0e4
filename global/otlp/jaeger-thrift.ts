import { UINT64_MAX } from '../model/time.js';
import { MeridianError } from '../runtime/errors.js';
import { type Conversion, checkBodySize, rejectWhole, ScopeRuns, SpanRejection, SpanTally } from './conversion.js';
import {
  type JaegerProcess,
  type JaegerSpan,
  type JaegerTags,
  type JaegerValue,
  readJaegerProcess,
  readJaegerSpan,
} from './jaeger-model.js';
import { jaegerParent, jaegerStatus, takeString } from './jaeger-rules.js';
import { ProtoWriter } from './proto-writer.js';
import { StatusCode } from './span-ref.js';
import { ThriftBinaryReader } from './thrift-binary.js';
import { ThriftCompactReader } from './thrift-compact.js';
import { type ThriftReader, ThriftType } from './thrift-reader.js';

const WHAT = 'Jaeger thrift';

export type ThriftProtocol = 'binary' | 'compact';

/**
 * `POST /api/traces`: a `jaeger.thrift` Batch, bare (without a message around it). Follows the translator of OpenTelemetry's
 * Collector:
 * - process: `service.name`, tags as resource attributes, `hostname` as `host.name`, `jaeger.version` as `opencensus.exporterversion`
 * - tags keep their type; `span.kind`, `w3c.tracestate`, `otel.scope.*`, `otel.status_*` and `error` = true become those fields; without these a
 *   failed `http.status_code` makes an error
 * - a log's field `event` becomes the event's name, else `message` is copied there
 * - no parent: the first CHILD_OF reference into the same trace, else the first FOLLOWS_FROM; other references become links with `opentracing.ref_type`
 * Beyond the Collector: the sampled flag becomes W3C's. Without `protocol` it is told from the first bytes.
 */
export function readJaegerThrift(body: Buffer, protocol: ThriftProtocol = thriftProtocolOf(body)): Conversion {
  checkBodySize(body, WHAT);
  const reader = protocol === 'compact' ? new ThriftCompactReader(body) : new ThriftBinaryReader(body);
  return rejectWhole(WHAT, () => readBatch(reader, body.length));
}

/**
 * A Batch begins with the header of a struct or list field: in the binary protocol its type (at most 16) and two bytes of its id,
 * the first of them zero; in the compact one a difference of ids in the upper half of the first byte, or else an id that is not zero in the second.
 */
export function thriftProtocolOf(body: Buffer): ThriftProtocol {
  const first = body[0] ?? 0;
  return first > 16 || (first !== 0 && body.length > 1 && body[1] !== 0) ? 'compact' : 'binary';
}

function readBatch(reader: ThriftReader, bodyBytes: number): Conversion {
  // The process may come behind the spans: these are gathered apart.
  const spans = new ProtoWriter(bodyBytes);
  const runs = new ScopeRuns(spans);
  const scratch = new ProtoWriter(4096);
  const tally = new SpanTally(WHAT);
  let process: JaegerProcess | null = null;
  let seen = false;
  reader.structBegin();
  while (reader.nextField()) {
    if (reader.fieldId === 1 && reader.fieldType === ThriftType.struct) {
      process = readJaegerProcess(reader);
      seen = true;
    } else if (reader.fieldId === 2 && reader.fieldType === ThriftType.list) {
      seen = true;
      const count = reader.listOf(ThriftType.struct);
      for (let index = 0; index < count; index++) {
        const span = readJaegerSpan(reader);
        tally.convert(spans, () => convertSpan(span, scratch, runs));
      }
    } else {
      reader.skip(reader.fieldType);
    }
  }
  reader.structEnd();
  if (!seen) throw new MeridianError('malformed', `reading ${WHAT}: neither a process nor spans`, 'never');
  runs.close();
  const writer = new ProtoWriter(spans.length + 1024);
  const resourceSpans = writer.begin(1);
  const resource = writer.begin(1);
  if (process !== null) writeProcess(writer, process);
  writer.end(resource);
  writer.raw(spans.finish());
  writer.end(resourceSpans);
  return tally.finish(writer.finish());
}

function writeProcess(writer: ProtoWriter, { serviceName, tags }: JaegerProcess): void {
  const attributes: JaegerTags = new Map();
  if (serviceName !== '') attributes.set('service.name', { type: 'string', value: serviceName });
  for (const [key, value] of tags) {
    if (key === 'hostname' && !tags.has('host.name')) {
      attributes.set('host.name', value);
    } else if (key === 'jaeger.version' && value.type === 'string' && !tags.has('opencensus.exporterversion')) {
      attributes.set('opencensus.exporterversion', { type: 'string', value: `Jaeger-${value.value}` });
    } else {
      attributes.set(key, value);
    }
  }
  writeTags(writer, 1, attributes);
}

const KINDS = new Map([
  ['internal', 1],
  ['server', 2],
  ['client', 3],
  ['producer', 4],
  ['consumer', 5],
]);

/** Nothing reaches `runs` unless the whole span was written into `scratch`. */
function convertSpan(span: JaegerSpan, scratch: ProtoWriter, runs: ScopeRuns): void {
  if (span.excess !== null) throw span.excess;
  const { tags } = span;
  const scopeName = takeString(tags, 'otel.scope.name') ?? takeString(tags, 'otel.library.name') ?? '';
  const scopeVersion = takeString(tags, 'otel.scope.version') ?? takeString(tags, 'otel.library.version') ?? '';
  scratch.rollback(0);
  writeSpan(scratch, span);
  runs.append(scopeName, scopeVersion, scratch.view());
}

function writeSpan(writer: ProtoWriter, span: JaegerSpan): void {
  const { tags } = span;
  if (span.traceIdHigh === 0n && span.traceIdLow === 0n) throw new SpanRejection('invalid', 'the trace id is zero');
  if (span.spanId === 0n) throw new SpanRejection('invalid', 'the span id is zero');
  writer.bytesField(1, idBytes(span.traceIdHigh, span.traceIdLow));
  writer.bytesField(2, idBytes(span.spanId));
  const traceState = takeString(tags, 'w3c.tracestate');
  if (traceState !== null) writer.stringField(3, traceState);
  const parent = jaegerParent(span);
  if (parent !== 0n) writer.bytesField(4, idBytes(parent));
  if (span.operationName !== '') writer.stringField(5, span.operationName);
  const kindTag = tags.get('span.kind');
  const kind = kindTag?.type === 'string' ? (KINDS.get(kindTag.value.toLowerCase()) ?? 0) : 0;
  if (kind !== 0) {
    writer.uintField(6, kind);
    tags.delete('span.kind');
  }
  const startNano = microsToNano(span.startMicros, 'the start time');
  const endMicros = span.startMicros + span.durationMicros;
  writer.fixed64Field(7, startNano);
  // An end before the epoch can not be written: such a span ends when it starts.
  writer.fixed64Field(8, endMicros < 0n ? startNano : microsToNano(endMicros, 'the end time'));

  const status = jaegerStatus(tags, kind);
  writeTags(writer, 9, tags);
  for (const log of span.logs) {
    const begun = writer.begin(11);
    writer.fixed64Field(1, microsToNano(log.timestampMicros, 'a log timestamp'));
    const message = log.fields.get('message');
    const name = takeString(log.fields, 'event') ?? (message?.type === 'string' ? message.value : '');
    if (name !== '') writer.stringField(2, name);
    writeTags(writer, 3, log.fields);
    writer.end(begun);
  }
  writeLinks(writer, span, parent);
  if (status.code !== StatusCode.unset || status.message !== '') {
    const begun = writer.begin(15);
    if (status.message !== '') writer.stringField(2, status.message);
    if (status.code !== StatusCode.unset) writer.uintField(3, status.code);
    writer.end(begun);
  }
  if ((span.flags & 1) !== 0) writer.fixed32Field(16, 1);
}

function writeLinks(writer: ProtoWriter, span: JaegerSpan, parent: bigint): void {
  for (const { type, traceIdHigh, traceIdLow, spanId } of span.references) {
    const sameTrace = traceIdHigh === span.traceIdHigh && traceIdLow === span.traceIdLow;
    if (type === 0 && sameTrace && spanId === parent) continue;
    const begun = writer.begin(13);
    writer.bytesField(1, idBytes(traceIdHigh, traceIdLow));
    writer.bytesField(2, idBytes(spanId));
    const refType: JaegerValue = { type: 'string', value: type === 0 ? 'child_of' : 'follows_from' };
    writeTags(writer, 4, new Map([['opentracing.ref_type', refType]]));
    writer.end(begun);
  }
}

function writeTags(writer: ProtoWriter, field: number, tags: JaegerTags): void {
  for (const [key, tag] of tags) {
    const begun = writer.begin(field);
    writer.stringField(1, key);
    const any = writer.begin(2);
    if (tag.type === 'string') writer.stringField(1, tag.value);
    else if (tag.type === 'bool') writer.boolField(2, tag.value);
    else if (tag.type === 'int') writer.int64Field(3, tag.value);
    else if (tag.type === 'double') writer.doubleField(4, tag.value);
    else writer.bytesField(7, tag.value);
    writer.end(any);
    writer.end(begun);
  }
}

/** Big-endian, as OTLP's ids are. */
function idBytes(...parts: bigint[]): Buffer {
  const bytes = Buffer.allocUnsafe(parts.length * 8);
  parts.forEach((part, index) => {
    bytes.writeBigInt64BE(part, index * 8);
  });
  return bytes;
}

function microsToNano(micros: bigint, what: string): bigint {
  const nano = micros * 1000n;
  if (nano < 0n || nano > UINT64_MAX) throw new SpanRejection('invalid', `${what} is out of range`);
  return nano;
}
