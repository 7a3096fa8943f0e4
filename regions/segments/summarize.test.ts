import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareCoverage, joinMetadata, metadataCounts, servicesOf } from '../../global/index/join.js';
import type { RegionId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import { MetadataFlag } from '../../global/model/metadata.js';
import { msToUnixNano } from '../../global/model/time.js';
import { joinTracesData } from '../../global/otlp/join.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';
import { type TestSpan, testSpanId, testTraceId, tracesDataOf } from '../assembler/testing/spans.js';
import { NameTable, type SummaryContext, summarize } from './summarize.js';

const NOW_MS = 1_700_000_000_000;
const NOW = msToUnixNano(NOW_MS);
const traceId = testTraceId(1);

function summaryOf(spans: readonly Partial<TestSpan>[], over: Partial<SummaryContext> = {}) {
  const payload = tracesDataOf(
    spans.map((span, i) => ({ traceId, spanId: testSpanId(i + 1), startUnixNano: NOW, ...span })),
  );
  return summarize(payload, { traceId, region: 'r' as RegionId, receivedMs: NOW_MS, ...over });
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const child = { parentSpanId: testSpanId(99) };

describe('summary of a fragment', () => {
  test('times, root, services, counts', () => {
    const metadata = summaryOf([
      { ...child, service: 'orders', name: 'inner', startUnixNano: NOW + 5n, endUnixNano: NOW + 900n, statusCode: 2 },
      { service: 'gateway', name: 'outer', startUnixNano: NOW + 2n, endUnixNano: NOW + 700n },
      { ...child, service: 'orders', startUnixNano: NOW + 1n, endUnixNano: NOW + 3n, statusCode: 1 },
    ]);
    expect(servicesOf(metadata)).toEqual([
      { name: 'gateway', spanCount: 1, errorCount: 0 },
      { name: 'orders', spanCount: 2, errorCount: 1 },
    ]);
    expect(metadata).toEqual({
      traceId,
      region: 'r',
      startUnixNano: NOW + 1n,
      endUnixNano: NOW + 900n,
      root: { startUnixNano: NOW + 2n, service: 'gateway', operation: 'outer' },
      coverage: [...metadata.coverage].sort(compareCoverage),
      flags: 0,
      blocks: [],
    });
  });

  test('a resource without service is the unknown one, a span without name has an empty operation', () => {
    const { coverage, root } = summaryOf([{}]);
    expect(coverage).toEqual([{ key: expect.any(Number), service: UNKNOWN_SERVICE, spanCount: 1, errorCount: 0 }]);
    expect(root).toEqual({ startUnixNano: NOW, service: UNKNOWN_SERVICE, operation: '' });
  });

  test('of several parentless spans the earliest is the root, then by service and operation', () => {
    expect(
      summaryOf([
        { service: 'b', name: 'x' },
        { service: 'a', name: 'y' },
        { service: 'a', name: 'x' },
      ]).root,
    ).toMatchObject({ service: 'a', operation: 'x' });
    expect(
      summaryOf([
        { service: 'a', name: 'x' },
        { service: 'z', startUnixNano: NOW - 1n },
      ]).root,
    ).toMatchObject({ service: 'z' });
    expect(summaryOf([child]).root).toBeNull();
  });

  test('a span that ends before it starts, or never, counts as ending at its start', () => {
    expect(summaryOf([{ startUnixNano: NOW, endUnixNano: NOW - 7n }]).endUnixNano).toBe(NOW);
    expect(summaryOf([{ startUnixNano: NOW }]).endUnixNano).toBe(NOW);
  });

  test('implausible times are flagged from one nanosecond beyond the limits on', () => {
    const future = NOW + msToUnixNano(LIMITS.startAheadMsMax);
    const past = NOW - msToUnixNano(LIMITS.startBehindMsMax);
    const flagsOf = (startUnixNano: bigint) => summaryOf([{}, { startUnixNano }]).flags;
    expect([flagsOf(future), flagsOf(past)]).toEqual([0, 0]);
    expect([flagsOf(future + 1n), flagsOf(past - 1n)]).toEqual([
      MetadataFlag.implausibleTime,
      MetadataFlag.implausibleTime,
    ]);
    expect(flagsOf(0n)).toBe(MetadataFlag.implausibleTime);
    expect(flagsOf((1n << 64n) - 1n)).toBe(MetadataFlag.implausibleTime);
  });

  test('names are cut at their limit, between characters', () => {
    const max = LIMITS.nameBytesMax;
    const rootOf = (name: string) => summaryOf([{ name }]).root!.operation;
    expect(rootOf('x'.repeat(max))).toHaveLength(max);
    expect(rootOf('x'.repeat(max + 1))).toBe('x'.repeat(max));
    const cut = rootOf(`x${'é'.repeat(max)}`);
    expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(max);
    expect(cut.startsWith(`x${'é'.repeat(max / 2 - 1)}`)).toBe(true);
  });

  test('more services than coverage holds are cut, and said to be', () => {
    const spans = (count: number) => Array.from({ length: count }, (_, i) => ({ ...child, service: `s${i}` }));
    const full = summaryOf(spans(LIMITS.coverageEntriesMax));
    expect([full.coverage.length, full.flags]).toEqual([LIMITS.coverageEntriesMax, 0]);
    const cut = summaryOf(spans(LIMITS.coverageEntriesMax + 1));
    expect([cut.coverage.length, cut.flags]).toEqual([LIMITS.coverageEntriesMax, MetadataFlag.countsAtLeast]);
  });

  test('operations are told, equal names as one string', () => {
    const names = new NameTable(10);
    const told: string[] = [];
    const onOperation = (service: string, operation: string, kind: number) =>
      told.push(`${service}/${operation}/${kind}`);
    summaryOf(
      [
        { service: 'a', name: 'x', kind: 3 },
        { ...child, service: 'a', name: 'y' },
      ],
      { names, onOperation },
    );
    expect(told).toEqual(['a/x/3', 'a/y/0']);
  });

  test('bytes that are no OTLP are malformed', () => {
    expect(() => summarize(Buffer.from([0x0a, 0x7f, 1]), { traceId, region: 'r' as RegionId, receivedMs: 0 })).toThrow(
      expect.objectContaining({ code: 'malformed' }),
    );
  });

  test('however a trace is cut into records, the join of the parts says the same as all parts together', () => {
    const span = fc.record({
      service: fc.constantFrom('a', 'b', 'c', undefined),
      name: fc.constantFrom('x', 'y'),
      parentSpanId: fc.constantFrom(undefined, testSpanId(99)),
      statusCode: fc.constantFrom(0, 2),
      startUnixNano: fc.bigInt(NOW, NOW + 5n),
      endUnixNano: fc.bigInt(NOW, NOW + 9n),
    });
    fc.assert(
      fc.property(
        fc.array(fc.array(span, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 }),
        (records) => {
          const clean = records.map((spans) =>
            spans.map(
              ({ service, parentSpanId, ...rest }): Partial<Mutable<TestSpan>> => ({
                ...rest,
                ...(service ? { service } : {}),
                ...(parentSpanId ? { parentSpanId } : {}),
              }),
            ),
          );
          let id = 0;
          for (const one of clean.flat()) one.spanId = testSpanId(++id);
          const joined = clean.map((spans) => summaryOf(spans)).reduce(joinMetadata);
          const whole = summaryOf(clean.flat());
          expect({ ...joined, coverage: [] }).toEqual({ ...whole, coverage: [] });
          expect(metadataCounts(joined)).toEqual(metadataCounts(whole));
          expect(servicesOf(joined)).toEqual(servicesOf(whole));
        },
      ),
      { numRuns: 100 },
    );
  });

  test('what a client sends again is counted once, whatever else was gathered with it', () => {
    const request = (id: number) =>
      tracesDataOf([{ traceId, spanId: testSpanId(id), service: 'orders', startUnixNano: NOW }]);
    const gathered = [[1], [2, 1], [1, 1]].map((ids) => joinTracesData(ids.map(request)));
    const summaries = gathered.map((payload) =>
      summarize(payload, { traceId, region: 'r' as RegionId, receivedMs: NOW_MS }),
    );
    expect(metadataCounts(summaries[2]!)).toEqual({ spanCount: 1, errorCount: 0 });
    expect(metadataCounts(summaries.reduce(joinMetadata))).toEqual({ spanCount: 2, errorCount: 0 });
  });

  test('keys are 24 bits, and differ where a span id, a start or an end does', () => {
    const keys = new Set<number>();
    const count = 2000;
    for (let i = 0; i < count; i++) keys.add(summaryOf([{ spanId: testSpanId(i + 1) }]).coverage[0]!.key);
    keys.add(summaryOf([{ startUnixNano: NOW + 1n }]).coverage[0]!.key);
    keys.add(summaryOf([{ endUnixNano: NOW + 7n }]).coverage[0]!.key);
    expect(Math.max(...keys)).toBeLessThan(2 ** 24);
    expect(keys.size).toBeGreaterThan(count - 3);
  });
});
