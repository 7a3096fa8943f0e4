import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { EncodedBlock } from '../../regions/segments/segment.js';
import { openElasticsearchSegmentStore } from '../../regions/store/elasticsearch-segment-store.js';
import { type RunningElasticsearch, startElasticsearch } from '../engines/elasticsearch.js';
import { type BenchResult, spreadOf } from './bench-result.js';
import { JAEGER_INDEX, jaegerDocuments } from './jaeger-nested.js';
import { cpuMicrosOf } from './process-cpu.js';
import { makeBlock, SPANS_PER_BLOCK } from './sample-blocks.js';

const ROUNDS = 3;
const BLOCKS = 320;
const WARM_UP_BLOCKS = 64;
const WRITES_AT_ONCE = 4;
const BLOCKS_PER_WRITE = 8;
/** Jaeger's is slower by an order: as many as are enough for a stable size. */
const NESTED_BLOCKS = 80;
const UNIQUE = 4;
const BYTES_PER_SPAN = 500;
const DOCUMENTS_PER_BULK = 1_000;

/** The segment store in Elasticsearch, beside Jaeger's nested document per span of the same spans on the same node, in turn. */
export async function benchElasticsearchStore(cacheFolder: string): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-es-'));
  const node = await startElasticsearch({ folder, cacheFolder, onProgress: console.log });
  try {
    const blocks = await Promise.all(
      Array.from({ length: BLOCKS + WARM_UP_BLOCKS }, (_, i) => makeBlock(i, UNIQUE, BYTES_PER_SPAN)),
    );
    const rawBytesPerSpan = blocks.reduce((sum, { rawBytes }) => sum + rawBytes, 0) / (blocks.length * SPANS_PER_BLOCK);
    const encoded = blocks.map(({ block }) => block);
    await writeBlocks(node, 'warm', encoded.slice(BLOCKS));
    await writeNested(
      node,
      'warm-nested',
      blocks.slice(0, 8).flatMap(({ payloads }) => payloads),
    );
    const own: Written[] = [];
    const nested: Written[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      own.push(await writeBlocks(node, `own${round}`, encoded.slice(0, BLOCKS)));
      const payloads = blocks.slice(0, NESTED_BLOCKS).flatMap((made) => made.payloads);
      nested.push(await writeNested(node, `nested-${round}`, payloads));
    }
    const someSpans = blocks.slice(0, NESTED_BLOCKS).flatMap((made) => made.payloads);
    const tight = await writeNested(node, 'nested-tight', someSpans, 'best_compression');
    const ratio = (of: (written: Written) => number) => spreadOf(own.map((mine, i) => of(nested[i]!) / of(mine)));
    const figure = (of: (written: Written) => number) => spreadOf(own.map(of));
    const median = (of: (written: Written) => number) => spreadOf(nested.map(of)).median;
    const spans = `${UNIQUE} unique attribute values a span, ${rawBytesPerSpan.toFixed(0)} B raw`;
    return {
      name: 'elasticsearch',
      requirements: ['St1', 'St3'],
      rows: [
        {
          what: `writing blocks of ${SPANS_PER_BLOCK} spans, ${WRITES_AT_ONCE} writes at once, durable`,
          asked: { relation: 'at least', value: 50_000 },
          unit: 'spans/s',
          measured: figure((written) => written.spansPerSecond),
          comparedWith: `Jaeger's nested documents: ${median((w) => w.spansPerSecond).toFixed(0)} spans/s`,
        },
        {
          what: "the writer's own CPU",
          asked: null,
          unit: 'µs a span',
          measured: figure((written) => written.ownMicrosPerSpan),
        },
        {
          what: `Elasticsearch's CPU, merges included; ${spans}`,
          asked: null,
          unit: 'µs a span',
          measured: figure((written) => written.engineMicrosPerSpan),
          comparedWith: `Jaeger's nested documents: ${median((w) => w.engineMicrosPerSpan).toFixed(0)} µs`,
        },
        {
          what: "that CPU against Jaeger's nested documents",
          asked: { relation: 'at least', value: 12 },
          unit: 'times less',
          measured: ratio((written) => written.engineMicrosPerSpan),
        },
        {
          what: `bytes after merge; ${spans}`,
          asked: null,
          unit: 'B a span',
          measured: figure((written) => written.bytesPerSpan),
          comparedWith: `Jaeger's nested documents: ${median((w) => w.bytesPerSpan).toFixed(0)} B; with best_compression, which Jaeger does not set, ${tight.bytesPerSpan.toFixed(0)} B`,
        },
        {
          what: "those bytes against Jaeger's nested documents",
          asked: { relation: 'at least', value: 4 },
          unit: 'times fewer',
          measured: ratio((written) => written.bytesPerSpan),
        },
      ],
    };
  } finally {
    await node.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Written {
  readonly spansPerSecond: number;
  readonly ownMicrosPerSpan: number;
  readonly engineMicrosPerSpan: number;
  readonly bytesPerSpan: number;
}

async function writeBlocks(
  node: RunningElasticsearch,
  name: string,
  blocks: readonly EncodedBlock[],
): Promise<Written> {
  const store = await openElasticsearchSegmentStore({
    nodes: [node.url],
    indexPrefix: name,
    replicas: 0,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
  });
  try {
    const writes: (readonly EncodedBlock[])[] = [];
    for (let at = 0; at < blocks.length; at += BLOCKS_PER_WRITE) writes.push(blocks.slice(at, at + BLOCKS_PER_WRITE));
    return await measure(node, `${name}-segments-*`, blocks.length * SPANS_PER_BLOCK, async () => {
      const next = writes.values();
      // Each takes the next one of the same iterator.
      await Promise.all(
        Array.from({ length: WRITES_AT_ONCE }, async () => {
          for (const write of next) await store.write(write);
        }),
      );
    });
  } finally {
    await store.close();
  }
}

async function writeNested(
  node: RunningElasticsearch,
  name: string,
  payloads: readonly Buffer[],
  codec = 'default',
): Promise<Written> {
  const settings = { ...JAEGER_INDEX.settings, 'index.codec': codec };
  await ask(node, 'PUT', `/${name}`, JSON.stringify({ ...JAEGER_INDEX, settings }));
  const documents = payloads.flatMap(jaegerDocuments);
  const bulks: string[] = [];
  for (let at = 0; at < documents.length; at += DOCUMENTS_PER_BULK) {
    const lines = documents.slice(at, at + DOCUMENTS_PER_BULK).map((it) => `{"index":{}}\n${JSON.stringify(it)}\n`);
    bulks.push(lines.join(''));
  }
  return measure(node, name, documents.length, async () => {
    const next = bulks.values();
    await Promise.all(
      Array.from({ length: WRITES_AT_ONCE }, async () => {
        for (const bulk of next) {
          const { errors } = (await ask(node, 'POST', `/${name}/_bulk`, bulk)) as { errors: boolean };
          if (errors) throw new Error(`a document of ${name} was refused`);
        }
      }),
    );
  });
}

/** Times `write`; CPU and bytes are those after everything was merged into one. */
async function measure(
  node: RunningElasticsearch,
  index: string,
  spans: number,
  write: () => Promise<void>,
): Promise<Written> {
  const cpu = process.cpuUsage();
  const engineMicros = cpuMicrosOf(node.pid);
  const startMs = performance.now();
  await write();
  const tookMs = performance.now() - startMs;
  const used = process.cpuUsage(cpu);
  await ask(node, 'POST', `/${index}/_forcemerge?max_num_segments=1&flush=true`);
  await ask(node, 'POST', `/${index}/_refresh`);
  const engineUsed = cpuMicrosOf(node.pid) - engineMicros;
  await ask(node, 'PUT', `/${index}/_settings`, '{"index.store.stats_refresh_interval":"0s"}').catch(() => {});
  const stats = (await ask(node, 'GET', `/${index}/_stats/store`)) as { _all: { primaries: { store: StoreStats } } };
  return {
    spansPerSecond: (spans / tookMs) * 1000,
    ownMicrosPerSpan: (used.user + used.system) / spans,
    engineMicrosPerSpan: engineUsed / spans,
    bytesPerSpan: stats._all.primaries.store.size_in_bytes / spans,
  };
}

interface StoreStats {
  readonly size_in_bytes: number;
}

async function ask(node: RunningElasticsearch, method: string, path: string, body?: string): Promise<unknown> {
  const response = await fetch(`${node.url}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body, headers: { 'content-type': path.endsWith('_bulk') ? 'application/x-ndjson' : 'application/json' } }),
    signal: AbortSignal.timeout(300_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
  return JSON.parse(text) as unknown;
}
