import { createRequire } from 'node:module';
import { Registry } from 'prom-client';
import { parseRegionId } from '../../../global/model/ids.js';
import { DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from '../../../global/otlp/redact.js';
import { PATTERN_NAMES } from '../../../global/otlp/redact-text.js';
import { plaintext } from '../../../global/runtime/channel-security.js';
import { realClock } from '../../../global/runtime/clock.js';
import { noCrash } from '../../../global/runtime/crash-points.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { type Collector, type CollectorOptions, createCollector } from '../collector.js';
import { MemoryAppender } from './memory-appender.js';

/** A collector on free ports of loopback, over a log in memory, for tests. */
export interface TestCollector {
  readonly collector: Collector;
  readonly log: MemoryAppender;
  readonly registry: Registry;
  /** Base URLs. */
  readonly http: string;
  readonly zipkin: string;
  readonly jaegerThrift: string;
  /** host:port. */
  readonly grpc: string;
  /** All spans in the log, decoded by OpenTelemetry's own generated code. */
  spans(): StoredSpan[];
}

export interface StoredSpan {
  readonly resource: unknown;
  readonly scope: unknown;
  readonly span: Readonly<Record<string, unknown>> & { readonly name: string };
}

const LOOPBACK = { host: '127.0.0.1', port: 0 };

export async function startTestCollector(
  overrides: Partial<CollectorOptions> = {},
  log = new MemoryAppender(),
): Promise<TestCollector> {
  const registry = new Registry();
  const collector = createCollector({
    region: parseRegionId('test-1')!,
    collectorId: 'collector-test',
    log,
    partitionCount: 4,
    listen: { otlpGrpc: LOOPBACK, otlpHttp: LOOPBACK, zipkin: LOOPBACK, jaegerThrift: LOOPBACK },
    redaction: {
      dropKeys: DROP_KEYS_DEFAULT,
      maskKeys: MASK_KEYS_DEFAULT,
      patterns: PATTERN_NAMES,
      maskSecret: Buffer.alloc(32, 1),
    },
    clock: realClock,
    logger: silentLogger,
    registry,
    crash: noCrash,
    security: plaintext,
    random32: () => 7,
    gatherMs: 1,
    ...overrides,
  });
  await collector.start();
  const { otlpGrpc, otlpHttp, zipkin, jaegerThrift } = collector.addresses;
  const url = ({ port }: { port: number }) => `http://127.0.0.1:${port}`;
  return {
    collector,
    log,
    registry,
    http: url(otlpHttp),
    zipkin: url(zipkin),
    jaegerThrift: url(jaegerThrift),
    grpc: `127.0.0.1:${otlpGrpc.port}`,
    spans: () => log.values().flatMap((value) => decodeSpans(value)),
  };
}

interface GeneratedType {
  decode(bytes: Uint8Array): unknown;
  fromObject(value: object): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  toObject(message: unknown, options: object): DecodedRequest;
}

interface DecodedRequest {
  resourceSpans?: { resource?: unknown; scopeSpans?: { scope?: unknown; spans?: StoredSpan['span'][] }[] }[];
}

const generated = createRequire(import.meta.url)('otlp-generated/build/src/generated/root.js') as {
  opentelemetry: { proto: { collector: { trace: { v1: { ExportTraceServiceRequest: GeneratedType } } } } };
};
const Request = generated.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;

const UNSET = { code: 0, message: '' };

/** `TracesData` and `ExportTraceServiceRequest` are the same on the wire. */
export function decodeSpans(bytes: Uint8Array): StoredSpan[] {
  const request = Request.toObject(Request.decode(bytes), { longs: String, bytes: String, defaults: true });
  return (request.resourceSpans ?? []).flatMap(({ resource, scopeSpans }) =>
    (scopeSpans ?? []).flatMap(({ scope, spans }) =>
      // A status that is absent and one that is unset say the same.
      (spans ?? []).map((span) => ({ resource, scope, span: { ...span, status: span.status ?? UNSET } })),
    ),
  );
}

/** An OTLP request of one resource with these spans, given in the shape of the proto (bytes as buffers). */
export function encodeSpans(spans: readonly object[], service = 'shop'): Buffer {
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: service } }] };
  const request = { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'test' }, spans: [...spans] }] }] };
  return Buffer.from(Request.encode(Request.fromObject(request)).finish());
}

/** A good span with ids made from a number. */
export function testSpan(number: number, more: object = {}): object {
  const id = Buffer.alloc(16);
  id.writeUInt32BE(number + 1, 12);
  return {
    traceId: id,
    spanId: id.subarray(8),
    name: `span ${number}`,
    startTimeUnixNano: String(BigInt(Date.now()) * 1_000_000n),
    endTimeUnixNano: String(BigInt(Date.now() + 5) * 1_000_000n),
    ...more,
  };
}
