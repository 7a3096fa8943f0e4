import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { type RunningElasticsearch, startElasticsearch } from '../../scripts/engines/elasticsearch.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { type RunningS3Server, startS3Server } from '../../scripts/engines/s3-server.js';
import { ColdTier } from './cold-tier.js';
import { openElasticsearchSegmentStore } from './elasticsearch-segment-store.js';
import { openS3Storage } from './s3-object-storage.js';
import { segmentStoreContract } from './segment-store.contract.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { query } from './testing/model.js';
import { demotingAtOnce, never, openTiered, writeAndKill } from './testing/tiered-for-tests.js';
import { createTieredSegmentStore } from './tiered-segment-store.js';

const EAST = 'us-east-1' as RegionId;
const HOUR = 3_600_000_000_000n;

let folder: string;
let s3: RunningS3Server;
let node: RunningElasticsearch;
let made = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meridian-tiers-'));
  const cacheFolder = enginesCache(process.env);
  s3 = await startS3Server({ folder: join(folder, 's3'), cacheFolder, buckets: ['traces'] });
  node = await startElasticsearch({ folder: join(folder, 'elasticsearch'), cacheFolder });
});
afterAll(async () => {
  await node?.stop();
  await s3?.stop();
  await rm(folder, { recursive: true, force: true });
});

const openS3 = (prefix: string) =>
  openS3Storage({
    bucket: 'traces',
    prefix,
    endpoint: s3.endpoint,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });

async function openBoth(name: string) {
  const shared = { clock: realClock, logger: silentLogger, registry: new Registry() };
  const hot = await openElasticsearchSegmentStore({ nodes: [node.url], indexPrefix: name, replicas: 0, ...shared });
  const cold = new ColdTier({ storage: await openS3(name), listKnownMs: 0, ...shared });
  return { hot, cold, store: createTieredSegmentStore({ hot, aged: hot.aged, cold, clock: realClock }) };
}

segmentStoreContract('embedded store and S3', async () => {
  const name = `embedded-${made++}`;
  return {
    open: async () => demotingAtOnce((await openTiered(join(folder, name), await openS3(name))).store),
    writeAndKill: (blocks) => writeAndKill(join(folder, name), blocks),
    eventually: (check) => check(),
    dispose: () => rm(join(folder, name), { recursive: true, force: true }),
  };
});

describe('Elasticsearch and S3', () => {
  const one = (number: number, hours: number) =>
    blockOf(EAST, number, [
      segmentOf(EAST, traceIdOf(number), [{ span: number, service: 'orders', start: BASE + BigInt(hours) * HOUR }]),
    ]);
  const indices = async (name: string) =>
    Object.keys((await (await fetch(`${node.url}/${name}-segments-*`)).json()) as object).sort();
  const all = { query: query(), source: EAST, after: null, limit: 100 };

  test('old indices become warm, their blocks move to the cold tier, empty indices go; reads see no difference', async () => {
    const name = `aging-${made++}`;
    const { store, hot, cold } = await openBoth(name);
    await store.write(await Promise.all([one(1, 0), one(2, 0), one(3, 1)]));
    await hot.rollOver();
    // Ages and sizes are far below the limits: a new index by hand.
    await fetch(`${node.url}/${name}-segments-write/_rollover`, { method: 'POST' });
    await store.write(await Promise.all([one(1, 0), one(4, 50)]));
    const [old, young] = await indices(name);
    expect(await hot.warm(BASE + 10n * HOUR)).toBe(1);
    expect(await hot.warm(BASE + 10n * HOUR)).toBe(0);
    const settings = (await (await fetch(`${node.url}/${old}/_settings?flat_settings=true`)).json()) as Record<
      string,
      { settings: Record<string, string> }
    >;
    expect(settings[old!]!.settings['index.blocks.write']).toBe('true');

    expect(await store.demote(BASE + HOUR, never)).toMatchObject({ blocks: 3, objects: 1 });
    expect(await indices(name)).toEqual([old, young]);
    expect(await hot.get(EAST, traceIdOf(1))).toEqual([]);
    // It lost blocks, so it is merged again.
    expect(await hot.warm(BASE + 10n * HOUR)).toBe(1);
    expect(await store.demote(BASE + 10n * HOUR, never)).toMatchObject({ blocks: 1, objects: 1 });
    expect(await indices(name)).toEqual([young]);
    for (const number of [1, 2, 3, 4]) expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
    const { matches } = await store.search(all, never);
    expect(matches.map(({ position }) => position.traceId)).toEqual([4, 3, 1, 2].map(traceIdOf));
    expect(await cold.get(EAST, traceIdOf(4))).toEqual([]);
    expect(await store.demote(BASE + 10n * HOUR, never)).toMatchObject({ blocks: 0 });
    await store.close();
  });

  test('retention deletes single blocks of warm indices too', async () => {
    const name = `aging-${made++}`;
    const { store, hot } = await openBoth(name);
    await store.write(await Promise.all([one(1, 0), one(2, 24 * 30)]));
    await fetch(`${node.url}/${name}-segments-write/_rollover`, { method: 'POST' });
    expect(await hot.warm(BASE + BigInt(24 * 40) * HOUR)).toBe(1);
    // Its newest block keeps the index for long: the older one is deleted in it.
    expect(await store.expire(BASE + HOUR * 2n)).toBe(1);
    expect(await store.get(EAST, traceIdOf(1))).toEqual([]);
    expect(await store.get(EAST, traceIdOf(2))).toHaveLength(1);
    await store.close();
  });

  test('S3 that is away: young traces are answered all the same, moving waits', async () => {
    const name = `aging-${made++}`;
    const { store, hot } = await openBoth(name);
    await store.write(await Promise.all([one(1, 0), one(2, 50)]));
    await s3.kill();
    await expect(store.demote(BASE + 10n * HOUR, never)).rejects.toMatchObject({ code: 'unavailable', retry: 'later' });
    await expect(store.get(EAST, traceIdOf(2))).rejects.toMatchObject({
      part: 'cold tier',
      answer: [{ metadata: { traceId: traceIdOf(2) } }],
    });
    expect(await hot.get(EAST, traceIdOf(1))).toHaveLength(1);
    await s3.restart();
    expect(await store.demote(BASE + 10n * HOUR, never)).toMatchObject({ blocks: 1 });
    expect(await store.get(EAST, traceIdOf(1))).toHaveLength(1);
    await store.close();
  });
});
