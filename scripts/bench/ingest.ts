import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import { type BenchResult, type BenchRow, quantileOf, type Spread, spreadOf } from './bench-result.js';
import { forkIngestChild } from './ingest-child.js';
import type { IngestCollectorStart } from './ingest-collector.js';
import { type BatchSender, grpcSender, httpSender, sendOpenLoop, type Target } from './ingest-load.js';
import {
  INGEST_LOAD,
  ingestBatches,
  measureThroughput,
  SPANS_PER_BATCH,
  type ThroughputSettings,
} from './ingest-throughput.js';

const PARTITIONS = 8;

export interface IngestBenchOptions extends ThroughputSettings {
  /** Before the latencies: a collector runs for weeks, and until V8 has compiled it the CPU a span is twice as much and p99 two ms more. */
  readonly latencyWarmupMs: number;
  /** Requests in flight while the throughput is measured. */
  readonly senders: number;
  /** The same for the open loop: enough that a batch hardly ever waits for a free one. */
  readonly openLoopSenders: number;
}

const DEFAULTS: IngestBenchOptions = {
  rounds: 5,
  roundMs: 3000,
  warmupMs: 2000,
  latencyWarmupMs: 12_000,
  senders: 12,
  openLoopSenders: 32,
};

/**
 * OTLP into the embedded log, acknowledged durable (In9): a collector in a process of its own, this process sends. Throughput and CPU a
 * span in a closed loop, then acknowledgement latency in an open loop at half of the throughput asked for, and at half of what was measured.
 */
export async function benchIngest(options: Partial<IngestBenchOptions> = {}): Promise<BenchResult> {
  const settings = { ...DEFAULTS, ...options };
  const batches = ingestBatches();
  const rows = [
    ...(await benchProtocol('OTLP/HTTP', (start) => start.otlpHttp, httpSender, 150_000, 4, batches, settings)),
    ...(await benchProtocol('OTLP/gRPC', (start) => start.otlpGrpc, grpcSender, 100_000, 6, batches, settings)),
  ];
  return { name: 'ingest', requirements: ['In2', 'In9'], rows };
}

async function benchProtocol(
  protocol: string,
  targetOf: (start: IngestCollectorStart) => Target,
  open: (target: Target) => Promise<BatchSender>,
  askedSpansPerSecond: number,
  askedMicrosPerSpan: number,
  batches: readonly Buffer[],
  settings: IngestBenchOptions,
): Promise<BenchRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'meridian-bench-ingest-'));
  const child = forkIngestChild();
  try {
    const start = await child.ask({ type: 'start', log: { folder }, partitions: PARTITIONS }, 'started');
    // Opened for each phase: the collector closes connections that send nothing for some seconds.
    const openAll = (count: number) => Promise.all(Array.from({ length: count }, () => open(targetOf(start))));
    const openLoop = async (spansPerSecond: number, durationMs = settings.roundMs) => {
      const senders = await openAll(settings.openLoopSenders);
      const intervalMs = (SPANS_PER_BATCH / spansPerSecond) * 1000;
      const latenciesMs = await sendOpenLoop(senders, batches, intervalMs, durationMs);
      for (const sender of senders) sender.close();
      return latenciesMs;
    };
    const latency = async (spansPerSecond: number) => {
      const p50: number[] = [];
      const p99: number[] = [];
      for (let round = 0; round < settings.rounds; round++) {
        const latenciesMs = await openLoop(spansPerSecond);
        p50.push(quantileOf(latenciesMs, 0.5));
        p99.push(quantileOf(latenciesMs, 0.99));
      }
      return { p50: spreadOf(p50), p99: spreadOf(p99) };
    };

    // Latency first: full load leaves the disk busy with what it wrote for some time.
    await openLoop(askedSpansPerSecond / 2, settings.latencyWarmupMs);
    const atAsked = await latency(askedSpansPerSecond / 2);

    const closedLoop = await openAll(settings.senders);
    const { spansPerSecond: throughput, microsPerSpan } = await measureThroughput(child, closedLoop, batches, settings);
    for (const sender of closedLoop) sender.close();
    const atMeasured = await latency(throughput.median / 2);
    await child.ask({ type: 'stop' }, 'stopped');
    const row = (what: string, unit: string, measured: Spread, asked: BenchRow['asked'] = null): BenchRow => ({
      what: `${protocol} into the embedded log, acknowledged durable, ${what}`,
      unit,
      measured,
      asked,
    });
    const half = (spansPerSecond: number) => `at ${Math.round(spansPerSecond / 1000)}k spans/s, open loop`;
    return [
      row(INGEST_LOAD, 'spans/s', throughput, { relation: 'at least', value: askedSpansPerSecond }),
      row(
        `CPU (user + system) of the collector process, log included (node ${COLLECTOR_NODE_FLAGS.join(' ')})`,
        'µs/span',
        microsPerSpan,
        {
          relation: 'at most',
          value: askedMicrosPerSpan,
        },
      ),
      row(`acknowledgement p50 ${half(askedSpansPerSecond / 2)}`, 'ms', atAsked.p50),
      row(`acknowledgement p99 ${half(askedSpansPerSecond / 2)}`, 'ms', atAsked.p99, { relation: 'below', value: 10 }),
      row('acknowledgement p50 at half of the measured load, open loop', 'ms', atMeasured.p50),
      row('acknowledgement p99 at half of the measured load, open loop', 'ms', atMeasured.p99),
    ];
  } finally {
    await child.end();
    await rm(folder, { recursive: true, force: true });
  }
}
