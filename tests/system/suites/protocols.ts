import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-node';
import { describe, expect, test } from 'vitest';
import { canonicalSpans } from '../canonical-spans.js';
import { EAST, EUROPE, type TestFleet, THREE, WEST } from '../test-fleet.js';

interface JsonTrace {
  complete: boolean;
  spans: {
    spanId: string;
    parentSpanId: string | null;
    region: string;
    service: string;
    operation: string;
    kind: string;
    startTimeUnixNano: string;
    durationNano: string;
    status: { code: string; message?: string };
    attributes: Record<string, unknown>;
    resource: Record<string, unknown>;
    events: { name: string; timeUnixNano: string; attributes: Record<string, unknown> }[];
    links: unknown[];
  }[];
}

interface JaegerTracer {
  startSpan(name: string, options?: object): JaegerSpan;
  close(done: () => void): void;
}

interface JaegerSpan {
  context(): { toTraceId(): string };
  log(fields: object): void;
  setTag(key: string, value: unknown): void;
  finish(): void;
}

/** In by every protocol at one region, out at every router, equal field by field (In1, Ro1). */
export function protocolsSuite(fleet: () => TestFleet): void {
  /** Spans with everything that the SDK can say, made by the SDK itself. */
  function sdkSpans(): ReadableSpan[] {
    const memory = new InMemorySpanExporter();
    const provider = new BasicTracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'sdk-service', 'service.version': '1.2.3', größe: 'groß 🚀' }),
      spanProcessors: [new SimpleSpanProcessor(memory)],
      spanLimits: { attributeCountLimit: 20, eventCountLimit: 2, linkCountLimit: 1 },
    });
    const tracer = provider.getTracer('test-scope', '4.5.6', { schemaUrl: 'https://opentelemetry.io/schemas/1.30.0' });
    const root = tracer.startSpan('GET /wurst/{id}', {
      kind: SpanKind.SERVER,
      attributes: {
        text: 'v',
        unicode: 'žluťoučký kůň 漢字 👩‍👩‍👧',
        integer: 42,
        negative: -7,
        double: 3.25,
        yes: true,
        no: false,
        texts: ['a', 'b', ''],
        numbers: [1, 2.5, -3],
        flags: [true, false],
        empty: '',
      },
    });
    const at = trace.setSpan(context.active(), root);
    const child = tracer.startSpan(
      'charge',
      {
        kind: SpanKind.CLIENT,
        links: [
          { context: root.spanContext(), attributes: { 'link.kind': 'retry' } },
          { context: root.spanContext(), attributes: { 'link.kind': 'dropped' } },
        ],
      },
      at,
    );
    child.addEvent('dropped first');
    child.addEvent('exception', { 'exception.message': 'card declined', attempt: 3 });
    child.addEvent('retry');
    for (let i = 0; i < 25; i++) child.setAttribute(`key.${i}`, i);
    child.setStatus({ code: SpanStatusCode.ERROR, message: 'declined: naïve café' });
    child.end();
    const producer = tracer.startSpan('publish', { kind: SpanKind.PRODUCER }, at);
    producer.setStatus({ code: SpanStatusCode.OK });
    producer.end();
    tracer.startSpan('consume', { kind: SpanKind.CONSUMER }, at).end();
    tracer.startSpan('inner', {}, at).end();
    root.end();
    return memory.getFinishedSpans();
  }

  async function exportAll(exporter: SpanExporter, spans: ReadableSpan[]): Promise<void> {
    const result = await new Promise<{ code: number; error?: Error }>((resolve) => exporter.export(spans, resolve));
    await exporter.shutdown();
    if (result.code !== 0) throw result.error ?? new Error('export failed');
  }

  describe('an unmodified OpenTelemetry SDK', () => {
    const exporters: [string, () => SpanExporter][] = [
      ['OTLP/gRPC', () => new GrpcExporter({ url: `http://${fleet().endpoints.regions[EAST]!.otlpGrpc}` })],
      [
        'OTLP/gRPC with gzip',
        () =>
          new GrpcExporter({
            url: `http://${fleet().endpoints.regions[EAST]!.otlpGrpc}`,
            compression: 'gzip' as never,
          }),
      ],
      [
        'OTLP/HTTP protobuf',
        () => new ProtobufExporter({ url: `${fleet().endpoints.regions[EAST]!.otlpHttp}/v1/traces` }),
      ],
      [
        'OTLP/HTTP protobuf with gzip',
        () =>
          new ProtobufExporter({
            url: `${fleet().endpoints.regions[EAST]!.otlpHttp}/v1/traces`,
            compression: 'gzip' as never,
          }),
      ],
      ['OTLP/HTTP JSON', () => new JsonExporter({ url: `${fleet().endpoints.regions[EAST]!.otlpHttp}/v1/traces` })],
      [
        'OTLP/HTTP JSON with gzip',
        () =>
          new JsonExporter({
            url: `${fleet().endpoints.regions[EAST]!.otlpHttp}/v1/traces`,
            compression: 'gzip' as never,
          }),
      ],
    ];

    test.each(exporters)('%s: equal at all three routers', async (_name, exporter) => {
      const spans = sdkSpans();
      const sent = canonicalSpans(ProtobufTraceSerializer.serializeRequest(spans)!);
      expect(sent).toHaveLength(5);
      await exportAll(exporter(), spans);
      const { traceId } = spans[0]!.spanContext();
      for (const router of THREE) {
        const got = await fleet().traceBytes(router, traceId, (bytes) => canonicalSpans(bytes).length >= sent.length);
        expect(canonicalSpans(got)).toEqual(sent);
      }
    });
  });

  async function jsonTrace(traceId: string, spanCount: number): Promise<JsonTrace> {
    await fleet().traceBytes(EUROPE, traceId, (bytes) => canonicalSpans(bytes).length >= spanCount);
    return fleet().json<JsonTrace>(EUROPE, `/v1/traces/${traceId}`);
  }

  const START_US = BigInt(Date.now()) * 1000n;

  describe('older protocols', () => {
    test('Zipkin v2 JSON, 64-bit trace id, gzip', async () => {
      const body = [
        {
          traceId: '00c0ffee00c0ffee',
          id: '00000000000000a1',
          name: 'get /stock',
          kind: 'SERVER',
          timestamp: Number(START_US),
          duration: 1500,
          localEndpoint: { serviceName: 'zipkin-stock', ipv4: '10.0.0.7', port: 8080 },
          tags: { 'http.method': 'GET', error: 'no such thing' },
          annotations: [{ timestamp: Number(START_US) + 300, value: 'cache miss' }],
        },
        {
          traceId: '00c0ffee00c0ffee',
          id: '00000000000000a2',
          parentId: '00000000000000a1',
          name: 'select',
          kind: 'CLIENT',
          timestamp: Number(START_US) + 200,
          duration: 700,
          localEndpoint: { serviceName: 'zipkin-stock' },
          remoteEndpoint: { serviceName: 'mysql' },
        },
      ];
      const response = await fetch(`${fleet().endpoints.regions[WEST]!.zipkin}/api/v2/spans`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
        body: gzipSync(JSON.stringify(body)),
      });
      expect(response.status).toBe(202);
      const { spans } = await jsonTrace('000000000000000000c0ffee00c0ffee', 2);
      const [server, client] = spans;
      expect(server).toMatchObject({
        spanId: '00000000000000a1',
        region: WEST,
        service: 'zipkin-stock',
        operation: 'get /stock',
        kind: 'server',
        startTimeUnixNano: String(START_US * 1000n),
        durationNano: '1500000',
        status: { code: 'error' },
      });
      expect(server!.attributes['http.method']).toBe('GET');
      expect(server!.events.map((event) => [event.name, event.timeUnixNano])).toEqual([
        ['cache miss', String((START_US + 300n) * 1000n)],
      ]);
      expect(client).toMatchObject({ spanId: '00000000000000a2', parentSpanId: '00000000000000a1', kind: 'client' });
      expect(client!.attributes['peer.service']).toBe('mysql');
    });

    test('Jaeger thrift over HTTP, as jaeger-client sends it', async () => {
      const require = createRequire(import.meta.url);
      const { initTracer } = require('jaeger-client') as {
        initTracer: (config: object, options: object) => JaegerTracer;
      };
      const tracer = initTracer(
        {
          serviceName: 'thrift-service',
          sampler: { type: 'const', param: 1 },
          reporter: {
            collectorEndpoint: `${fleet().endpoints.regions[WEST]!.jaegerThrift}/api/traces`,
            flushIntervalMs: 50,
          },
        },
        { tags: { 'process.tag': 'p' } },
      );
      const parent = tracer.startSpan('parent', { tags: { text: 't', number: 2.5, yes: true, 'span.kind': 'server' } });
      parent.log({ event: 'something', detail: 'ünï' });
      const child = tracer.startSpan('child', { childOf: parent.context() });
      child.setTag('error', true);
      child.finish();
      parent.finish();
      await new Promise<void>((resolve) => tracer.close(resolve));
      const traceId = parent.context().toTraceId().padStart(32, '0');
      const { spans } = await jsonTrace(traceId, 2);
      expect(spans.map((span) => [span.service, span.operation, span.region])).toEqual([
        ['thrift-service', 'parent', WEST],
        ['thrift-service', 'child', WEST],
      ]);
      expect(spans[0]).toMatchObject({ kind: 'server', attributes: { text: 't', number: 2.5, yes: true } });
      expect(spans[0]!.resource).toMatchObject({ 'process.tag': 'p' });
      expect(spans[0]!.events[0]).toMatchObject({ name: 'something' });
      expect(spans[1]).toMatchObject({ parentSpanId: spans[0]!.spanId, status: { code: 'error' } });
    });

    test('native spans: the good ones are stored, the bad one is named', async () => {
      const traceId = 'abcdef0123456789abcdef0123456789';
      const span = {
        trace_id: traceId,
        span_id: '1111111111111111',
        service_name: 'native',
        operation_name: 'import',
        start_time: Number(START_US),
        duration: 2500,
        status: 'ok',
        tags: { n: 1, s: 'x', 'user.password': 'hunter2', contact: 'write to jane@example.com' },
        logs: [{ timestamp: Number(START_US) + 10, fields: { message: 'hello' } }],
      };
      const response = await fetch(`${fleet().endpoints.regions[EAST]!.otlpHttp}/v1/spans`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ spans: [{ ...span, span_id: 'not-an-id' }, span] }),
      });
      expect(response.status).toBe(202);
      const answer = (await response.json()) as { accepted: number; rejected: { index: number }[] };
      expect(answer.accepted).toBe(1);
      expect(answer.rejected.map(({ index }) => index)).toEqual([0]);
      const { spans } = await jsonTrace(traceId, 1);
      expect(spans).toHaveLength(1);
      expect(spans[0]).toMatchObject({
        service: 'native',
        operation: 'import',
        durationNano: '2500000',
        status: { code: 'ok' },
      });
      const stored = JSON.stringify(spans[0]);
      expect(stored).not.toContain('hunter2');
      expect(stored).not.toContain('jane@example.com');
    });
  });
}
