import { randomInt } from 'node:crypto';
import { Registry } from 'prom-client';
import { TOPICS } from '../../global/log/topics.js';
import { parseRegionId } from '../../global/model/ids.js';
import { DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from '../../global/otlp/redact.js';
import { PATTERN_NAMES } from '../../global/otlp/redact-text.js';
import { type ListenAddress, plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { noCrash } from '../../global/runtime/crash-points.js';
import { createLogger } from '../../global/runtime/logger.js';
import { createCollector } from '../../regions/collector/collector.js';
import { openKafkaSpanLog } from '../../regions/log/kafka-span-log.js';
import { openSqliteSpanLog } from '../../regions/log/sqlite-span-log.js';

/**
 * The process that `ingest.ts` and `kafka-ingest.ts` measure: a collector and its log, nothing else. Speaks over the channel of `fork`: one reply for
 * each request, in order. It ends when the channel closes.
 */
export type IngestCollectorRequest =
  | { readonly type: 'start'; readonly log: IngestLog; readonly partitions: number }
  | { readonly type: 'usage' }
  | { readonly type: 'stop' };

/** The embedded log in that folder, or Kafka at that `host:port`. */
export type IngestLog = { readonly folder: string } | { readonly broker: string };

export interface IngestCollectorStart {
  readonly otlpGrpc: ListenAddress;
  readonly otlpHttp: ListenAddress;
}

export type IngestCollectorReply =
  | ({ readonly type: 'started' } & IngestCollectorStart)
  /** User and system time of the whole process since its start, all threads. */
  | { readonly type: 'usage'; readonly cpuMicros: number; readonly metrics: string }
  | { readonly type: 'stopped' };

const LOOPBACK: ListenAddress = { host: '127.0.0.1', port: 0 };
const HOUR_MS = 3_600_000;

const registry = new Registry();
let stop: () => Promise<void> = async () => {};

async function start(where: IngestLog, partitions: number): Promise<IngestCollectorReply> {
  const logger = createLogger('bench-ingest', 'error');
  const common = { clock: realClock, logger, registry };
  const log =
    'folder' in where
      ? await openSqliteSpanLog({ ...common, folder: where.folder })
      : await openKafkaSpanLog({ ...common, brokers: [where.broker], clientId: 'bench' });
  await log.ensure([{ name: TOPICS.spans, partitions, retentionMs: HOUR_MS, compacted: false }]);
  const collector = createCollector({
    region: parseRegionId('bench-1')!,
    collectorId: 'bench',
    log,
    partitionCount: partitions,
    listen: { otlpGrpc: LOOPBACK, otlpHttp: LOOPBACK, zipkin: LOOPBACK, jaegerThrift: LOOPBACK },
    redaction: {
      dropKeys: DROP_KEYS_DEFAULT,
      maskKeys: MASK_KEYS_DEFAULT,
      patterns: PATTERN_NAMES,
      maskSecret: Buffer.alloc(32, 1),
    },
    clock: realClock,
    logger,
    registry,
    crash: noCrash,
    security: plaintext,
    random32: () => randomInt(2 ** 32),
  });
  await collector.start();
  stop = async () => {
    await collector.stop();
    await log.close();
  };
  const { otlpGrpc, otlpHttp } = collector.addresses;
  return { type: 'started', otlpGrpc, otlpHttp };
}

async function answer(request: IngestCollectorRequest): Promise<IngestCollectorReply> {
  if (request.type === 'start') return start(request.log, request.partitions);
  if (request.type === 'usage') {
    const { user, system } = process.cpuUsage();
    return { type: 'usage', cpuMicros: user + system, metrics: await registry.metrics() };
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
