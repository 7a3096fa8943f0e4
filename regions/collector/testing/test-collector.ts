import { Registry } from 'prom-client';
import { parseRegionId } from '../../../global/model/ids.js';
import { DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from '../../../global/otlp/redact.js';
import { PATTERN_NAMES } from '../../../global/otlp/redact-text.js';
import { officialEncode } from '../../../global/otlp/testing/official-otlp.js';
import { comparableRows, type Row } from '../../../global/otlp/testing/rows.js';
import { plaintext } from '../../../global/runtime/channel-security.js';
import { realClock } from '../../../global/runtime/clock.js';
import { noCrash } from '../../../global/runtime/crash-points.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { type Collector, createCollector } from '../collector.js';
import type { CollectorOptions } from '../options.js';
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
  spans(): Row[];
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
    spans: () => log.values().flatMap((value) => comparableRows(value)),
  };
}

/** An OTLP request of one resource with these spans, given in the shape of the proto (bytes as buffers). */
export function encodeSpans(spans: readonly object[], service = 'shop'): Buffer {
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: service } }] };
  const request = { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'test' }, spans: [...spans] }] }] };
  return officialEncode(request);
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
