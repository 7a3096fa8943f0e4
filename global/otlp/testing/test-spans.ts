import { ProtoWriter } from '../proto-writer.js';

/** Numbers become doubles, bigints integers. */
export type TestValue = string | boolean | number | bigint;
export type TestAttributes = Readonly<Record<string, TestValue>>;

/** A Span message as tests write it; what is left out, or zero, is absent. */
export interface SpanFields {
  /** Ids in hex. */
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string | undefined;
  readonly name?: string | undefined;
  readonly kind?: number | undefined;
  readonly flags?: number | undefined;
  readonly startUnixNano?: bigint | undefined;
  readonly endUnixNano?: bigint | undefined;
  readonly statusCode?: number | undefined;
  readonly attributes?: TestAttributes | undefined;
}

/** A ResourceSpans message with one ScopeSpans. */
export interface ResourceFields {
  /** Null: no Resource message. */
  readonly resource: TestAttributes | null;
  readonly spans: readonly SpanFields[];
}

/** OTLP `TracesData`; its own memory. */
export function encodeTracesData(parts: readonly ResourceFields[]): Buffer {
  const out = new ProtoWriter();
  for (const { resource, spans } of parts) {
    const resourceSpans = out.begin(1);
    if (resource) {
      const begun = out.begin(1);
      writeAttributes(out, 1, resource);
      out.end(begun);
    }
    const scopeSpans = out.begin(2);
    for (const span of spans) writeSpan(out, span);
    out.end(scopeSpans);
    out.end(resourceSpans);
  }
  return Buffer.from(out.finish());
}

function writeSpan(out: ProtoWriter, span: SpanFields): void {
  const begun = out.begin(2);
  out.bytesField(1, Buffer.from(span.traceId, 'hex'));
  out.bytesField(2, Buffer.from(span.spanId, 'hex'));
  if (span.parentSpanId) out.bytesField(4, Buffer.from(span.parentSpanId, 'hex'));
  if (span.name !== undefined) out.stringField(5, span.name);
  if (span.kind) out.uintField(6, span.kind);
  if (span.startUnixNano) out.fixed64Field(7, span.startUnixNano);
  if (span.endUnixNano) out.fixed64Field(8, span.endUnixNano);
  writeAttributes(out, 9, span.attributes ?? {});
  if (span.statusCode) {
    const status = out.begin(15);
    out.uintField(3, span.statusCode);
    out.end(status);
  }
  if (span.flags) out.fixed32Field(16, span.flags);
  out.end(begun);
}

function writeAttributes(out: ProtoWriter, field: number, attributes: TestAttributes): void {
  for (const [key, value] of Object.entries(attributes)) {
    const attribute = out.begin(field);
    out.stringField(1, key);
    const any = out.begin(2);
    if (typeof value === 'string') out.stringField(1, value);
    else if (typeof value === 'boolean') out.boolField(2, value);
    else if (typeof value === 'bigint') out.int64Field(3, value);
    else out.doubleField(4, value);
    out.end(any);
    out.end(attribute);
  }
}

/** The items in their order, cut where the key changes. */
export function runsBy<T>(items: readonly T[], keyOf: (item: T) => unknown): T[][] {
  const runs: T[][] = [];
  items.forEach((item, i) => {
    if (i > 0 && keyOf(items[i - 1]!) === keyOf(item)) runs.at(-1)!.push(item);
    else runs.push([item]);
  });
  return runs;
}
