import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import type { SpanQuery } from '../../global/model/query.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';
import { officialEncode } from '../../global/otlp/testing/official-otlp.js';
import { compileQuery, matchSegment } from './match.js';
import type { Segment } from './segment.js';

interface Value {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: number;
  doubleValue?: number;
  bytesValue?: Uint8Array;
  arrayValue?: { values: Value[] };
}
interface Attribute {
  key: string;
  value: Value;
}
interface SpanObject {
  name: string;
  kind: number;
  start: number;
  end: number;
  code: number;
  attributes: Attribute[];
}
interface ResourceObject {
  attributes: Attribute[];
  spans: SpanObject[];
}

const TRACE = '0102030405060708090a0b0c0d0e0f10';

function segmentOf(resources: readonly ResourceObject[], traceId = TRACE): Segment {
  const data = {
    resourceSpans: resources.map(({ attributes, spans }) => ({
      resource: { attributes },
      scopeSpans: [
        {
          spans: spans.map(({ name, kind, start, end, code, attributes: own }, i) => ({
            traceId: Buffer.from(TRACE, 'hex'),
            spanId: Buffer.from([1, 2, 3, 4, 5, 6, 7, i + 1]),
            name,
            kind,
            startTimeUnixNano: start,
            endTimeUnixNano: end,
            status: { code },
            attributes: own,
          })),
        },
      ],
    })),
  };
  const payload = officialEncode(data);
  return {
    metadata: {
      traceId: traceId as Segment['metadata']['traceId'],
      region: 'us-east-1' as RegionId,
      startUnixNano: 0n,
      endUnixNano: 0n,
      root: null,
      coverage: [],
      flags: 0,
      blocks: [],
    },
    payload,
    closeReason: 'idle',
    receivedFirstMs: 0,
    receivedLastMs: 0,
  };
}

/** The rules of match.ts, told from the objects. */
function naive(resources: readonly ResourceObject[], query: SpanQuery): boolean {
  if (query.traceIds && !query.traceIds.some((id) => id === TRACE)) return false;
  return resources.some((resource) => resource.spans.some((span) => spanHolds(span, resource, query)));
}

function spanHolds(span: SpanObject, resource: ResourceObject, query: SpanQuery): boolean {
  const named = resource.attributes.find(({ key }) => key === 'service.name');
  const service = named?.value.stringValue || UNKNOWN_SERVICE;
  const duration = BigInt(Math.max(0, span.end - span.start));
  const start = BigInt(span.start);
  return (
    (query.service ?? service) === service &&
    (query.operation ?? span.name) === span.name &&
    (query.kind ?? span.kind) === span.kind &&
    (query.error ?? span.code === 2) === (span.code === 2) &&
    (query.durationNanoMin ?? 0n) <= duration &&
    duration <= (query.durationNanoMax ?? duration) &&
    query.startUnixNanoMin <= start &&
    start <= query.startUnixNanoMax &&
    query.attributes.every(({ key, value }) => {
      const found = span.attributes.find((a) => a.key === key) ?? resource.attributes.find((a) => a.key === key);
      return found !== undefined && textOf(found.value) === value;
    })
  );
}

function textOf(value: Value): string | null {
  const plain = value.stringValue ?? value.boolValue ?? value.intValue ?? value.doubleValue;
  return plain === undefined ? null : Object.is(plain, -0) ? '0' : String(plain);
}

const keys = fc.constantFrom('a', 'b', 'service.name', 'ключ');
const texts = fc.constantFrom('', 'x', 'orders', 'true', '7', '1.5', '-3', 'NaN', '😀', UNKNOWN_SERVICE);
const values = fc.oneof<fc.Arbitrary<Value>[]>(
  texts.map((stringValue) => ({ stringValue })),
  fc.boolean().map((boolValue) => ({ boolValue })),
  fc.constantFrom(7, -3, 0, 2 ** 40, -(2 ** 40)).map((intValue) => ({ intValue })),
  fc.constantFrom(1.5, 7, -3, Number.NaN, 1e300, 0).map((doubleValue) => ({ doubleValue })),
  fc.constant({ bytesValue: Buffer.from('x') }),
  fc.constant({ arrayValue: { values: [{ stringValue: 'x' }] } }),
);
const attributes = fc.array(fc.record({ key: keys, value: values }), { maxLength: 4 });
const times = fc.constantFrom(0, 1, 1000, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 45);
const resources = fc.array(
  fc.record({
    attributes: fc.oneof(
      attributes,
      texts.map((stringValue) => [{ key: 'service.name', value: { stringValue } }]),
    ),
    spans: fc.array(
      fc.record({
        name: texts,
        kind: fc.nat(5),
        start: times,
        end: times,
        code: fc.nat(2),
        attributes,
      }),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 3 },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
const mostly = <T>(value: T, arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 1, arbitrary });
const queries: fc.Arbitrary<SpanQuery> = fc
  .record({
    service: maybe(texts),
    operation: maybe(texts),
    attributes: fc.array(
      fc.record({ key: keys, value: fc.oneof(texts, fc.constantFrom('false', '1099511627776', '1e+300', '0')) }),
      {
        maxLength: 2,
      },
    ),
    error: maybe(fc.boolean()),
    kind: maybe(fc.nat(5)),
    durationNanoMin: maybe(times.map(BigInt)),
    durationNanoMax: maybe(times.map(BigInt)),
    startUnixNanoMin: mostly(-5n, times.map(BigInt)),
    startUnixNanoMax: mostly(1n << 70n, times.map(BigInt)),
    traceIds: maybe(fc.constantFrom([TRACE], ['ff'.repeat(16)], [])),
  })
  .map(
    (record) => Object.fromEntries(Object.entries(record).filter(([, v]) => v !== undefined)) as unknown as SpanQuery,
  );

const everything: SpanQuery = { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: (1n << 64n) - 1n };

describe('matchSegment', () => {
  test('answers as the rules do on decoded objects', () => {
    let hits = 0;
    fc.assert(
      fc.property(resources, queries, (made, query) => {
        const expected = naive(made, query);
        if (expected) hits++;
        expect(matchSegment(segmentOf(made), query)).toBe(expected);
      }),
      { numRuns: 3000, seed: 7 },
    );
    // The samples must not all miss.
    expect(hits).toBeGreaterThan(100);
  });

  test('a compiled query answers for many segments, also after one that matched', () => {
    const span = { name: 'charge', kind: 1, start: 5, end: 9, code: 0, attributes: [] };
    const hit = segmentOf([{ attributes: [], spans: [span] }]);
    const miss = segmentOf([{ attributes: [], spans: [{ ...span, name: 'refund' }] }]);
    const compiled = compileQuery({ ...everything, operation: 'charge' });
    expect([hit, miss, hit, miss].map((segment) => matchSegment(segment, compiled))).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test('a segment without spans matches nothing', () => {
    expect(matchSegment(segmentOf([]), everything)).toBe(false);
  });

  test('an end before the start is a duration of 0', () => {
    const late = segmentOf([
      { attributes: [], spans: [{ name: 'x', kind: 0, start: 2 ** 33, end: 7, code: 0, attributes: [] }] },
    ]);
    expect(matchSegment(late, { ...everything, durationNanoMax: 0n })).toBe(true);
    expect(matchSegment(late, { ...everything, durationNanoMin: 1n })).toBe(false);
  });

  test('bytes that are no OTLP are refused, not misread', () => {
    const segment = { ...segmentOf([]), payload: Buffer.from([0x0a, 0x7f, 0x01]) };
    expect(() => matchSegment(segment, everything)).toThrowError(expect.objectContaining({ code: 'malformed' }));
  });
});
