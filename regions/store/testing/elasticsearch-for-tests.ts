import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { RegionId } from '../../../global/model/ids.js';
import { realClock } from '../../../global/runtime/clock.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { type RunningElasticsearch, startElasticsearch } from '../../../scripts/engines/elasticsearch.js';
import { enginesCache } from '../../../scripts/engines/maven-jars.js';
import type { EncodedBlock } from '../../segments/segment.js';
import {
  type ElasticsearchSegmentStore,
  type ElasticsearchSegmentStoreOptions,
  openElasticsearchSegmentStore,
} from '../elasticsearch-segment-store.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './blocks.js';

export const EAST = 'us-east-1' as RegionId;

/** A real node in a temporary folder, and stores on it. */
export class ElasticsearchForTests {
  readonly node: RunningElasticsearch;
  readonly #folder: string;
  readonly #stores: ElasticsearchSegmentStore[] = [];
  #prefixes = 0;

  private constructor(node: RunningElasticsearch, folder: string) {
    this.node = node;
    this.#folder = folder;
  }

  static async start(settings: Readonly<Record<string, string>> = {}): Promise<ElasticsearchForTests> {
    const folder = await mkdtemp(join(tmpdir(), 'meridian-elasticsearch-'));
    const node = await startElasticsearch({ folder, cacheFolder: enginesCache(process.env), settings });
    return new ElasticsearchForTests(node, folder);
  }

  /** Not used before in this node. */
  prefix(): string {
    return `test-${this.#prefixes++}`;
  }

  async open(
    indexPrefix: string,
    options: Partial<ElasticsearchSegmentStoreOptions> = {},
  ): Promise<{ store: ElasticsearchSegmentStore; registry: Registry }> {
    const registry = new Registry();
    const store = await openElasticsearchSegmentStore({
      nodes: [this.node.url],
      indexPrefix,
      replicas: 0,
      clock: realClock,
      logger: silentLogger,
      registry,
      ...options,
    });
    this.#stores.push(store);
    return { store, registry };
  }

  /** Asks the node itself; the answer's status and body. */
  async ask(method: string, path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${this.node.url}${path}`, {
      method,
      ...(body ? { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {}),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  async closeStores(): Promise<void> {
    await Promise.all(this.#stores.splice(0).map((store) => store.close()));
  }

  async stop(): Promise<void> {
    await this.closeStores();
    await this.node.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A block of one span of the trace of that number, with so much text that does not compress. */
export function testBlock(number: number, textBytes = 0, start = BASE + BigInt(number)): Promise<EncodedBlock> {
  const attributes: Record<string, string> = {};
  for (let i = 0; i * 4096 < textBytes; i++) attributes[`text.${i}`] = randomBytes(2048).toString('hex');
  const span = { span: number, service: 'orders', start, attributes };
  return blockOf(EAST, number, [segmentOf(EAST, traceIdOf(number), [span])]);
}

/** The sum of a counter's values whose labels are these. */
export async function counted(registry: Registry, name: string, labels: Record<string, string> = {}): Promise<number> {
  const metric = await registry.getSingleMetric(name)?.get();
  return (metric?.values ?? [])
    .filter((value) => Object.entries(labels).every(([key, text]) => value.labels[key] === text))
    .reduce((sum, { value }) => sum + value, 0);
}
