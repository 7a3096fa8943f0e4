import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { LogEntry, SpanLog } from '../../global/log/span-log.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { openSqliteSpanLog } from '../../regions/log/sqlite-span-log.js';
import { type BenchResult, type BenchRow, quantileOf, type Spread, spreadOf } from './bench-result.js';

const SPAN_BYTES = 430;
const PARTITIONS = 8;
const TOPIC = 'spans';
/** What the collector is asked to take, spans a second, and how long it gathers. */
const ASKED_SPANS = 150_000;
const GATHER_MS = 10;
const ROUNDS = 5;
/** Noise that does not compress: the log must not be fast by luck. */
const NOISE = noise(4 * 1024 * 1024);

/** The embedded log alone: appends as fast as they go, acknowledgement and delivery at half the asked load, catching up. */
export async function benchLog(): Promise<BenchResult> {
  const full = await rounds(() => fullSpeed());
  const small = await rounds(() => fullSpeed(4_000));
  const half = await rounds(() => halfLoad());
  const reading = await rounds(() => catchUp());
  const file = spreadOf(Array.from({ length: ROUNDS }, () => plainFile().cpuNsPerByte));
  const load = `${(ASKED_SPANS / 2000).toFixed(0)}k spans/s of ${SPAN_BYTES} B in records of ${halfLoadBytes()} B over ${PARTITIONS} partitions`;
  const rows: BenchRow[] = [
    row('durable appends, records of 220 kB, 4 callers', 'MB/s', full('mbPerSecond'), {
      relation: 'at least',
      value: 65,
    }),
    {
      ...row('the same, CPU of the process per byte', 'ns', full('cpuNsPerByte'), { relation: 'at most', value: 4 }),
      comparedWith: `write and fdatasync of a plain file: ${file.median.toFixed(2)} ns`,
    },
    row(`the same, CPU per span of ${SPAN_BYTES} B`, 'µs', scaled(full('cpuNsPerByte'), SPAN_BYTES / 1000), {
      relation: 'at most',
      value: 2,
    }),
    row('durable appends, records of 4 kB, 64 callers', 'MB/s', small('mbPerSecond'), null),
    row(`acknowledgement p50 at ${load}`, 'ms', half('ackP50'), null),
    {
      ...row('acknowledgement p99 at that load', 'ms', half('ackP99'), { relation: 'below', value: 10 }),
      comparedWith: `a plain file, write and fdatasync of the same bytes every ${GATHER_MS} ms: ${half('fileP99').median.toFixed(1)} ms`,
    },
    row('append to delivered to a consumer group, p99, at that load', 'ms', half('deliveredP99'), null),
    row('CPU per span at that load, appended, delivered and committed', 'µs', half('cpuUsPerSpan'), null),
    row('a group that catches up', 'MB/s', reading('mbPerSecond'), null),
    row('a group that catches up, CPU per byte', 'ns', reading('cpuNsPerByte'), null),
  ];
  return { name: 'log', requirements: ['In2', 'In9', 'Lo6'], rows };
}

function row(what: string, unit: string, measured: Spread, asked: BenchRow['asked']): BenchRow {
  return { what, unit, measured, asked };
}

function scaled(spread: Spread, by: number): Spread {
  return { ...spread, median: spread.median * by, min: spread.min * by, max: spread.max * by };
}

/** Runs a benchmark some times after one for nothing, and gives the spread of each of its figures. */
async function rounds<K extends string>(run: () => Promise<Record<K, number>>): Promise<(figure: K) => Spread> {
  await run();
  const results: Record<K, number>[] = [];
  for (let i = 0; i < ROUNDS; i++) results.push(await run());
  return (figure) => spreadOf(results.map((result) => result[figure]));
}

async function withLog<T>(work: (log: SpanLog) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-log-'));
  const log = await openSqliteSpanLog({ folder, clock: realClock, logger: silentLogger, registry: new Registry() });
  try {
    await log.ensure([{ name: TOPIC, partitions: PARTITIONS, retentionMs: 3_600_000, compacted: false }]);
    return await work(log);
  } finally {
    await log.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function entry(bytes: number, at: number): LogEntry {
  const from = at % (NOISE.length - bytes);
  return { key: null, value: NOISE.subarray(from, from + bytes), headers: { meridian: NOISE.subarray(0, 24) } };
}

function measureCpu(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
}

function fullSpeed(recordBytes = 220_000) {
  const callers = recordBytes > 100_000 ? 4 : 64;
  const totalBytes = recordBytes > 100_000 ? 300e6 : 60e6;
  return withLog(async (log) => {
    const perCaller = Math.ceil(totalBytes / recordBytes / callers);
    const cpu = measureCpu();
    const start = performance.now();
    const call = async (caller: number) => {
      for (let i = 0; i < perCaller; i++) await log.append(TOPIC, caller % PARTITIONS, [entry(recordBytes, i * 977)]);
    };
    await Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)));
    const bytes = perCaller * callers * recordBytes;
    return { mbPerSecond: bytes / (performance.now() - start) / 1000, cpuNsPerByte: (cpu() * 1000) / bytes };
  });
}

function halfLoadBytes(): number {
  return Math.round(((ASKED_SPANS / 2) * SPAN_BYTES * GATHER_MS) / 1000 / PARTITIONS);
}

/** Open loop: gatherings come every 10 ms whatever the log does; the latency is from the time at which one was due. */
function halfLoad() {
  const seconds = 4;
  const recordBytes = halfLoadBytes();
  return withLog(async (log) => {
    const acks: number[] = [];
    const delivered: number[] = [];
    const dueMs = new Map<string, number>();
    let resolveAll: () => void = () => {};
    const all = new Promise<void>((resolve) => {
      resolveAll = resolve;
    });
    const gatherings = (seconds * 1000) / GATHER_MS;
    const subscription = await log.subscribe({
      group: 'bench',
      topics: [TOPIC],
      from: 'earliest',
      batchBytesMax: 1024 * 1024,
      assigned: (assignment) => ({
        records: async ({ partition, records }) => {
          const nowMs = performance.now();
          for (const { offset } of records) delivered.push(nowMs - dueMs.get(`${partition}/${offset}`)!);
          void assignment.commit(records.at(-1)!.offset + 1);
          if (delivered.length === gatherings * PARTITIONS) resolveAll();
        },
        close: async () => {},
      }),
    });
    const cpu = measureCpu();
    const startMs = performance.now();
    const appends: Promise<void>[] = [];
    for (let i = 0; i < gatherings; i++) {
      const due = startMs + i * GATHER_MS;
      await realClock.sleep(Math.max(0, due - performance.now()));
      for (let partition = 0; partition < PARTITIONS; partition++) {
        dueMs.set(`${partition}/${i}`, due);
        const append = log.append(TOPIC, partition, [entry(recordBytes, i * 977)]);
        appends.push(append.then(() => void acks.push(performance.now() - due)));
      }
    }
    await Promise.all(appends);
    await all;
    const spans = (gatherings * PARTITIONS * recordBytes) / SPAN_BYTES;
    const cpuUsPerSpan = cpu() / spans;
    await subscription.stop();
    return {
      fileP99: await plainFileP99(recordBytes * PARTITIONS),
      ackP50: quantileOf(acks, 0.5),
      ackP99: quantileOf(acks, 0.99),
      deliveredP99: quantileOf(delivered, 0.99),
      cpuUsPerSpan,
    };
  });
}

function catchUp() {
  const recordBytes = 40_000;
  const records = 4_000;
  return withLog(async (log) => {
    for (let i = 0; i < records; i += 16) {
      const some = Array.from({ length: 16 }, (_, j) => entry(recordBytes, (i + j) * 977));
      await log.append(TOPIC, (i / 16) % PARTITIONS, some);
    }
    let seen = 0;
    const cpu = measureCpu();
    const start = performance.now();
    await new Promise<void>((resolve, reject) => {
      const handler = () => ({
        records: async (batch: { readonly records: readonly unknown[] }) => {
          seen += batch.records.length;
          if (seen === records) resolve();
        },
        close: async () => {},
      });
      const subscription = { group: 'late', topics: [TOPIC], from: 'earliest', batchBytesMax: 1024 * 1024 } as const;
      log.subscribe({ ...subscription, assigned: handler }).catch(reject);
    });
    const bytes = records * recordBytes;
    return { mbPerSecond: bytes / (performance.now() - start) / 1000, cpuNsPerByte: (cpu() * 1000) / bytes };
  });
}

function plainFile() {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-file-'));
  const file = openSync(join(folder, 'file'), 'w');
  const value = NOISE.subarray(0, 880_000);
  const cpu = measureCpu();
  const writes = 300;
  for (let i = 0; i < writes; i++) {
    writeSync(file, value);
    fdatasyncSync(file);
  }
  const cpuNsPerByte = (cpu() * 1000) / (writes * value.length);
  closeSync(file);
  rmSync(folder, { recursive: true });
  return { cpuNsPerByte };
}

/** What the disk itself does to an open loop of the same load at about the same time: the machine's noise. */
async function plainFileP99(bytes: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-file-'));
  const file = openSync(join(folder, 'file'), 'w');
  const latencies: number[] = [];
  const startMs = performance.now();
  for (let i = 0; i < 200; i++) {
    const due = startMs + i * GATHER_MS;
    await realClock.sleep(Math.max(0, due - performance.now()));
    writeSync(file, NOISE, (i * 977) % (NOISE.length - bytes), bytes);
    fdatasyncSync(file);
    latencies.push(performance.now() - due);
  }
  closeSync(file);
  rmSync(folder, { recursive: true });
  return quantileOf(latencies, 0.99);
}

function noise(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = 0x2545f491;
  for (let i = 0; i < bytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    buffer[i] = state & 0xff;
  }
  return buffer;
}
