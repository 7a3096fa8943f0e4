import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SpanQuery } from '../../global/model/query.js';
import { matchSegment } from '../segments/match.js';
import { summarize } from '../segments/summarize.js';
import { CatalogueWindow } from './catalogue-window.js';
import { LinkedOrder, type Links, noLinks } from './linked-order.js';
import { NewestFirst } from './newest-first.js';
import { splitFeedRecord } from './pipeline.js';
import { mayMatch } from './prefilter.js';
import { StampWindow } from './stamp-window.js';
import { HOME } from './testing/rig.js';
import { testSpanId, testTraceId, tracesDataOf } from './testing/spans.js';
import { WatermarkMark } from './watermark-mark.js';

describe('stamp window', () => {
  test('remembers as many sequences as its limit, and then forgets the oldest', () => {
    const window = new StampWindow({ sequencesMax: 3, instancesMax: 2 });
    const isNew = (sequence: number, instance = 1) => window.isNew({ instance, sequence });
    expect([1, 2, 3].map((sequence) => isNew(sequence))).toEqual([true, true, true]);
    expect([1, 2, 3].map((sequence) => isNew(sequence))).toEqual([false, false, false]);
    expect(isNew(4)).toBe(true);
    expect([isNew(2), isNew(3), isNew(4)]).toEqual([false, false, false]);
    expect(isNew(1)).toBe(true);
  });

  test('forgets the instance that was heard least recently', () => {
    const window = new StampWindow({ sequencesMax: 3, instancesMax: 2 });
    const isNew = (instance: number) => window.isNew({ instance, sequence: 0 });
    expect([isNew(1), isNew(2), isNew(1)]).toEqual([true, true, false]);
    expect(isNew(3)).toBe(true);
    expect([isNew(1), isNew(3)]).toEqual([false, false]);
    expect(isNew(2)).toBe(true);
  });
});

describe('catalogue window', () => {
  const limits = { refreshMs: 1_000, operationsPerServiceMax: 2, operationsMax: 3 };

  test('gives each operation and kind once per refresh time', () => {
    const window = new CatalogueWindow(limits);
    for (const nowMs of [0, 999, 1_000, 1_500]) window.see('a', 'x', 1, nowMs);
    window.see('a', 'x', 2, 0);
    expect(window.take(10).map((entry) => [entry.kind, entry.lastSeenMs])).toEqual([
      [1, 0],
      [1, 1_000],
      [2, 0],
    ]);
    expect(window.take(10)).toEqual([]);
  });

  test('holds its limits, per service and in all, and counts what lies beyond', () => {
    const window = new CatalogueWindow(limits);
    for (const operation of ['x', 'y', 'z']) window.see('a', operation, 0, 0);
    expect(window.dropped).toBe(1);
    for (const service of ['b', 'c']) window.see(service, 'x', 0, 0);
    expect(window.dropped).toBe(2);
    expect(window.take(2)).toHaveLength(2);
    expect(window.take(2)).toHaveLength(1);
  });

  test('a kind that is none counts as unspecified', () => {
    const window = new CatalogueWindow(limits);
    window.see('a', 'x', 4_000_000_000, 0);
    window.see('a', 'x', 6, 0);
    window.see('a', 'x', 5, 0);
    expect(window.take(10).map((entry) => entry.kind)).toEqual([0, 5]);
  });
});

describe('watermark mark', () => {
  test('is due when its end is reached, and only once', () => {
    const mark = new WatermarkMark(1_000);
    expect(mark.take(0, 0)).toBeNull();
    mark.sample(5n, 3, 1);
    expect(mark.awaitedEnd(2)).toBe(3);
    expect(mark.take(2, 0)).toBeNull();
    expect(mark.take(3, 0)).toBe(5n);
    expect(mark.take(3, 0)).toBeNull();
    expect(mark.publishedUnixNano).toBe(5n);
  });

  test('a mark that waits is not replaced, so that a partition that lags publishes all the same', () => {
    const mark = new WatermarkMark(0);
    mark.sample(1n, 10, 0);
    for (let sample = 2n; sample < 6n; sample++) mark.sample(sample, Number(sample) * 10, 9);
    expect(mark.take(10, 0)).toBe(1n);
  });

  test('an idle partition publishes when the idle time has passed; one where something came at once', () => {
    const mark = new WatermarkMark(1_000);
    mark.sample(1n, 0, 0);
    expect(mark.take(0, 0)).toBe(1n);
    mark.sample(2n, 0, 0);
    expect(mark.take(0, 999)).toBeNull();
    mark.sample(3n, 0, 0);
    expect(mark.take(0, 1_000)).toBe(3n);
    mark.sample(4n, 1, 0);
    expect(mark.take(1, 1_001)).toBe(4n);
  });

  test('never steps back, when the wall clock does', () => {
    const mark = new WatermarkMark(0);
    mark.sample(9n, 0, 0);
    expect(mark.take(0, 0)).toBe(9n);
    mark.sample(8n, 1, 1);
    expect(mark.take(1, 1)).toBeNull();
    mark.sample(10n, 1, 1);
    expect(mark.take(1, 1)).toBe(10n);
  });
});

describe('orders', () => {
  test('a linked order is a list with removal from anywhere', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (toggles) => {
        const items = Array.from({ length: 10 }, (_, number) => ({ number, links: noLinks<Item>() }));
        const order = new LinkedOrder<Item>((item) => item.links);
        let model: number[] = [];
        for (const number of toggles) {
          if (model.includes(number)) {
            order.remove(items[number]!);
            model = model.filter((other) => other !== number);
          } else {
            order.append(items[number]!);
            model.push(number);
          }
          const walked: number[] = [];
          for (let item = order.first; item; item = item.links.after) walked.push(item.number);
          expect(walked).toEqual(model);
          expect(order.last?.number).toBe(model.at(-1));
        }
      }),
    );
  });

  test('newest first gives everything out in search order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.bigInt(0n, 5n), fc.integer({ min: 1, max: 20 }))), (pairs) => {
        const items = pairs.map(([startUnixNano, id]) => ({ position: { startUnixNano, traceId: testTraceId(id) } }));
        const heap = new NewestFirst([...items]);
        const out = [];
        for (let item = heap.pop(); item; item = heap.pop()) out.push(item);
        expect(out.map((item) => item.position)).toEqual(
          items.map((item) => item.position).sort(compareSearchPositions),
        );
        expect(heap.size).toBe(0);
      }),
    );
  });
});

interface Item {
  readonly number: number;
  readonly links: Links<Item>;
}

test('the prefilter rules out nothing that matches', () => {
  const name = fc.constantFrom('a', 'b', undefined);
  const span = fc.record({
    service: name,
    name,
    start: fc.bigInt(0n, 20n),
    end: fc.bigInt(0n, 20n),
    statusCode: fc.constantFrom(0, 1, 2),
  });
  const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 1 });
  const query = fc.record({
    service: optional(fc.constantFrom('a', 'b', 'unknown_service', '')),
    operation: optional(fc.constantFrom('a', 'b', '')),
    error: optional(fc.boolean()),
    durationNanoMin: optional(fc.bigInt(0n, 12n)),
    durationNanoMax: optional(fc.bigInt(0n, 12n)),
    startUnixNanoMin: fc.bigInt(0n, 20n),
    startUnixNanoMax: fc.bigInt(5n, 25n),
  });
  let matched = 0;
  let ruledOut = 0;
  fc.assert(
    fc.property(fc.array(span, { minLength: 1, maxLength: 4 }), query, (spans, conditions) => {
      const traceId = testTraceId(1);
      const payload = tracesDataOf(
        spans.map(({ service, name: operation, start, end, statusCode }, i) => ({
          traceId,
          spanId: testSpanId(i + 1),
          startUnixNano: start,
          endUnixNano: end,
          statusCode,
          ...(service ? { service } : {}),
          ...(operation ? { name: operation } : {}),
        })),
      );
      const metadata = summarize(payload, { traceId, region: HOME, receivedMs: 0 });
      const given = Object.entries(conditions).filter(([, value]) => value !== undefined);
      const spanQuery: SpanQuery = {
        ...Object.fromEntries(given),
        attributes: [],
        startUnixNanoMin: conditions.startUnixNanoMin,
        startUnixNanoMax: conditions.startUnixNanoMax,
      };
      const segment = { metadata, payload, closeReason: 'idle', receivedFirstMs: 0, receivedLastMs: 0 } as const;
      const isMatch = matchSegment(segment, spanQuery);
      if (isMatch) expect(mayMatch(metadata, spanQuery)).toBe(true);
      matched += isMatch ? 1 : 0;
      ruledOut += mayMatch(metadata, spanQuery) ? 0 : 1;
    }),
    { numRuns: 600 },
  );
  expect(matched).toBeGreaterThan(30);
  expect(ruledOut).toBeGreaterThan(30);
});

describe('splitting a feed record', () => {
  const trace = (i: number, coverage: number): TraceMetadata => ({
    traceId: testTraceId(i + 1) as TraceId,
    region: HOME,
    startUnixNano: 1n,
    endUnixNano: 2n,
    root: null,
    coverage: Array.from({ length: coverage }, (_, key) => ({ key, service: 's', spanCount: 1, errorCount: 0 })),
    flags: MetadataFlag.closed,
    blocks: [],
  });
  const watermark = { region: HOME, partition: 0, partitionCount: 1, watermarkUnixNano: 5n };
  const catalogue = [{ service: 's', operation: 'o', kind: 1, lastSeenMs: 0 }];

  test('one record where it fits, also for no trace', () => {
    expect(splitFeedRecord({ region: HOME, traces: [], catalogue, watermark })).toEqual([
      { region: HOME, traces: [], catalogue, watermark },
    ]);
  });

  test('several where it does not: every trace once, the catalogue first, the watermark last', () => {
    const traces = Array.from({ length: 50 }, (_, i) => trace(i, 1_000));
    const parts = splitFeedRecord({ region: HOME, traces, catalogue, watermark });
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.flatMap((part) => part.traces)).toEqual(traces);
    expect(parts.map((part) => part.watermark)).toEqual([...parts.slice(1).map(() => null), watermark]);
    expect(parts.map((part) => part.catalogue.length)).toEqual([1, ...parts.slice(1).map(() => 0)]);
  });
});
