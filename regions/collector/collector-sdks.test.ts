import { createRequire } from 'node:module';
import { type Attributes, SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { ZipkinExporter } from '@opentelemetry/exporter-zipkin';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-node';
import { afterEach, describe, expect, test } from 'vitest';
import { comparableRows, type Row } from '../../global/otlp/testing/rows.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { startTestCollector, type TestCollector } from './testing/test-collector.js';

/** CompressionAlgorithm.GZIP; the enum is in an inner package of the exporters, which take the text as well. */
const gzip = 'gzip' as never;

let running: TestCollector | null = null;

afterEach(async () => {
  await running?.collector.stop();
  running = null;
});

async function start(): Promise<TestCollector> {
  running = await startTestCollector();
  return running;
}

/** Spans that use what the SDK can say: every type of attribute, events, links, status, kinds, unicode. */
async function makeSpans(): Promise<ReadableSpan[]> {
  const memory = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'checkout', 'host.name': 'größe-1', 'process.pid': 42 }),
    spanProcessors: [new SimpleSpanProcessor(memory)],
  });
  const tracer = provider.getTracer('sdk-test', '1.2.3');
  const attributes: Attributes = {
    text: 'naïve ✓ 漢字 🚀',
    integer: 9007199254740991,
    negative: -5,
    double: 1.25,
    flag: true,
    texts: ['a', 'b'],
    numbers: [1, 2.5],
    flags: [true, false],
    empty: '',
  };
  for (const kind of [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER]) {
    const span = tracer.startSpan(`kind ${kind}`, {
      kind,
      attributes,
      links: [
        {
          context: {
            traceId: '0af7651916cd43dd8448eb211c80319c',
            spanId: 'b7ad6b7169203331',
            traceFlags: TraceFlags.SAMPLED,
          },
          attributes: { why: 'retry' },
        },
      ],
    });
    span.addEvent('cache miss', { key: 'user:1', size: 3 });
    if (kind === SpanKind.CLIENT) span.setStatus({ code: SpanStatusCode.ERROR, message: 'späte Antwort' });
    if (kind === SpanKind.SERVER) span.setStatus({ code: SpanStatusCode.OK });
    span.end();
  }
  return memory.getFinishedSpans();
}

type ExportResult = Parameters<Parameters<SpanExporter['export']>[1]>[0];

/** The SDK's ExportResultCode.SUCCESS. */
const SUCCESS = { code: 0 };

function exportWith(exporter: SpanExporter, spans: ReadableSpan[]): Promise<ExportResult> {
  return new Promise((resolve) => exporter.export(spans, resolve));
}

const sorted = (spans: readonly Row[]) =>
  [...spans].sort((a, b) => (String(a.span.spanId) < String(b.span.spanId) ? -1 : 1));

describe('unmodified OpenTelemetry SDKs', () => {
  test.each([
    ['OTLP/gRPC', (c: TestCollector) => new GrpcExporter({ url: `http://${c.grpc}` })],
    ['OTLP/gRPC gzip', (c: TestCollector) => new GrpcExporter({ url: `http://${c.grpc}`, compression: gzip })],
    ['OTLP/HTTP protobuf', (c: TestCollector) => new ProtobufExporter({ url: `${c.http}/v1/traces` })],
    [
      'OTLP/HTTP protobuf gzip',
      (c: TestCollector) => new ProtobufExporter({ url: `${c.http}/v1/traces`, compression: gzip }),
    ],
    ['OTLP/HTTP JSON', (c: TestCollector) => new JsonExporter({ url: `${c.http}/v1/traces` })],
    ['OTLP/HTTP JSON gzip', (c: TestCollector) => new JsonExporter({ url: `${c.http}/v1/traces`, compression: gzip })],
  ])('%s: what the SDK sent is in the log, field by field', async (_name, makeExporter) => {
    const collector = await start();
    const exporter = makeExporter(collector);
    const spans = await makeSpans();
    const result = await exportWith(exporter, spans);
    expect(result).toEqual(SUCCESS);
    const sent = ProtobufTraceSerializer.serializeRequest(spans)!;
    expect(sorted(collector.spans())).toEqual(sorted(comparableRows(sent)));
    expect(collector.spans()).toHaveLength(5);
    await exporter.shutdown();
  });

  test('a passing failure of the log is healed by the exporter itself', async () => {
    const collector = await start();
    collector.log.failWith = new MeridianError('unavailable', 'the log is down', 'later');
    const exporter = new ProtobufExporter({ url: `${collector.http}/v1/traces` });
    const exported = exportWith(exporter, await makeSpans());
    while ((await collector.collector.health().check()).state === 'ok') await new Promise((r) => setImmediate(r));
    collector.log.failWith = null;
    expect(await exported).toEqual(SUCCESS);
    expect(collector.spans()).toHaveLength(5);
    await exporter.shutdown();
  });

  test('Zipkin exporter', async () => {
    const collector = await start();
    const exporter = new ZipkinExporter({ url: `${collector.zipkin}/api/v2/spans` });
    const spans = await makeSpans();
    expect(await exportWith(exporter, spans)).toEqual(SUCCESS);
    const stored = collector.spans();
    expect(stored.map(({ span }) => span.name).sort()).toEqual(spans.map((span) => span.name).sort());
    expect(stored.map(({ span }) => Buffer.from(String(span.traceId), 'base64').toString('hex')).sort()).toEqual(
      spans.map((span) => span.spanContext().traceId).sort(),
    );
    await exporter.shutdown();
  });
});

describe('jaeger-client', () => {
  test('its HTTP sender: the spans arrive', async () => {
    const collector = await start();
    const jaeger = createRequire(import.meta.url)('jaeger-client') as JaegerClient;
    const sender = jaeger.initTracer(
      {
        serviceName: 'legacy',
        sampler: { type: 'const', param: 1 },
        reporter: { collectorEndpoint: `${collector.jaegerThrift}/api/traces` },
      },
      { logger: { info() {}, error() {} } },
    );
    const parent = sender.startSpan('parent');
    parent.setTag('http.status_code', 200);
    parent.log({ event: 'started' });
    sender.startSpan('child', { childOf: parent }).finish();
    parent.finish();
    await new Promise<void>((resolve) => sender.close(resolve));
    const stored = collector.spans();
    expect(stored.map(({ span }) => span.name).sort()).toEqual(['child', 'parent']);
    const [child, root] = ['child', 'parent'].map((name) => stored.find(({ span }) => span.name === name)!.span);
    expect(child!.parentSpanId).toEqual(root!.spanId);
    expect(JSON.stringify(stored[0]!.resource)).toContain('legacy');
  });
});

interface JaegerClient {
  initTracer(config: object, options: object): JaegerTracer;
}
interface JaegerTracer {
  startSpan(name: string, options?: object): JaegerSpan;
  close(done: () => void): void;
}
interface JaegerSpan {
  setTag(key: string, value: unknown): void;
  log(fields: object): void;
  finish(): void;
}
