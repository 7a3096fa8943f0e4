import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { schemaNames } from './elasticsearch-schema.js';
import { BASE, traceIdOf } from './testing/blocks.js';
import { EAST, ElasticsearchForTests, testBlock } from './testing/elasticsearch-for-tests.js';
import { query } from './testing/model.js';

const unlimited = new AbortController().signal;
const HOUR = 3_600_000_000_000n;

let elasticsearch: ElasticsearchForTests;
beforeAll(async () => {
  elasticsearch = await ElasticsearchForTests.start();
});
afterEach(() => elasticsearch.closeStores());
afterAll(() => elasticsearch.stop());

const indicesOf = async (prefix: string) =>
  Object.keys((await elasticsearch.ask('GET', `/${prefix}-segments-0*`)).body).sort();

describe('what is already there', () => {
  test.each([
    ['an index of the first name', 'first'],
    ['an index with the name of the read alias', 'read'],
    ['an index with the name of the write alias', 'write'],
  ])('%s, made by somebody else: configuration', async (_, which) => {
    const prefix = elasticsearch.prefix();
    const names = schemaNames(prefix);
    const name = { first: names.firstIndex, read: names.read, write: names.write }[which]!;
    await elasticsearch.ask('PUT', `/${name}`, { mappings: { properties: { a: { type: 'keyword' } } } });
    await expect(elasticsearch.open(prefix)).rejects.toMatchObject({
      code: 'configuration',
      retry: 'never',
      message: expect.stringContaining(name),
    });
    expect((await elasticsearch.ask('GET', `/${name}/_count`)).body.count).toBe(0);
  });

  test('a template of somebody else: configuration, and it stays as it is', async () => {
    const prefix = elasticsearch.prefix();
    const path = `/_index_template/${schemaNames(prefix).template}`;
    await elasticsearch.ask('PUT', path, { index_patterns: ['somebody-*'], priority: 900 });
    await expect(elasticsearch.open(prefix)).rejects.toMatchObject({ code: 'configuration' });
    expect(JSON.stringify((await elasticsearch.ask('GET', path)).body)).toContain('somebody-*');
  });

  test('another template that takes our indices: configuration', async () => {
    const prefix = elasticsearch.prefix();
    const body = { index_patterns: [`${prefix}-*`], priority: 900, template: { mappings: { properties: {} } } };
    await elasticsearch.ask('PUT', `/_index_template/other-${prefix}`, body);
    await expect(elasticsearch.open(prefix)).rejects.toMatchObject({ code: 'configuration' });
    await elasticsearch.ask('DELETE', `/_index_template/other-${prefix}`);
  });

  test('a mapping that was changed: configuration, naming the field; another version: unknown-version', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix);
    await store.close();
    const index = schemaNames(prefix).firstIndex;
    await elasticsearch.ask('PUT', `/${index}/_mapping`, { _meta: { meridian: 'segments', version: 2 } });
    await expect(elasticsearch.open(prefix)).rejects.toMatchObject({ code: 'unknown-version' });
    await elasticsearch.ask('PUT', `/${index}/_mapping`, { _meta: { meridian: 'segments', version: 1 } });
    await (await elasticsearch.open(prefix)).store.close();
    await elasticsearch.ask('PUT', `/${index}/_mapping`, { properties: { colour: { type: 'keyword' } } });
    await expect(elasticsearch.open(prefix)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('colour'),
    });
  });

  test('a prefix that is none: configuration', async () => {
    await expect(elasticsearch.open('Upper')).rejects.toMatchObject({ code: 'configuration' });
  });

  test('processes that open at the same time all find the one index', async () => {
    const prefix = elasticsearch.prefix();
    const opened = await Promise.all([0, 1, 2, 3].map(() => elasticsearch.open(prefix)));
    await Promise.all(opened.map(async ({ store }, i) => store.write([await testBlock(i)])));
    expect(await indicesOf(prefix)).toEqual([schemaNames(prefix).firstIndex]);
    for (let i = 0; i < 4; i++) expect(await opened[0]!.store.get(EAST, traceIdOf(i))).toHaveLength(1);
  });
});

describe('indices that go away', () => {
  test('removed under the store: reads find nothing, writes make them again, and not under the name of the alias', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix);
    await store.write([await testBlock(1)]);
    await elasticsearch.ask('DELETE', `/${schemaNames(prefix).firstIndex}`);
    await store.write([await testBlock(2)]);
    expect(await store.get(EAST, traceIdOf(1))).toEqual([]);
    expect(await store.get(EAST, traceIdOf(2))).toHaveLength(1);
    await elasticsearch.ask('DELETE', `/${schemaNames(prefix).firstIndex}`);
    expect(await store.get(EAST, traceIdOf(2))).toEqual([]);
    expect(await indicesOf(prefix)).toEqual([schemaNames(prefix).firstIndex]);
  });

  test('a mapping that changes while it writes: configuration, to be tried again; no block is blamed', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix);
    const index = schemaNames(prefix).firstIndex;
    await elasticsearch.ask('DELETE', `/${index}`);
    await elasticsearch.ask('DELETE', `/_index_template/${schemaNames(prefix).template}`);
    await elasticsearch.ask('PUT', `/${index}`, {
      mappings: { properties: { start_min: { type: 'boolean' } } },
      aliases: { [schemaNames(prefix).write]: {} },
    });
    await expect(store.write([await testBlock(1)])).rejects.toMatchObject({ code: 'configuration', retry: 'later' });
  });
});

describe('rollover and retention', () => {
  const search = { query: query(), source: EAST, after: null, limit: 100 };

  test('at a limit a new index takes the writes; blocks are found in both, by name, by trace and by search, once', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix, { rollover: { blocks: 3 } });
    const blocks = await Promise.all([1, 2, 3, 4].map((number) => testBlock(number)));
    await store.write(blocks.slice(0, 2));
    expect(await store.rollOver()).toBeNull();
    await store.write(blocks.slice(2, 3));
    await elasticsearch.ask('POST', `/${prefix}-segments/_refresh`);
    expect(await store.rollOver()).toBe(`${prefix}-segments-000002`);
    // Again, as after a crash: it is now in both indices.
    await store.write(blocks);
    const byName = { blocks: blocks.map(({ id }) => id), complete: true };
    for (let number = 1; number <= 4; number++) {
      expect(await store.get(EAST, traceIdOf(number))).toHaveLength(1);
      expect(await store.get(EAST, traceIdOf(number), byName)).toHaveLength(1);
    }
    expect((await store.search(search, unlimited)).matches.map(({ position }) => position.traceId)).toEqual(
      [4, 3, 2, 1].map(traceIdOf),
    );
  });

  test('an index that another process has begun is known to be there when a block is asked for by name', async () => {
    const prefix = elasticsearch.prefix();
    const { store: reader } = await elasticsearch.open(prefix);
    const { store: writer } = await elasticsearch.open(prefix, { rollover: { blocks: 1 } });
    const [first, second] = [await testBlock(1), await testBlock(2)];
    await writer.write([first]);
    expect(await reader.get(EAST, traceIdOf(1), { blocks: [first.id], complete: true })).toHaveLength(1);
    await elasticsearch.ask('POST', `/${prefix}-segments/_refresh`);
    expect(await writer.rollOver()).not.toBeNull();
    await writer.write([second]);
    expect(await reader.get(EAST, traceIdOf(2), { blocks: [second.id], complete: true })).toHaveLength(1);
  });

  test('writes see to rollover by themselves', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix, { rollover: { ageMs: 1 }, rolloverCheckMs: 1 });
    for (let number = 0; number < 40 && (await indicesOf(prefix)).length < 2; number++) {
      await store.write([await testBlock(number)]);
      await realClock.sleep(50);
    }
    expect((await indicesOf(prefix)).length).toBeGreaterThan(1);
  });

  test('old indices are removed as a whole, those with younger blocks wait, the present one is thinned', async () => {
    const prefix = elasticsearch.prefix();
    const { store } = await elasticsearch.open(prefix, { rollover: { blocks: 2, ageMs: 10 * 3_600_000 } });
    const next = async () => {
      await elasticsearch.ask('POST', `/${prefix}-segments/_refresh`);
      expect(await store.rollOver()).not.toBeNull();
    };
    const at = (number: number, hours: number) => testBlock(number, 0, BASE + BigInt(hours) * HOUR);
    await store.write([await at(1, 0), await at(2, 1)]);
    await next();
    await store.write([await at(3, 1), await at(4, 5)]);
    await next();
    // From the future: it would keep its index, and the old one beside it, for years.
    await store.write([await at(5, 1), await at(6, 1000)]);
    await next();
    await store.write([await at(7, 1), await at(8, 6)]);
    expect(await store.expire(BASE + 3n * HOUR)).toBe(2 + 1 + 1);
    expect(await indicesOf(prefix)).toEqual([2, 3, 4].map((i) => `${prefix}-segments-00000${i}`));
    const kept: number[] = [];
    for (let number = 1; number <= 8; number++) {
      if ((await store.get(EAST, traceIdOf(number))).length > 0) kept.push(number);
    }
    expect(kept).toEqual([3, 4, 6, 8]);
    expect(await store.expire(BASE + 3n * HOUR)).toBe(0);
    expect(await store.expire(BASE + 2000n * HOUR)).toBe(4);
    expect(await indicesOf(prefix)).toEqual([`${prefix}-segments-000004`]);
  });
});
