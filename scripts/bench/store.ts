import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Registry } from 'prom-client';
import type { SpanQuery } from '../../global/model/query.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { EncodedBlock } from '../../regions/segments/segment.js';
import { openSqliteSegmentStore, type SqliteSegmentStore } from '../../regions/store/sqlite-segment-store.js';
import { type BenchResult, type BenchRow, quantileOf, spreadOf } from './bench-result.js';
import { BLOCK_EVERY_NANOS, makeBlock, SAMPLE_SOURCE, type SampledTrace, SPANS_PER_BLOCK } from './sample-blocks.js';
import { mulberry32, SAMPLE_START_UNIX_NANO } from './sample-spans.js';

export interface StoreBenchOptions {
  /** Spans in the store while it is searched. Default 1,000,000. */
  readonly spans?: number;
  /** Timed passes over each kind of question. Default 5. */
  readonly rounds?: number;
}

const BLOCKS_PER_WRITE = 8;
/** Blocks made ahead, so that making them is not timed. */
const BLOCKS_PER_CHUNK = 32 * BLOCKS_PER_WRITE;
const QUESTIONS_PER_ROUND = 60;
const UNLIMITED = new AbortController().signal;

interface Loaded {
  readonly store: SqliteSegmentStore;
  readonly folder: string;
  readonly spans: number;
  readonly rawBytes: number;
  readonly samples: readonly SampledTrace[];
  readonly spansPerSecond: number;
  readonly cpuMicrosPerSpan: number;
  readonly loopDelayMs: number;
}

/** The embedded segment store: size, writing, reading by id, searching. */
export async function benchStore(options: StoreBenchOptions = {}): Promise<BenchResult> {
  const spans = options.spans ?? 1_000_000;
  const rounds = options.rounds ?? 5;
  const rows: BenchRow[] = [];
  const small = Math.ceil(spans / 5);
  for (const [what, unique, bytesPerSpan, asked, count] of [
    ['ordinary spans (10 attributes, 1 unique)', 1, 430, 20, small],
    ['spans with 4 unique attribute values', 4, 500, 25, spans],
  ] as const) {
    const loaded = await load(count, unique, bytesPerSpan);
    try {
      if (count === spans) {
        rows.push(...writeRows(loaded));
        rows.push(...(await readRows(loaded, rounds)));
      }
      await loaded.store.close();
      rows.unshift(sizeRow(what, asked, loaded));
    } finally {
      await loaded.store.close();
      rmSync(loaded.folder, { recursive: true, force: true });
    }
  }
  return { name: 'store', requirements: ['St2', 'St6', 'Ro1'], rows };
}

async function load(spanCount: number, unique: number, bytesPerSpan: number): Promise<Loaded> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-store-'));
  const store = await openSqliteSegmentStore({
    folder,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
  });
  const blocks = Math.ceil(spanCount / SPANS_PER_BLOCK);
  const samples: SampledTrace[] = [];
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let rawBytes = 0;
  let writeMs = 0;
  let cpuMicros = 0;
  for (let first = 0; first < blocks; first += BLOCKS_PER_CHUNK) {
    const chunk: EncodedBlock[] = [];
    for (let i = first; i < Math.min(blocks, first + BLOCKS_PER_CHUNK); i++) {
      const made = await makeBlock(i, unique, bytesPerSpan);
      chunk.push(made.block);
      rawBytes += made.rawBytes;
      samples.push(made.sample);
    }
    const cpu = process.cpuUsage();
    const startMs = realClock.monotonicMs();
    delay.enable();
    for (let at = 0; at < chunk.length; at += BLOCKS_PER_WRITE) {
      await store.write(chunk.slice(at, at + BLOCKS_PER_WRITE));
    }
    delay.disable();
    writeMs += realClock.monotonicMs() - startMs;
    const used = process.cpuUsage(cpu);
    cpuMicros += used.user + used.system;
  }
  const spans = blocks * SPANS_PER_BLOCK;
  return {
    store,
    folder,
    spans,
    rawBytes,
    samples,
    spansPerSecond: (spans / writeMs) * 1000,
    cpuMicrosPerSpan: cpuMicros / spans,
    loopDelayMs: delay.percentile(99) / 1e6,
  };
}

function sizeRow(what: string, asked: number, { folder, spans, rawBytes }: Loaded): BenchRow {
  const stored = readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
  return {
    what: `store size with indexes, ${what}, blocks of ${SPANS_PER_BLOCK} spans`,
    asked: { relation: 'at most', value: asked },
    unit: '% of the raw span bytes',
    measured: spreadOf([(100 * stored) / rawBytes]),
    comparedWith: `${(stored / spans).toFixed(1)} B of ${(rawBytes / spans).toFixed(0)} B a span`,
  };
}

function writeRows({ spansPerSecond, cpuMicrosPerSpan, loopDelayMs }: Loaded): BenchRow[] {
  const load = `${BLOCKS_PER_WRITE} blocks a call, one call at a time, durable`;
  return [
    { what: `writing, ${load}`, asked: null, unit: 'spans/s', measured: spreadOf([spansPerSecond]) },
    { what: `CPU of writing, ${load}`, asked: null, unit: 'µs a span', measured: spreadOf([cpuMicrosPerSpan]) },
    { what: 'event loop delay p99 while writing', asked: null, unit: 'ms', measured: spreadOf([loopDelayMs]) },
  ];
}

async function readRows({ store, samples, spans }: Loaded, rounds: number): Promise<BenchRow[]> {
  const random = mulberry32(42);
  const any = () => samples[Math.floor(random() * samples.length)]!;
  const over = `over ${(spans / 1e6).toFixed(1)}M spans`;
  const services = ['gateway', 'orders', 'payments'];
  const service = () => services[Math.floor(random() * services.length)]!;
  const row = async (what: string, askedMs: number | null, quantile: number, ask: () => Promise<number>) => {
    const values: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const times: number[] = [];
      for (let i = 0; i < QUESTIONS_PER_ROUND; i++) {
        const startMs = realClock.monotonicMs();
        const found = await ask();
        times.push(realClock.monotonicMs() - startMs);
        if (found === 0) throw new Error(`${what}: found nothing`);
      }
      values.push(quantileOf(times, quantile));
    }
    const asked = askedMs === null ? null : ({ relation: 'below', value: askedMs } as const);
    return { what: `${what}, ${over}, p${quantile * 100}`, asked, unit: 'ms', measured: spreadOf(values) };
  };
  const search = async (conditions: Partial<SpanQuery>) => {
    const query = { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 1n << 63n, ...conditions };
    return (await store.search({ query, source: SAMPLE_SOURCE, after: null, limit: 20 }, UNLIMITED)).matches.length;
  };
  const window = () => {
    const at = Math.floor(random() * samples.length);
    return { startUnixNanoMax: SAMPLE_START_UNIX_NANO + BigInt(at) * BLOCK_EVERY_NANOS + 4_000_000_000n };
  };
  const attribute = (key: string, value: string) => ({ attributes: [{ key, value }] });
  const get = async ({ traceId, block }: SampledTrace, hinted: boolean) =>
    (await store.get(SAMPLE_SOURCE, traceId, hinted ? { blocks: [block], complete: true } : undefined)).length;
  return [
    await row('by id, with the block known', 10, 0.95, () => get(any(), true)),
    await row('by id, without a hint', 10, 0.95, () => get(any(), false)),
    await row('search by service, newest', 200, 0.5, () => search({ service: service() })),
    await row('search by service, any time', 200, 0.95, () => search({ service: service(), ...window() })),
    await row('search by service and error', 200, 0.95, () => search({ service: service(), error: true, ...window() })),
    await row('search by rare attribute', 200, 0.5, () => search(attribute('request.id', any().requestId))),
    await row('search by rare attribute', 200, 0.95, () => search(attribute('request.id', any().requestId))),
    await row('search by an attribute that no span has', null, 0.95, async () => {
      return 1 + (await search(attribute('request.id', `none-${random()}`)));
    }),
    await row('search by a duration that no span has', null, 0.95, async () => {
      return 1 + (await search({ durationNanoMin: 90_000_000n }));
    }),
  ];
}
