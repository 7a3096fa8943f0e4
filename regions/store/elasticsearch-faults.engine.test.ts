import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { EncodedBlock } from '../segments/segment.js';
import { traceIdOf } from './testing/blocks.js';
import { counted, EAST, ElasticsearchForTests, testBlock } from './testing/elasticsearch-for-tests.js';
import { query } from './testing/model.js';

const range = (count: number, first = 0) => Array.from({ length: count }, (_, i) => first + i);

describe('Elasticsearch with too much to do (429)', () => {
  let elasticsearch: ElasticsearchForTests;
  beforeAll(async () => {
    elasticsearch = await ElasticsearchForTests.start();
  });
  afterEach(() => elasticsearch.closeStores());
  afterAll(() => elasticsearch.stop());

  test('whole requests refused: smaller ones go through, and everything is there', async () => {
    await elasticsearch.node.restart({ 'indexing_pressure.memory.limit': '400kb' });
    const { store, registry } = await elasticsearch.open(elasticsearch.prefix());
    const blocks = await Promise.all(range(40).map((number) => testBlock(number, 60_000)));
    await store.write(blocks);
    expect(await counted(registry, 'meridian_store_bulk_rejections_total', { shape: 'request' })).toBeGreaterThan(0);
    for (const number of range(40)) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
  });

  test('a node that refuses everything: unavailable, to be tried again later', async () => {
    await elasticsearch.node.restart({ 'indexing_pressure.memory.limit': '1kb' });
    const { store } = await elasticsearch.open(elasticsearch.prefix(), { writeBudgetMs: 300 });
    await expect(store.write([await testBlock(1, 8_000)])).rejects.toMatchObject({
      code: 'unavailable',
      retry: 'later',
      message: expect.stringContaining('es_rejected_execution_exception'),
    });
    await elasticsearch.node.restart({});
    await store.write([await testBlock(1, 8_000)]);
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
  });

  test('single documents of a bulk refused: only those go again', async () => {
    await elasticsearch.node.restart({ 'node.processors': '1', 'thread_pool.write.queue_size': '1' });
    const { store, registry } = await elasticsearch.open(elasticsearch.prefix(), { shards: 6, bulkBlocksMax: 60 });
    const blocks = await Promise.all(range(240).map((number) => testBlock(number)));
    await Promise.all([store.write(blocks.slice(0, 120)), store.write(blocks.slice(120))]);
    expect(await counted(registry, 'meridian_store_bulk_rejections_total', { shape: 'items' })).toBeGreaterThan(0);
    const found = await Promise.all(
      range(240).map((number) => store.get(EAST, traceIdOf(number), { blocks: [blocks[number]!.id], complete: true })),
    );
    expect(found.map((segments) => segments.length)).toEqual(range(240).map(() => 1));
  });

  test('searches refused: they are tried again', async () => {
    await elasticsearch.node.restart({ 'node.processors': '1', 'thread_pool.search.queue_size': '2' });
    const { store, registry } = await elasticsearch.open(elasticsearch.prefix());
    await store.write(await Promise.all(range(40).map((number) => testBlock(number))));
    await store.get(EAST, traceIdOf(1));
    const request = { query: query({ service: 'orders' }), source: EAST, after: null, limit: 5 };
    const pages = await Promise.all(range(40).map(() => store.search(request, new AbortController().signal)));
    expect(await counted(registry, 'meridian_store_requests_total', { result: 'rejected' })).toBeGreaterThan(0);
    expect(pages.map(({ matches }) => matches.length)).toEqual(range(40).map(() => 5));
  });
});

describe('Elasticsearch that goes away', () => {
  let elasticsearch: ElasticsearchForTests;
  beforeAll(async () => {
    elasticsearch = await ElasticsearchForTests.start();
  });
  afterEach(() => elasticsearch.closeStores());
  afterAll(() => elasticsearch.stop());

  test('killed and started again while blocks are written: everything acknowledged is there, once', async () => {
    const { store } = await elasticsearch.open(elasticsearch.prefix(), { breakerOpenMs: 100 });
    const acknowledged: number[] = [];
    let failures = 0;
    let stopped = false;
    const writer = async (first: number) => {
      for (let number = first; !stopped; number += 4) {
        const block = await testBlock(number, 4_000);
        await untilWritten(block, () => failures++);
        acknowledged.push(number);
      }
    };
    const untilWritten = async (block: EncodedBlock, failed: () => void) => {
      for (;;) {
        try {
          return await store.write([block]);
        } catch (error) {
          expect(error).toMatchObject({ code: 'unavailable', retry: 'later' });
          failed();
          await realClock.sleep(20);
        }
      }
    };
    const writers = [0, 1, 2, 3].map(writer);
    for (let kill = 1; kill <= 2; kill++) {
      const before = acknowledged.length;
      while (acknowledged.length < before + 60) await realClock.sleep(5);
      await elasticsearch.node.kill();
      await elasticsearch.node.restart();
    }
    const before = acknowledged.length;
    while (acknowledged.length < before + 60) await realClock.sleep(5);
    stopped = true;
    await Promise.all(writers);
    expect(failures).toBeGreaterThan(0);
    const missing: number[] = [];
    for (const number of acknowledged) {
      if ((await store.get(EAST, traceIdOf(number))).length !== 1) missing.push(number);
    }
    expect(missing).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(180);
  });

  test('reads fail as unavailable while it is away, at once when the circuit is open, and come back by themselves', async () => {
    const { store, registry } = await elasticsearch.open(elasticsearch.prefix(), {
      breakerOpenMs: 300,
      breakerFailuresMax: 3,
    });
    await store.write([await testBlock(1)]);
    await elasticsearch.node.stop();
    const codes: string[] = [];
    for (let i = 0; i < 6; i++) {
      await store.get(EAST, traceIdOf(1)).catch((error: unknown) => {
        if (error instanceof MeridianError) codes.push(`${error.code} ${error.retry}`);
      });
    }
    expect(codes).toEqual(range(6).map(() => 'unavailable later'));
    expect(await counted(registry, 'meridian_store_requests_total', { result: 'unreachable' })).toBe(3);
    await elasticsearch.node.restart();
    await realClock.sleep(300);
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
  });

  test('a store whose node is away does not open: unavailable', async () => {
    await elasticsearch.node.stop();
    await expect(elasticsearch.open(elasticsearch.prefix())).rejects.toMatchObject({ code: 'unavailable' });
    await elasticsearch.node.restart();
  });
});
