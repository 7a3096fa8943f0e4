import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeFeedRecord } from '../../global/index/feed-codec.js';
import { joinMetadata, metadataCounts } from '../../global/index/join.js';
import type { LogRecord, SpanLog } from '../../global/log/span-log.js';
import { regionTopics, TOPICS } from '../../global/log/topics.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { splitByTrace } from '../../global/otlp/split.js';
import { createGrpcRegionClient } from '../../global/region-api/grpc-region-client.js';
import type { MissingPart, RegionClient } from '../../global/region-api/region-client.js';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock as clock } from '../../global/runtime/clock.js';
import { noCrash } from '../../global/runtime/crash-points.js';
import { silentLogger as logger } from '../../global/runtime/logger.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { freeEnginePorts } from '../../scripts/engines/engine-ports.js';
import type { KafkaBroker } from '../../scripts/engines/kafka-broker.js';
import { PEERED_LIVE_LIMITS } from '../api/peered-live.js';
import { brokerForTests, openLogForTests } from '../log/kafka-log-for-tests.js';
import { decodeBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import { NameTable, summarize } from '../segments/summarize.js';
import { createWriter } from '../store/writer.js';
import type { RegionChildOptions, RegionChildReady } from './testing/region-child.js';
import { spanKeysOf, testSpanId, testTraceId, tracesDataOf } from './testing/spans.js';

const REGION = 'eu-west-1' as RegionId;
const PARTITIONS = { spans: 6, segments: 3, traceMetadata: 2 };
const SESSION_MS = 3_000;
const BUDGET_MS = 60_000;
const TRACES = Array.from({ length: 48 }, (_, i) => testTraceId(i + 1));

let broker: KafkaBroker;
let log: SpanLog;
let disposeBroker = async () => {};
const processes: RegionProcess[] = [];
/** Span keys by trace: what the writer stored. */
const stored = new Map<string, string[]>();

const writer = () =>
  createWriter({
    source: REGION,
    home: REGION,
    log,
    store: {
      write: async (blocks: readonly EncodedBlock[]) => {
        // Slow enough that blocks are on their way at every moment.
        await sleep(200);
        for (const { segments } of await Promise.all(blocks.map(decodeBlock))) {
          for (const { metadata, payload } of segments) {
            stored.set(metadata.traceId, [...(stored.get(metadata.traceId) ?? []), ...spanKeysOf(payload)]);
          }
        }
      },
    },
    clock,
    logger,
    registry: new Registry(),
    crash: noCrash,
  });

beforeAll(async () => {
  const started = await brokerForTests();
  broker = started.broker;
  disposeBroker = started.dispose;
  log = await openLogForTests(broker, { entryBytesMax: 4 * 1024 * 1024 });
  const hourMs = 3_600_000;
  await log.ensure(regionTopics(PARTITIONS, { spans: hourMs, views: hourMs }));
});

afterAll(async () => {
  for (const { child } of processes) child.kill('SIGKILL');
  await log?.close();
  await disposeBroker();
});

async function readAllRecords(topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (const [partition, end] of (await log.ends(topic)).entries()) {
    for (let next = 0; next < end; next = records.at(-1)!.offset + 1) {
      records.push(...(await log.read(topic, partition, next, 1024 * 1024)));
    }
  }
  return records;
}

class RegionProcess {
  readonly client: RegionClient;

  private constructor(
    readonly child: ChildProcess,
    readonly otlpHttpPort: number,
    readonly apiPort: number,
  ) {
    this.client = createGrpcRegionClient({ region: REGION, address: `127.0.0.1:${apiPort}`, security: plaintext });
  }

  static async start(name: string, apiPort: number, apiPorts: readonly number[]): Promise<RegionProcess> {
    const options: RegionChildOptions = {
      region: REGION,
      name,
      brokers: broker.brokers,
      partitions: PARTITIONS,
      sessionMs: SESSION_MS,
      apiPort,
      peers: apiPorts.map((port) => `127.0.0.1:${port}`),
    };
    const child = fork(compiledModule('regions/assembler/testing/region-child'), [JSON.stringify(options)]);
    const [ready] = (await once(child, 'message')) as [RegionChildReady];
    const started = new RegionProcess(child, ready.otlpHttpPort, apiPort);
    processes.push(started);
    return started;
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const gone = once(this.child, 'exit');
    this.child.kill(signal);
    await gone;
    this.client.close();
  }
}

/** Sends spans to whoever lives, and remembers what was acknowledged. Nothing is sent a second time. */
class Client {
  readonly acknowledged = new Map<string, number>();
  readonly #stop = new AbortController();
  #span = 0;

  constructor(readonly targets: RegionProcess[]) {}

  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await Promise.all(this.targets.map((target) => this.#send(target)));
      await sleep(20);
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #send({ otlpHttpPort }: RegionProcess): Promise<void> {
    const nowNano = BigInt(Date.now()) * 1_000_000n;
    const spans = Array.from({ length: 8 }, () => {
      const number = ++this.#span;
      return {
        traceId: TRACES[number % TRACES.length]!,
        spanId: testSpanId(number),
        ...(number % 2 ? { parentSpanId: testSpanId(2 ** 40) } : {}),
        service: `service-${number % 3}`,
        name: 'work',
        startUnixNano: nowNano,
        endUnixNano: nowNano + 1_000n,
      };
    });
    try {
      const response = await fetch(`http://127.0.0.1:${otlpHttpPort}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-protobuf' },
        body: tracesDataOf(spans),
        signal: AbortSignal.timeout(10_000),
      });
      await response.arrayBuffer();
      if (!response.ok) return;
      for (const { traceId, spanId } of spans) this.acknowledged.set(`${traceId}/${spanId}`, performance.now());
    } catch {
      // Not acknowledged: it may be in the log, or not.
    }
  }
}

/** Reads trace after trace at each process. An answer that does not say otherwise has everything that it must have. */
class Reader {
  reads = 0;
  readonly wrong: string[] = [];
  readonly missing: MissingPart[] = [];
  readonly #stop = new AbortController();

  constructor(
    readonly client: Client,
    readonly targets: RegionProcess[],
  ) {}

  async run(): Promise<void> {
    for (let i = 0; !this.#stop.signal.aborted; i++) {
      await Promise.all(this.targets.map((target) => this.read(target, TRACES[i % TRACES.length]!)));
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Null where the process went away meanwhile; else whether the answer was whole. */
  async read(target: RegionProcess, traceId: TraceId): Promise<boolean | null> {
    const dueMs = performance.now() - PEERED_LIVE_LIMITS.ageMsMax;
    const due = [...this.client.acknowledged].filter(([key, atMs]) => key.startsWith(traceId) && atMs < dueMs);
    const request = { source: REGION, traceId, blocks: [], bytesMax: 0 };
    const answer = await target.client.getTrace(request, { deadlineMs: 10_000 }).catch(() => null);
    if (!answer) return null;
    this.reads++;
    const found = new Set([
      ...answer.segments.flatMap(({ payload }) => spanKeysOf(payload)),
      ...(stored.get(traceId) ?? []),
    ]);
    this.missing.push(...answer.missing);
    const lost = due.filter(([key]) => !found.has(key)).map(([key]) => key);
    if (lost.length > 0 && answer.missing.length === 0) this.wrong.push(...lost);
    return answer.missing.length === 0;
  }

  /** Resolves when each trace was read whole at each of the processes. */
  async allWhole(): Promise<void> {
    const untilMs = performance.now() + BUDGET_MS;
    const whole = async (target: RegionProcess, traceId: TraceId) => {
      while (!(await this.read(target, traceId))) {
        if (performance.now() > untilMs) throw new Error(`never whole again: ${JSON.stringify(this.missing.at(-1))}`);
        await sleep(50);
      }
    };
    await Promise.all(this.targets.flatMap((target) => TRACES.map((traceId) => whole(target, traceId))));
  }
}

/** Of what one record of `spans` holds. */
function metadataOf(record: Buffer): TraceMetadata[] {
  const names = new NameTable(100);
  return splitByTrace(record).map(({ traceId, bytes }) =>
    summarize(bytes, { traceId, region: REGION, receivedMs: 0, names, onOperation: () => {} }),
  );
}

/** By trace, by the law of the index. */
function spanCounts(all: readonly TraceMetadata[]): Map<string, number> {
  const index = new Map<string, TraceMetadata>();
  for (const trace of all) {
    const known = index.get(trace.traceId);
    index.set(trace.traceId, known ? joinMetadata(known, trace) : trace);
  }
  return new Map(TRACES.map((traceId) => [traceId, metadataCounts(index.get(traceId)!).spanCount]));
}

test('two processes of a region: one is killed, comes back, the other leaves in order; nothing is lost, hidden or counted twice', async () => {
  const apiPorts = await freeEnginePorts(2);
  const [portA, portB] = apiPorts as [number, number];
  const writing = writer();
  await writing.start();
  const a = await RegionProcess.start('a', portA, apiPorts);
  const b = await RegionProcess.start('b', portB, apiPorts);
  const living = [a, b];
  const client = new Client(living);
  const sending = client.run();
  const reader = new Reader(client, living);
  await reader.allWhole();
  const reading = reader.run();
  const until = async (condition: () => boolean, what: string) => {
    for (const endMs = performance.now() + BUDGET_MS; !condition(); await sleep(20)) {
      if (performance.now() > endMs) throw new Error(`it never came to this: ${what}`);
    }
  };
  const acknowledged = (more: number) => {
    const enough = client.acknowledged.size + more;
    return until(() => client.acknowledged.size >= enough, `${more} more spans`);
  };
  await acknowledged(1_000);

  living.splice(living.indexOf(b), 1);
  const partial = reader.missing.length;
  await b.end('SIGKILL');
  await until(() => reader.missing.length > partial, 'an answer that names what is missing');
  expect(reader.missing.at(-1)).toMatchObject({
    part: 'assembler',
    reason: expect.stringMatching(/^partition \d of spans is /),
  });
  await reader.allWhole();
  await acknowledged(500);

  living.push(await RegionProcess.start('b2', portB, apiPorts));
  await reader.allWhole();
  await acknowledged(500);

  living.splice(living.indexOf(a), 1);
  await a.end('SIGTERM');
  await reader.allWhole();
  await acknowledged(500);

  client.stop();
  reader.stop();
  await Promise.all([sending, reading]);
  await sleep(PEERED_LIVE_LIMITS.ageMsMax + 1);
  await reader.allWhole();
  expect(reader.wrong).toEqual([]);

  // All is in blocks and stored; and the index counts each span of the log once, whoever told of it.
  await living[0]!.end('SIGTERM');
  const records = (await readAllRecords(TOPICS.spans)).map(({ value }) => Buffer.from(value));
  const inLog = records.flatMap(spanKeysOf);
  expect([...client.acknowledged.keys()].filter((key) => !inLog.includes(key))).toEqual([]);
  const allStored = () => new Set([...stored.values()].flat());
  await until(() => allStored().size >= new Set(inLog).size, 'everything is stored');
  await writing.stop();
  expect(allStored()).toEqual(new Set(inLog));
  const feed = (await readAllRecords(TOPICS.traceMetadata)).map(({ value }) => decodeFeedRecord(Buffer.from(value)));
  expect(spanCounts(feed.flatMap(({ traces }) => traces))).toEqual(spanCounts(records.flatMap(metadataOf)));
}, 300_000);
