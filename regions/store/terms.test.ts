import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { SpanQuery } from '../../global/model/query.js';
import type { TestValue } from '../../global/otlp/testing/test-spans.js';
import { blockEntry, traceKey } from './block-entry.js';
import { buildTermFilter, mayHoldTerm, TermSet } from './term-filter.js';
import { queryTerms } from './terms.js';
import { BASE, blockOf, segmentOf, type TestSpan, traceIdOf } from './testing/blocks.js';
import { query, segmentMatches } from './testing/model.js';

const EAST = 'us-east-1' as RegionId;

function entryOf(spans: readonly TestSpan[]) {
  const segments = [segmentOf(EAST, traceIdOf(1), spans)];
  return blockEntry({ id: 'us-east-1/0/0/0' as never, source: EAST, segments }, new Uint8Array());
}

const text = fc.constantFrom('', 'a', 'ab', 'b', 'orders', 'заказы', '😀', 'x'.repeat(200));
const value: fc.Arbitrary<TestValue> = fc.oneof<fc.Arbitrary<TestValue>[]>(
  text,
  fc.boolean(),
  fc.constantFrom(1.5, -0.25, 1e21),
  fc.constantFrom(0n, 42n, -(2n ** 63n)),
);
const bag = fc.dictionary(text, value, { maxKeys: 3 });
const span: fc.Arbitrary<TestSpan> = fc.record({
  span: fc.nat(1000),
  service: text,
  resource: bag,
  name: text,
  kind: fc.nat(5),
  start: fc.bigInt(0n, 100n).map((n) => BASE + n),
  error: fc.boolean(),
  attributes: bag,
});

describe('terms', () => {
  test('whatever matches a query holds all terms of the query', () => {
    fc.assert(
      fc.property(fc.array(span, { minLength: 1, maxLength: 4 }), fc.nat(3), fc.nat(15), (spans, which, parts) => {
        const { service, name, attributes, resource, error } = spans[which % spans.length]!;
        const own = [...Object.entries({ ...resource, ...attributes })].slice(0, 2);
        const wanted: SpanQuery = query({
          ...(parts & 1 && service ? { service } : {}),
          ...(parts & 2 && name !== undefined ? { operation: name } : {}),
          ...(parts & 4 && error !== undefined ? { error } : {}),
          attributes: parts & 8 ? own.map(([key, v]) => ({ key, value: String(v) })) : [],
        });
        const { filter } = entryOf(spans);
        // `service.name` and duplicate keys aside, the query was taken from a span: it matches.
        if (!segmentMatches({ traceId: traceIdOf(1), spans }, wanted)) return;
        for (const term of queryTerms(wanted)) expect(mayHoldTerm(filter, term)).toBe(true);
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  test('conditions that no span meets are mostly ruled out', () => {
    const spans = Array.from({ length: 300 }, (_, i) => ({
      span: i,
      service: 'orders',
      start: BASE,
      attributes: { id: `value-${i}`, other: BigInt(i) },
    }));
    const { filter } = entryOf(spans);
    let held = 0;
    for (let i = 0; i < 2000; i++) {
      const [term] = queryTerms(query({ attributes: [{ key: 'id', value: `absent-${i}` }] }));
      if (mayHoldTerm(filter, term!)) held++;
    }
    expect(held).toBeLessThan(40);
    // 300 values of each of two keys, a service, an operation, and both.
    expect(filter.length).toBeLessThan(((604 + 10) * 10) / 8);
  });

  test('the parts of a term do not run into one another', () => {
    const terms = [
      queryTerms(query({ attributes: [{ key: 'ab', value: 'c' }] }))[0],
      queryTerms(query({ attributes: [{ key: 'a', value: 'bc' }] }))[0],
      queryTerms(query({ operation: 'abc' }))[0],
      queryTerms(query({ service: 'abc' }))[0],
      queryTerms(query({ service: 'ab', operation: 'c' }))[0],
    ];
    expect(new Set(terms).size).toBe(terms.length);
  });

  test('the stored forms are those of format version 1', async () => {
    const segments = [0, 1, 2].map((i) =>
      segmentOf(EAST, traceIdOf(i), [
        {
          span: i,
          service: 'orders',
          name: 'GET /',
          start: BASE + BigInt(i * 70_000),
          attributes: { tenant: 'acme', n: 7n },
        },
      ]),
    );
    const block = await blockOf(EAST, 1, segments);
    const entry = blockEntry({ id: block.id, source: EAST, segments }, block.bytes);
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    // A change here is a change of what is on disks: it needs another FORMAT_VERSION.
    expect({ filter: hex(entry.filter), starts: hex(entry.starts), keys: entry.traceKeys }).toMatchInlineSnapshot(`
      {
        "filter": "b8a6976f918d9209",
        "keys": [
          -1557146043,
          1815296596,
          -1749960162,
        ],
        "starts": "0000255b4ab6",
      }
    `);
    expect(traceKey(EAST, traceIdOf(0))).toBe(entry.traceKeys[0]);
  });
});

describe('term filter', () => {
  test('holds what was put in, whatever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { maxLength: 3000 }), (values) => {
        const terms = new TermSet(1);
        for (const term of values) terms.add(term);
        for (const term of values) terms.add(term);
        expect(terms.size).toBe(new Set(values).size);
        const held: number[] = [];
        terms.forEach((term) => {
          held.push(term);
        });
        expect(held.sort()).toEqual([...new Set(values)].sort());
        const filter = buildTermFilter(terms);
        for (const term of values) expect(mayHoldTerm(filter, term)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});
