import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { compareSearchPositions, type SpanQuery } from '../../global/model/query.js';
import { matchSegment } from '../segments/match.js';
import { summarize } from '../segments/summarize.js';
import { CatalogueWindow, type PartitionCatalogue } from './catalogue-window.js';
import { LinkedOrder, type Links, noLinks } from './linked-order.js';
import { NewestFirst } from './newest-first.js';
import { splitFeedRecord } from './pipeline.js';
import { mayMatch } from './prefilter.js';
import { ReadProgress } from './read-progress.js';
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

  /** One pass: what it takes is published. */
  function pass(catalogue: PartitionCatalogue, max = 10) {
    const entries = catalogue.take(max);
    catalogue.published();
    return entries;
  }

  test('gives each operation and kind once per refresh time', () => {
    const catalogue = new CatalogueWindow(limits).partition(0);
    const given = [0, 999, 1_000, 1_500].flatMap((nowMs) => {
      catalogue.see('a', 'x', 1, nowMs);
      return pass(catalogue);
    });
    catalogue.see('a', 'x', 2, 0);
    given.push(...pass(catalogue));
    expect(given.map((entry) => [entry.kind, entry.lastSeenMs])).toEqual([
      [1, 0],
      [1, 1_000],
      [2, 0],
    ]);
    expect(pass(catalogue)).toEqual([]);
  });

  test('holds its limits, per service and in all, and counts what lies beyond', () => {
    const window = new CatalogueWindow(limits);
    const catalogue = window.partition(0);
    for (const operation of ['x', 'y', 'z']) catalogue.see('a', operation, 0, 0);
    expect(window.dropped).toBe(1);
    for (const service of ['b', 'c']) catalogue.see(service, 'x', 0, 0);
    expect(window.dropped).toBe(2);
    expect(catalogue.take(2)).toHaveLength(2);
    expect(catalogue.pendingCount).toBe(1);
    expect(catalogue.take(2)).toHaveLength(1);
    expect(catalogue.pendingCount).toBe(0);
  });

  test('a kind that is none counts as unspecified', () => {
    const catalogue = new CatalogueWindow(limits).partition(0);
    catalogue.see('a', 'x', 4_000_000_000, 0);
    catalogue.see('a', 'x', 6, 0);
    catalogue.see('a', 'x', 5, 0);
    expect(catalogue.take(10).map((entry) => entry.kind)).toEqual([0, 5]);
  });

  test('each feed is told by itself; two partitions with one feed tell it once when it is published', () => {
    const window = new CatalogueWindow(limits);
    const [first, sameFeed, otherFeed] = [window.partition(0), window.partition(0), window.partition(1)];
    first.see('a', 'x', 0, 0);
    // The first has not published it yet: this one's watermark may not rest on that.
    sameFeed.see('a', 'x', 0, 0);
    expect(pass(first)).toHaveLength(1);
    expect(pass(sameFeed)).toHaveLength(1);
    sameFeed.see('a', 'x', 0, 1);
    expect(sameFeed.pendingCount).toBe(0);
    otherFeed.see('a', 'x', 0, 1);
    expect(pass(otherFeed)).toHaveLength(1);
  });

  test('what a pass took and never published is given again by the next owner of the partition', () => {
    const window = new CatalogueWindow(limits);
    const lost = window.partition(0);
    lost.see('a', 'x', 0, 0);
    expect(lost.take(10)).toHaveLength(1);
    // While it is on its way it is not taken a second time.
    lost.see('a', 'x', 0, 1);
    expect(lost.pendingCount).toBe(0);
    const next = window.partition(0);
    next.see('a', 'x', 0, 2);
    expect(pass(next)).toHaveLength(1);
  });
});

describe('read progress', () => {
  test('is known once the end was reached, as of the time before it was asked for', () => {
    const progress = new ReadProgress();
    expect(progress.readUpToMs(5)).toBeNull();
    progress.sample(100, 7, 5);
    expect(progress.readUpToMs(6)).toBeNull();
    expect(progress.readUpToMs(7)).toBe(100);
    progress.sample(300, 7, 7);
    expect(progress.readUpToMs(7)).toBe(300);
  });

  test('an end that is waited for is not replaced, and what was known stays known', () => {
    const progress = new ReadProgress();
    progress.sample(100, 5, 5);
    progress.sample(200, 8, 5);
    progress.sample(300, 50, 6);
    expect(progress.readUpToMs(7)).toBe(100);
    expect(progress.readUpToMs(8)).toBe(200);
    progress.sample(400, 60, 8);
    expect(progress.readUpToMs(59)).toBe(200);
    expect(progress.readUpToMs(60)).toBe(400);
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
