import { LIMITS } from '../model/limits.js';
import { SpanRejection } from './conversion.js';
import { type ThriftReader, ThriftType } from './thrift-reader.js';

/** The structs of `jaeger.thrift` (jaegertracing/jaeger-idl), as they are read. Absent fields have thrift's zero value. */

export type JaegerTag = { readonly key: string; readonly value: JaegerValue };

export type JaegerValue =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'double'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: bigint }
  /** A view of the body. */
  | { readonly type: 'bytes'; readonly value: Buffer };

/** By key, of a repeated key the last value, in the order of first appearance: how OpenTelemetry's attributes are set. */
export type JaegerTags = Map<string, JaegerValue>;

export interface JaegerLog {
  readonly timestampMicros: bigint;
  readonly fields: JaegerTags;
}

export interface JaegerReference {
  /** 0 CHILD_OF, 1 FOLLOWS_FROM. */
  readonly type: number;
  readonly traceIdLow: bigint;
  readonly traceIdHigh: bigint;
  readonly spanId: bigint;
}

export interface JaegerSpan {
  traceIdLow: bigint;
  traceIdHigh: bigint;
  spanId: bigint;
  parentSpanId: bigint;
  operationName: string;
  references: JaegerReference[];
  flags: number;
  startMicros: bigint;
  durationMicros: bigint;
  tags: JaegerTags;
  logs: JaegerLog[];
  /** Why the span can not be taken although it could be read to its end; null where it can. */
  excess: SpanRejection | null;
}

export interface JaegerProcess {
  readonly serviceName: string;
  readonly tags: JaegerTags;
}

/** Tags of one list, and of all lists of a span; beyond it the span is read over and rejected. */
export const JAEGER_TAGS_PER_LIST_MAX = 1024;
const JAEGER_TAGS_PER_SPAN_MAX = 65_536;

class TagBudget {
  private left = JAEGER_TAGS_PER_SPAN_MAX;
  excess: SpanRejection | null = null;

  /** Whether a list of `count` may be read. */
  grants(what: string, count: number, max: number): boolean {
    this.left -= count;
    if (count <= max && this.left >= 0) return true;
    this.excess ??= new SpanRejection('invalid', `${count} ${what} are too many`);
    return false;
  }
}

export function readJaegerProcess(reader: ThriftReader): JaegerProcess {
  let serviceName = '';
  let tags: JaegerTags = new Map();
  const budget = new TagBudget();
  reader.structBegin();
  while (reader.nextField()) {
    if (reader.fieldId === 1 && reader.fieldType === ThriftType.string) serviceName = reader.text();
    else if (reader.fieldId === 2 && reader.fieldType === ThriftType.list) tags = readTags(reader, budget);
    else reader.skip(reader.fieldType);
  }
  reader.structEnd();
  if (budget.excess !== null) throw budget.excess;
  return { serviceName, tags };
}

export function readJaegerSpan(reader: ThriftReader): JaegerSpan {
  const budget = new TagBudget();
  const span: JaegerSpan = {
    traceIdLow: 0n,
    traceIdHigh: 0n,
    spanId: 0n,
    parentSpanId: 0n,
    operationName: '',
    references: [],
    flags: 0,
    startMicros: 0n,
    durationMicros: 0n,
    tags: new Map(),
    logs: [],
    excess: null,
  };
  reader.structBegin();
  while (reader.nextField()) readSpanField(reader, span, budget);
  reader.structEnd();
  span.excess = budget.excess;
  return span;
}

function readSpanField(reader: ThriftReader, span: JaegerSpan, budget: TagBudget): void {
  const { fieldId: id, fieldType: type } = reader;
  if (type === ThriftType.i64) {
    if (id === 1) span.traceIdLow = reader.i64();
    else if (id === 2) span.traceIdHigh = reader.i64();
    else if (id === 3) span.spanId = reader.i64();
    else if (id === 4) span.parentSpanId = reader.i64();
    else if (id === 8) span.startMicros = reader.i64();
    else if (id === 9) span.durationMicros = reader.i64();
    else reader.skip(type);
  } else if (type === ThriftType.string && id === 5) span.operationName = reader.text();
  else if (type === ThriftType.i32 && id === 7) span.flags = reader.i32();
  else if (type !== ThriftType.list) reader.skip(type);
  else if (id === 6) span.references = readReferences(reader, budget);
  else if (id === 10) span.tags = readTags(reader, budget);
  else if (id === 11) span.logs = readLogs(reader, budget);
  else reader.skip(type);
}

function readTags(reader: ThriftReader, budget: TagBudget): JaegerTags {
  const tags: JaegerTags = new Map();
  const count = reader.listOf(ThriftType.struct);
  if (count > 0 && !budget.grants('tags', count, JAEGER_TAGS_PER_LIST_MAX)) {
    reader.skipElements(ThriftType.struct, count);
    return tags;
  }
  for (let index = 0; index < count; index++) {
    const { key, value } = readTag(reader);
    tags.set(key, value);
  }
  return tags;
}

function readTag(reader: ThriftReader): JaegerTag {
  let key = '';
  let valueType = 0;
  let text = '';
  let double = 0;
  let bool = false;
  let long = 0n;
  let binary: Buffer = NO_BYTES;
  reader.structBegin();
  while (reader.nextField()) {
    const { fieldId: id, fieldType: type } = reader;
    if (id === 1 && type === ThriftType.string) key = reader.text();
    else if (id === 2 && type === ThriftType.i32) valueType = reader.i32();
    else if (id === 3 && type === ThriftType.string) text = reader.text();
    else if (id === 4 && type === ThriftType.double) double = reader.double();
    else if (id === 5 && type === ThriftType.bool) bool = reader.bool();
    else if (id === 6 && type === ThriftType.i64) long = reader.i64();
    else if (id === 7 && type === ThriftType.string) binary = reader.bytes();
    else reader.skip(type);
  }
  reader.structEnd();
  switch (valueType) {
    case 0:
      return { key, value: { type: 'string', value: text } };
    case 1:
      return { key, value: { type: 'double', value: double } };
    case 2:
      return { key, value: { type: 'bool', value: bool } };
    case 3:
      return { key, value: { type: 'int', value: long } };
    case 4:
      return { key, value: { type: 'bytes', value: binary } };
    default:
      return { key, value: { type: 'string', value: `<Unknown Jaeger TagType "${valueType}">` } };
  }
}

const NO_BYTES: Buffer = Buffer.alloc(0);

function readLogs(reader: ThriftReader, budget: TagBudget): JaegerLog[] {
  const logs: JaegerLog[] = [];
  const count = reader.listOf(ThriftType.struct);
  if (count > 0 && !budget.grants('logs', count, LIMITS.eventsPerSpanMax)) {
    reader.skipElements(ThriftType.struct, count);
    return logs;
  }
  for (let index = 0; index < count; index++) {
    let timestampMicros = 0n;
    let fields: JaegerTags = new Map();
    reader.structBegin();
    while (reader.nextField()) {
      if (reader.fieldId === 1 && reader.fieldType === ThriftType.i64) timestampMicros = reader.i64();
      else if (reader.fieldId === 2 && reader.fieldType === ThriftType.list) fields = readTags(reader, budget);
      else reader.skip(reader.fieldType);
    }
    reader.structEnd();
    logs.push({ timestampMicros, fields });
  }
  return logs;
}

function readReferences(reader: ThriftReader, budget: TagBudget): JaegerReference[] {
  const references: JaegerReference[] = [];
  const count = reader.listOf(ThriftType.struct);
  if (count > 0 && !budget.grants('references', count, LIMITS.linksPerSpanMax)) {
    reader.skipElements(ThriftType.struct, count);
    return references;
  }
  for (let index = 0; index < count; index++) {
    let type = 0;
    let traceIdLow = 0n;
    let traceIdHigh = 0n;
    let spanId = 0n;
    reader.structBegin();
    while (reader.nextField()) {
      const { fieldId: id } = reader;
      if (id === 1 && reader.fieldType === ThriftType.i32) type = reader.i32();
      else if (reader.fieldType !== ThriftType.i64) reader.skip(reader.fieldType);
      else if (id === 2) traceIdLow = reader.i64();
      else if (id === 3) traceIdHigh = reader.i64();
      else if (id === 4) spanId = reader.i64();
      else reader.skip(reader.fieldType);
    }
    reader.structEnd();
    references.push({ type, traceIdLow, traceIdHigh, spanId });
  }
  return references;
}
