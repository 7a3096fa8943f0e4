import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { ExpressInstrumentation } from '@opentelemetry/instrumentation-express';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

/**
 * Sets up the unmodified OpenTelemetry SDK as any user of Meridian does: W3C trace context, OTLP over HTTP to the region's own
 * collector. Call it before anything requires `http` or `express`. Returns what flushes and stops it.
 */
export function startTelemetry(options: { service: string; region: string; otlpHttp: string }): () => Promise<void> {
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': options.service,
      'service.version': '1.0.0',
      'cloud.region': options.region,
      'process.pid': process.pid,
    }),
    spanProcessors: [
      new BatchSpanProcessor(new OTLPTraceExporter({ url: `${options.otlpHttp}/v1/traces` }), {
        scheduledDelayMillis: 500,
        maxExportBatchSize: 512,
      }),
    ],
  });
  provider.register();
  registerInstrumentations({
    tracerProvider: provider,
    instrumentations: [new HttpInstrumentation(), new ExpressInstrumentation()],
  });
  return () => provider.shutdown();
}
