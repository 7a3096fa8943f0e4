import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Registry } from 'prom-client';
import type {
  LogAppender,
  LogConsumers,
  LogOffsets,
  LogReads,
  LogRecord,
  LogSubscription,
  PartitionHandler,
} from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import { ProtoWriter } from '../../global/otlp/proto-writer.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { type Clock, ManualClock, realClock } from '../../global/runtime/clock.js';
import { noCrash } from '../../global/runtime/crash-points.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { keepAll } from '../../global/sampling/sampling-policy.js';
import { createAssembler } from '../../regions/assembler/assembler.js';
import { OPEN_TRACE_OVERHEAD_BYTES } from '../../regions/assembler/open-traces.js';
import type { AssemblerLimits } from '../../regions/assembler/options.js';
import { spansRecordHeaders } from '../../regions/log/spans-record.js';
import { type BenchResult, type BenchRow, formatFigure, runRounds, spreadOf } from './bench-result.js';
import { makeBatch } from './sample-spans.js';

const REGION = 'eu-west-1' as RegionId;
const TOPICS_WITH_ONE_PARTITION = { spans: 1, segments: 1, traceMetadata: 1 };
const SPANS_PER_TRACE = 10;
const TRACES_PER_BATCH = 500;

/**
 * A log that delivers what it is told to, as fast as it is taken, and forgets what is appended: what is measured is the assembler,
 * zstd included, without a disk.
 */
class FeedingLog implements LogAppender, LogConsumers, LogOffsets, LogReads {
  #handler: PartitionHandler | null = null;
  #end = 0;
  appendedBytes = 0;
  #segments = 0;

  subscribe(subscription: LogSubscription): Promise<{ stop(): Promise<void> }> {
    const topic = subscription.topics[0]!;
    this.#handler = subscription.assigned({ topic, partition: 0, startOffset: 0, commit: () => Promise.resolve() });
    return Promise.resolve({ stop: async () => this.#handler?.close('stopped') });
  }

  async deliver(values: readonly Buffer[]): Promise<void> {
    const records = values.map((value): LogRecord => {
      const offset = this.#end++;
      const info = { stamp: { instance: 1, sequence: offset }, receivedMs: Date.now(), collectorId: 'bench' };
      return { key: null, value, headers: spansRecordHeaders(info), offset, appendedMs: info.receivedMs };
    });
    await this.#handler!.records({ topic: TOPICS.spans, partition: 0, records });
  }

  append(
    topic: string,
    _partition: number,
    entries: readonly { value: Uint8Array }[],
  ): Promise<{ firstOffset: number }> {
    for (const { value } of entries) if (topic === TOPICS.segments) this.appendedBytes += value.length;
    if (topic === TOPICS.segments) this.#segments += entries.length;
    return Promise.resolve({ firstOffset: this.#segments - entries.length });
  }

  ends = (topic: string): Promise<readonly number[]> => Promise.resolve([topic === TOPICS.spans ? this.#end : 0]);
  starts = (): Promise<readonly number[]> => Promise.resolve([0]);
  committed = (group: string): Promise<readonly (number | null)[]> =>
    Promise.resolve([group === GROUPS.writer ? this.#segments : null]);
  offsetAt = (): Promise<number> => Promise.resolve(0);
  rewind = (): Promise<void> => Promise.resolve();
  read = (): Promise<readonly LogRecord[]> => Promise.resolve([]);
}

/**
 * Records of 500 traces: the spans of each come in `recordsPerTrace` of them, in turn, as the collectors' gatherings bring them.
 */
function recordsOf(seed: number, recordsPerTrace: number): { records: Buffer[]; spanBytes: number } {
  const spans = TRACES_PER_BATCH * SPANS_PER_TRACE;
  const batch = makeBatch({ spans, seed, tracesPerBatch: TRACES_PER_BATCH });
  const records: Buffer[] = [];
  const perRecord = spans / recordsPerTrace;
  let writer = new ProtoWriter(perRecord * 600);
  let open: number[] = [];
  let index = 0;
  let spanBytes = 0;
  const finish = () => {
    for (const begun of open.reverse()) writer.end(begun);
    records.push(Buffer.from(writer.finish()));
    writer = new ProtoWriter(perRecord * 600);
    open = [];
  };
  forEachSpan(batch, (span) => {
    if (open.length === 0) {
      open.push(writer.begin(1));
      writer.bytesField(1, batch.subarray(span.resourceStart, span.resourceEnd));
      open.push(writer.begin(2));
      writer.bytesField(1, batch.subarray(span.scopeStart, span.scopeEnd));
    }
    writer.bytesField(2, batch.subarray(span.spanStart, span.spanEnd));
    spanBytes += span.spanEnd - span.spanStart;
    if (++index % perRecord === 0) finish();
    return undefined;
  });
  return { records, spanBytes };
}

function assemblerOn(log: FeedingLog, registry: Registry, clock: Clock, limits: Partial<AssemblerLimits>) {
  return createAssembler({
    source: REGION,
    home: REGION,
    log,
    partitions: TOPICS_WITH_ONE_PARTITION,
    policy: keepAll,
    clock,
    logger: silentLogger,
    registry,
    crash: noCrash,
    incarnation: Date.now(),
    limits,
  });
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') return;
  for (let i = 0; i < 4; i++) collect();
}

const OPEN_TRACES = 50_000;

interface OpenMemory {
  /** Of the payloads, with the resource and scope that each fragment repeats. */
  readonly payloadBytes: number;
  /** As V8 counts it: heap and external memory. */
  readonly countedBytes: number;
  /** As the system counts it. */
  readonly residentBytes: number;
}

/** Memory per open trace of ten spans, when 50,000 more are open and announced. */
async function memoryPerOpenTrace(recordsPerTrace: number): Promise<OpenMemory> {
  const log = new FeedingLog();
  const registry = new Registry();
  const clock = new ManualClock(Date.now());
  const assembler = assemblerOn(log, registry, clock, { openBytesMax: 2 ** 33 });
  await assembler.start();
  const deliver = async (seed: number) => {
    await log.deliver(recordsOf(seed, recordsPerTrace).records);
    await clock.advance(10);
  };
  const settled = async () => {
    await clock.advance(300);
    collectGarbage();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { counted: heapUsed + external, resident: rss, payload: await openPayloadBytes(registry) };
  };
  let seed = 0;
  while (seed < 10) await deliver(++seed);
  const before = await settled();
  while (seed < 10 + OPEN_TRACES / TRACES_PER_BATCH) await deliver(++seed);
  const after = await settled();
  await assembler.stop();
  return {
    payloadBytes: (after.payload - before.payload) / OPEN_TRACES,
    countedBytes: (after.counted - before.counted) / OPEN_TRACES,
    residentBytes: (after.resident - before.resident) / OPEN_TRACES,
  };
}

async function gaugeOf(registry: Registry, name: string): Promise<number> {
  const metric = await registry.getSingleMetric(name)?.get();
  return metric?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
}

async function openPayloadBytes(registry: Registry): Promise<number> {
  const traces = await gaugeOf(registry, 'meridian_assembler_open_traces');
  return (await gaugeOf(registry, 'meridian_assembler_open_bytes')) - traces * OPEN_TRACE_OVERHEAD_BYTES;
}

/** Spans per second of one core (user and system time of the whole process, compression included). */
async function throughput(
  batches: readonly (readonly Buffer[])[],
): Promise<{ spansPerSecond: number; storedBytesPerSpan: number }> {
  const log = new FeedingLog();
  const assembler = assemblerOn(log, new Registry(), realClock, { settleMs: 200, blockMs: 200, storeRefreshMs: 0 });
  await assembler.start();
  const started = process.cpuUsage();
  for (const records of batches) {
    for (const record of records) await log.deliver([record]);
    await realClock.sleep(10);
  }
  await assembler.stop();
  const used = process.cpuUsage(started);
  const spans = batches.length * TRACES_PER_BATCH * SPANS_PER_TRACE;
  return {
    spansPerSecond: spans / ((used.user + used.system) / 1e6),
    storedBytesPerSpan: log.appendedBytes / spans,
  };
}

const ROUNDS = 3;

/** Memory per open trace, and spans per second and core from a record of `spans` to a block and its metadata. */
export async function benchAssembler(): Promise<BenchResult> {
  const rows: BenchRow[] = [];
  for (const recordsPerTrace of [1, 5]) {
    const load = `traces of 10 spans of 430 B, each in ${recordsPerTrace} ${recordsPerTrace === 1 ? 'record' : 'records'}`;
    // Once: the figure does not vary, and making the spans takes a while.
    const { payloadBytes, countedBytes, residentBytes } = await memoryPerOpenTrace(recordsPerTrace);
    rows.push({
      what: `memory of an open trace over its bytes, ${load}, 50,000 open`,
      asked: { relation: 'at most', value: 2 },
      unit: 'x',
      measured: spreadOf([countedBytes / payloadBytes]),
      comparedWith: `${formatFigure(countedBytes)} B a trace as V8 counts, ${formatFigure(residentBytes)} B resident, payload ${formatFigure(payloadBytes)} B`,
    });
    const batches = Array.from({ length: 30 }, (_, seed) => recordsOf(seed + 1, recordsPerTrace).records);
    let stored = 0;
    const perSecond = await runRounds({ rounds: ROUNDS }, async () => {
      const { spansPerSecond, storedBytesPerSpan } = await throughput(batches);
      stored = storedBytesPerSpan;
      return spansPerSecond;
    });
    rows.push({
      what: `spans per second of one core (all threads counted), record to block and metadata, ${load}`,
      asked: null,
      unit: 'spans/s',
      measured: perSecond,
      comparedWith: `blocks take ${formatFigure(stored)} B a span`,
    });
  }
  return { name: 'assembler', requirements: ['As1', 'As2'], rows };
}
