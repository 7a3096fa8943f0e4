import {
  type Context,
  context,
  createTraceState,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';

/** Finished spans of the OpenTelemetry SDK, with every field in use. */
export function sdkSpans(): ReadableSpan[] {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'checkout',
      'host.name': 'h-1',
      'process.pid': 4711,
      'deployment.environment': 'prod',
    }),
    spanLimits: { attributeCountLimit: 12, eventCountLimit: 2, linkCountLimit: 1 },
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  const remote: SpanContext = {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
    traceState: createTraceState('vendor=value,other=1'),
  };
  const incoming: Context = trace.setSpanContext(ROOT_CONTEXT, remote);
  const tracer = provider.getTracer('tracer', '1.2.3', { schemaUrl: 'https://example.com/schema' });
  const server = tracer.startSpan(
    'GET /päth/€/😀',
    { kind: SpanKind.SERVER, startTime: [1_700_000_000, 123_456_000] },
    incoming,
  );
  server.setAttributes({
    text: 'käse 🧀',
    empty: '',
    int: 42,
    negative: -7,
    large: Number.MAX_SAFE_INTEGER,
    double: 0.1,
    yes: true,
    no: false,
    texts: ['a', 'b'],
    ints: [1, 2, 3],
    doubles: [0.5, 1.5],
    bools: [true, false],
    dropped: 'over the limit',
  });
  server.addEvent('dropped', {}, [1_700_000_000, 130_000_000]);
  server.addEvent('cache miss', { key: 'k', tries: 3 }, [1_700_000_000, 140_000_000]);
  server.addEvent('exception', { 'exception.message': 'boom' }, [1_700_000_000, 150_000_000]);
  server.addLink({ context: { ...remote, spanId: '00f067aa0ba902b7' }, attributes: { why: 'retry' } });
  server.setStatus({ code: SpanStatusCode.ERROR, message: 'it failed: ünïcode' });
  const inner = trace.setSpan(context.active(), server);
  for (const kind of [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER]) {
    const span = provider
      .getTracer(`scope ${kind}`)
      .startSpan(`kind ${kind}`, { kind, startTime: [1_700_000_000, 200_000_000] }, inner);
    if (kind === SpanKind.CLIENT) span.setStatus({ code: SpanStatusCode.OK });
    span.end([1_700_000_000, 300_000_000]);
  }
  server.end([1_700_000_001, 0]);
  return exporter.getFinishedSpans();
}
