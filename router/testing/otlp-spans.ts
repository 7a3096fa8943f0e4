import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { maxNano, minNano } from '../../global/model/time.js';
import { ProtoWriter } from '../../global/otlp/proto-writer.js';
import type { RegionSegment } from '../../global/region-api/region-client.js';

/** A span as tests write it. Times are nanoseconds. */
export interface TestSpan {
  readonly traceId: TraceId;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly service?: string;
  readonly host?: string;
  readonly name?: string;
  readonly kind?: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly error?: boolean;
  readonly attributes?: Readonly<Record<string, string>>;
}

export const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736' as TraceId;

export function region(name: string): RegionId {
  return name as RegionId;
}

/** A span id from a small number. */
export function spanId(n: number): string {
  return n.toString(16).padStart(16, '0');
}

export function traceId(n: number): TraceId {
  return n.toString(16).padStart(32, '0') as TraceId;
}

/** OTLP `TracesData` of the spans: one ResourceSpans per run of spans with the same service and host. */
export function tracesData(spans: readonly TestSpan[]): Buffer {
  const writer = new ProtoWriter();
  let open: TestSpan | null = null;
  let resource = 0;
  let scope = 0;
  for (const span of spans) {
    if (!open || open.service !== span.service || open.host !== span.host) {
      if (open) {
        writer.end(scope);
        writer.end(resource);
      }
      resource = writer.begin(1);
      const own = writer.begin(1);
      writeText(writer, 'service.name', span.service ?? 'shop');
      if (span.host !== undefined) writeText(writer, 'host.name', span.host);
      writer.end(own);
      scope = writer.begin(2);
      open = span;
    }
    const at = writer.begin(2);
    writeSpan(writer, span);
    writer.end(at);
  }
  if (open) {
    writer.end(scope);
    writer.end(resource);
  }
  return Buffer.from(writer.finish());
}

function writeSpan(writer: ProtoWriter, span: TestSpan): void {
  writer.bytesField(1, Buffer.from(span.traceId, 'hex'));
  writer.bytesField(2, Buffer.from(span.spanId, 'hex'));
  if (span.parentSpanId !== undefined) writer.bytesField(4, Buffer.from(span.parentSpanId, 'hex'));
  writer.stringField(5, span.name ?? 'work');
  writer.uintField(6, span.kind ?? 1);
  writer.fixed64Field(7, span.start);
  writer.fixed64Field(8, span.end);
  for (const [key, value] of Object.entries(span.attributes ?? {})) writeText(writer, key, value, 9);
  if (span.error) {
    const status = writer.begin(15);
    writer.uintField(3, 2);
    writer.end(status);
  }
}

function writeText(writer: ProtoWriter, key: string, text: string, field = 1): void {
  const attribute = writer.begin(field);
  writer.stringField(1, key);
  const value = writer.begin(2);
  writer.stringField(1, text);
  writer.end(value);
  writer.end(attribute);
}

/** Metadata as an assembler would make them of the spans, counted under one coverage key per service. */
export function metadataOf(of: RegionId, spans: readonly TestSpan[], key = 1): TraceMetadata {
  const services = new Map<string, { spanCount: number; errorCount: number }>();
  for (const span of spans) {
    const count = services.get(span.service ?? 'shop') ?? { spanCount: 0, errorCount: 0 };
    count.spanCount++;
    if (span.error) count.errorCount++;
    services.set(span.service ?? 'shop', count);
  }
  const root = spans.find((s) => s.parentSpanId === undefined);
  return {
    traceId: spans[0]!.traceId,
    region: of,
    startUnixNano: spans.map((s) => s.start).reduce(minNano),
    endUnixNano: spans.map((s) => s.end).reduce(maxNano),
    root: root ? { startUnixNano: root.start, service: root.service ?? 'shop', operation: root.name ?? 'work' } : null,
    coverage: [...services]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([service, count]) => ({ key, service, ...count })),
    flags: 1,
    blocks: [],
  };
}

export function segmentOf(of: RegionId, spans: readonly TestSpan[], live = false): RegionSegment {
  return { payload: tracesData(spans), live, receivedFirstMs: 0, receivedLastMs: 0, metadata: metadataOf(of, spans) };
}
