import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import { startKafka } from '../engines/kafka-broker.js';
import { type BenchResult, type BenchRow, formatFigure, type Spread } from './bench-result.js';
import { forkIngestChild, type IngestChild } from './ingest-child.js';
import type { IngestCollectorStart } from './ingest-collector.js';
import { type BatchSender, grpcSender, httpSender, type Target } from './ingest-load.js';
import { INGEST_LOAD, ingestBatches, measureThroughput, type ThroughputSettings } from './ingest-throughput.js';

const PARTITIONS = 8;

export interface KafkaIngestOptions extends ThroughputSettings {
  /** Requests in flight. */
  readonly senders: number;
  /** Where the jars of Kafka are kept: `enginesCache(environment)`. */
  readonly enginesCacheFolder: string;
  readonly onProgress: (line: string) => void;
}

const DEFAULTS: Omit<KafkaIngestOptions, 'enginesCacheFolder'> = {
  rounds: 5,
  roundMs: 3000,
  // Until V8 has compiled the collector, the CPU a span is twice as much.
  warmupMs: 8000,
  senders: 24,
  onProgress: () => {},
};

interface Measured {
  readonly spansPerSecond: Spread;
  readonly microsPerSpan: Spread;
}

/**
 * OTLP to acknowledged in a real Kafka broker of this machine, in a closed loop: one collector process, this process sends; beside it in the
 * same run the plain way (kafka-plain-collector.ts). The CPU is that of the collector's process, Kafka's client in it.
 */
export async function benchKafkaIngest(
  options: Partial<KafkaIngestOptions> & Pick<KafkaIngestOptions, 'enginesCacheFolder'>,
): Promise<BenchResult> {
  const settings = { ...DEFAULTS, ...options };
  const folder = await mkdtemp(join(tmpdir(), 'meridian-bench-kafka-'));
  try {
    const broker = await startKafka({
      folder,
      cacheFolder: settings.enginesCacheFolder,
      onProgress: settings.onProgress,
    });
    try {
      const ours = 'scripts/bench/ingest-collector';
      const measure = (module: string, targetOf: (start: IngestCollectorStart) => Target, open: OpenSender) =>
        measureCollector(forkIngestChild(module), broker.brokers, targetOf, open, settings);
      const http = await measure(ours, (start) => start.otlpHttp, httpSender);
      const plain = await measure('scripts/bench/kafka-plain-collector', (start) => start.otlpHttp, httpSender);
      const grpc = await measure(ours, (start) => start.otlpGrpc, grpcSender);
      return { name: 'kafka-ingest', requirements: ['In2', 'In9', 'Lo3'], rows: rowsOf(http, plain, grpc) };
    } finally {
      await broker.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type OpenSender = (target: Target) => Promise<BatchSender>;

async function measureCollector(
  child: IngestChild,
  broker: string,
  targetOf: (start: IngestCollectorStart) => Target,
  open: OpenSender,
  settings: KafkaIngestOptions,
): Promise<Measured> {
  try {
    const start = await child.ask({ type: 'start', log: { broker }, partitions: PARTITIONS }, 'started');
    const senders = await Promise.all(Array.from({ length: settings.senders }, () => open(targetOf(start))));
    const measured = await measureThroughput(child, senders, ingestBatches(), settings);
    for (const sender of senders) sender.close();
    await child.ask({ type: 'stop' }, 'stopped');
    return measured;
  } finally {
    await child.end();
  }
}

function rowsOf(http: Measured, plain: Measured, grpc: Measured): BenchRow[] {
  const of = (way: string, what: string) => `${way} to acknowledged in Kafka, ${what}`;
  const cpu = `CPU (user + system) of the collector process (node ${COLLECTOR_NODE_FLAGS.join(' ')})`;
  const plainWay = 'the plain way (protobufjs, a record per trace, kafkajs’s producer)';
  const than = (figure: (measured: Measured) => Spread, unit: string) =>
    `${plainWay}: ${formatFigure(figure(plain).median)} ${unit}`;
  return [
    {
      what: of('OTLP/HTTP', cpu),
      asked: { relation: 'at most', value: 3 },
      unit: 'µs/span',
      measured: http.microsPerSpan,
      comparedWith: than((measured) => measured.microsPerSpan, 'µs/span'),
    },
    {
      what: of('OTLP/HTTP', `${INGEST_LOAD}, ${PARTITIONS} partitions, lz4`),
      asked: { relation: 'at least', value: 250_000 },
      unit: 'spans/s',
      measured: http.spansPerSecond,
      comparedWith: than((measured) => measured.spansPerSecond, 'spans/s'),
    },
    {
      what: of('OTLP/gRPC', cpu),
      asked: { relation: 'at most', value: 5 },
      unit: 'µs/span',
      measured: grpc.microsPerSpan,
    },
    { what: of('OTLP/gRPC', INGEST_LOAD), asked: null, unit: 'spans/s', measured: grpc.spansPerSecond },
    { what: of('OTLP/HTTP', `${plainWay}, CPU`), asked: null, unit: 'µs/span', measured: plain.microsPerSpan },
  ];
}
