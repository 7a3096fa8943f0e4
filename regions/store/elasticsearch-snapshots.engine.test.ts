import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { SnapshotRecord } from './snapshot-record.js';
import { snapshotName } from './snapshot-record.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';
import { EAST, ElasticsearchForTests } from './testing/elasticsearch-for-tests.js';
import { query } from './testing/model.js';

let elasticsearch: ElasticsearchForTests;
beforeAll(async () => {
  elasticsearch = await ElasticsearchForTests.start();
});
afterEach(() => elasticsearch.closeStores());
afterAll(() => elasticsearch?.stop());

const never = new AbortController().signal;
const repository = { repository: 'meridian', location: 'meridian' };
const block = (number: number) =>
  blockOf(EAST, number, [
    segmentOf(EAST, traceIdOf(number), [{ span: 1, service: 'a', start: BASE + BigInt(number) }]),
  ]);
const record = (second: number): SnapshotRecord => ({
  name: snapshotName('hourly', second * 1000),
  kind: 'hourly',
  takenMs: second * 1000,
  positions: [{ group: 'writer', topic: 'segments', offsets: [second] }],
});

test('a snapshot brings back what was there and nothing else, over changed, newer and missing indices; the store goes on', async () => {
  const prefix = elasticsearch.prefix();
  const { store } = await elasticsearch.open(prefix);
  const rollOver = () => fetch(`${elasticsearch.node.url}/${prefix}-segments-write/_rollover`, { method: 'POST' });
  const snapshots = store.snapshots(repository);
  const stored = async () => {
    const found: number[] = [];
    for (let number = 1; number < 9; number++) {
      if ((await store.get(EAST, traceIdOf(number))).length > 0) found.push(number);
    }
    return found;
  };
  expect(await snapshots.list()).toEqual([]);
  await store.write([await block(1)]);
  await rollOver();
  await store.write([await block(2)]);
  await snapshots.create(record(1));
  await store.write([await block(3)]);
  await rollOver();
  await store.write([await block(4)]);
  await snapshots.create(record(2));
  expect([...(await snapshots.list())].sort((a, b) => a.takenMs - b.takenMs)).toEqual([record(1), record(2)]);

  await snapshots.restore(record(1).name);
  expect(await stored()).toEqual([1, 2]);
  await store.write([await block(5)]);
  expect(await stored()).toEqual([1, 2, 5]);
  const { matches } = await store.search({ query: query(), source: EAST, after: null, limit: 9 }, never);
  expect(matches.length).toBeGreaterThanOrEqual(2);

  // All indices gone: a lost cluster.
  await fetch(`${elasticsearch.node.url}/${prefix}-segments-000001,${prefix}-segments-000002`, { method: 'DELETE' });
  await snapshots.restore(record(2).name);
  expect(await stored()).toEqual([1, 2, 3, 4]);
  await store.write([await block(6)]);
  expect(await stored()).toEqual([1, 2, 3, 4, 6]);

  await snapshots.remove(record(1).name);
  await snapshots.remove(record(1).name);
  expect(await snapshots.list()).toEqual([record(2)]);
  await expect(snapshots.restore(record(1).name)).rejects.toMatchObject({ code: 'not-found' });
  expect(await stored()).toEqual([1, 2, 3, 4, 6]);
});

test('stores of one repository see their own snapshots only; a repository that is not there is named', async () => {
  const [one, other] = [elasticsearch.prefix(), elasticsearch.prefix()];
  const { store } = await elasticsearch.open(one);
  const { store: neighbour } = await elasticsearch.open(other);
  await store.snapshots(repository).create(record(7));
  expect(await store.snapshots(repository).list()).toEqual([record(7)]);
  expect(await neighbour.snapshots(repository).list()).toEqual([]);
  await expect(store.snapshots({ repository: 'elsewhere' }).list()).rejects.toMatchObject({
    code: 'configuration',
    message: expect.stringContaining('elsewhere'),
  });
});
