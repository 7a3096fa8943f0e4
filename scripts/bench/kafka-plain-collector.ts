import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import kafkajs from 'kafkajs';
import { TOPICS } from '../../global/log/topics.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { kafkaClient } from '../../regions/log/kafka-client.js';
import { KAFKA_LIMITS } from '../../regions/log/kafka-limits.js';
import type { IngestCollectorReply, IngestCollectorRequest } from './ingest-collector.js';

/**
 * What `kafka-ingest.ts` measures beside the collector: the plain way over HTTP. Each request is decoded with protobufjs, its spans go by
 * trace, each trace is encoded into a record keyed by its id, and the records go through kafkajs's own producer, lz4, `acks=all`;
 * then the request is answered. No checks, no redaction, no limits. Speaks like `ingest-collector.ts`.
 */

interface Span {
  readonly traceId: Uint8Array;
}
interface ScopeSpans {
  readonly scope?: object;
  readonly schemaUrl?: string;
  readonly spans: readonly Span[];
}
interface ResourceSpans {
  readonly resource?: object;
  readonly schemaUrl?: string;
  readonly scopeSpans: readonly ScopeSpans[];
}
interface TracesData {
  readonly resourceSpans: readonly ResourceSpans[];
}

/** Static code that the official .proto files were compiled to. */
const codec: { decode(bytes: Uint8Array): TracesData; encode(message: object): { finish(): Uint8Array } } =
  createRequire(import.meta.url)('otlp-generated/build/src/generated/root.js').opentelemetry.proto.trace.v1.TracesData;

function recordsByTrace(body: Uint8Array): { key: Buffer; value: Buffer }[] {
  const traces = new Map<string, { id: Uint8Array; resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }>();
  for (const { scopeSpans, ...ofResource } of codec.decode(body).resourceSpans) {
    const resources = new Map<object, { scopeSpans: { spans: Span[] }[] }>();
    for (const { spans, ...ofScope } of scopeSpans) {
      const scopes = new Map<object, Span[]>();
      for (const span of spans) {
        const hex = Buffer.from(span.traceId).toString('hex');
        let trace = traces.get(hex);
        if (!trace) {
          trace = { id: span.traceId, resourceSpans: [] };
          traces.set(hex, trace);
        }
        let scope = scopes.get(trace);
        if (!scope) {
          let resource = resources.get(trace);
          if (!resource) {
            resource = { ...ofResource, scopeSpans: [] };
            resources.set(trace, resource);
            trace.resourceSpans.push(resource);
          }
          scope = [];
          scopes.set(trace, scope);
          resource.scopeSpans.push({ ...ofScope, spans: scope });
        }
        scope.push(span);
      }
    }
  }
  return [...traces.values()].map(({ id, resourceSpans }) => ({
    key: Buffer.from(id),
    value: Buffer.from(codec.encode({ resourceSpans }).finish()),
  }));
}

let stop: () => Promise<void> = async () => {};

async function start(broker: string): Promise<IngestCollectorReply> {
  const kafka = kafkaClient({ brokers: [broker], clientId: 'plain' }, KAFKA_LIMITS, silentLogger);
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const messages = recordsByTrace(Buffer.concat(chunks));
      producer
        .send({ topic: TOPICS.spans, messages, acks: -1, compression: kafkajs.CompressionTypes.LZ4 })
        .then(() => response.writeHead(200, { 'content-type': 'application/x-protobuf', 'content-length': 0 }).end())
        .catch(() => response.writeHead(503, { 'content-length': 0 }).end());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stop = async () => {
    server.closeAllConnections();
    server.close();
    await producer.disconnect();
  };
  const { address: host, port } = server.address() as AddressInfo;
  return { type: 'started', otlpHttp: { host, port }, otlpGrpc: { host, port } };
}

async function answer(request: IngestCollectorRequest): Promise<IngestCollectorReply> {
  if (request.type === 'start') {
    if (!('broker' in request.log)) throw new Error('the plain collector has no embedded log');
    return start(request.log.broker);
  }
  if (request.type === 'usage') {
    const { user, system } = process.cpuUsage();
    return { type: 'usage', cpuMicros: user + system, metrics: '' };
  }
  await stop();
  return { type: 'stopped' };
}

process.on('message', (request: IngestCollectorRequest) => {
  answer(request).then(
    (reply) => process.send?.(reply),
    (error: unknown) => {
      // An error nobody handles ends the process, and the benchmark with it.
      setImmediate(() => {
        throw error;
      });
    },
  );
});
