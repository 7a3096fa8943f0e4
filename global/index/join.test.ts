import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../model/ids.js';
import { LIMITS } from '../model/limits.js';
import { type BlockId, type Coverage, MetadataFlag, type TraceMetadata } from '../model/metadata.js';
import { FEED_LIMITS } from './feed-limits.js';
import { canonicalBytes, compareCoverage, joinMetadata, metadataCounts, servicesOf } from './join.js';
import { anyMetadataOf } from './metadata.arbitrary.js';

const traceId = '5bd1e995c0ffee0000000000000000aa' as TraceId;
const region = 'us-east-1' as RegionId;
const anyPart = anyMetadataOf(traceId, region);

const empty: TraceMetadata = {
  traceId,
  region,
  startUnixNano: 100n,
  endUnixNano: 200n,
  root: null,
  coverage: [],
  flags: 0,
  blocks: [],
};

/** Metadata of many coverage entries from a small range of keys, so that unions cross the limit. */
const anyWide: fc.Arbitrary<TraceMetadata> = fc
  .record({
    first: fc.integer({ min: 0, max: 3000 }),
    count: fc.integer({ min: 2000, max: LIMITS.coverageEntriesMax }),
    spans: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ first, count, spans }) => ({
    ...empty,
    coverage: Array.from({ length: count }, (_, i) => ({
      key: first + i,
      service: 'a',
      spanCount: spans,
      errorCount: 0,
    })),
    blocks: Array.from({ length: count }, (_, i) => `b/${String(first + i).padStart(6, '0')}` as BlockId),
  }));

describe('join of metadata', () => {
  for (const [name, any, numRuns] of [
    ['ordinary records', anyPart, 300],
    ['records at the cut', anyWide, 25],
  ] as const) {
    test(`commutative, associative, idempotent: ${name}`, () => {
      fc.assert(
        fc.property(any, any, any, (a, b, c) => {
          expect(joinMetadata(a, b)).toEqual(joinMetadata(b, a));
          expect(joinMetadata(joinMetadata(a, b), c)).toEqual(joinMetadata(a, joinMetadata(b, c)));
          expect(joinMetadata(a, a)).toEqual(a);
          const joined = joinMetadata(a, b);
          expect(joinMetadata(joined, b)).toEqual(joined);
        }),
        { numRuns },
      );
    });
  }

  test('coverage at the limit stays whole, one more falls off and is flagged', () => {
    const entries = (count: number): Coverage[] =>
      Array.from({ length: count }, (_, key) => ({ key, service: 'a', spanCount: 1, errorCount: 0 }));
    const max = LIMITS.coverageEntriesMax;
    const full = joinMetadata({ ...empty, coverage: entries(max) }, { ...empty, coverage: entries(max - 1) });
    expect(full.coverage).toHaveLength(max);
    expect(full.flags).toBe(0);
    const one = { key: 0xffffff, service: 'z', spanCount: 9, errorCount: 9 };
    const cut = joinMetadata(full, { ...empty, coverage: [one] });
    expect(cut.coverage).toEqual(full.coverage);
    expect(cut.flags).toBe(MetadataFlag.countsAtLeast);
  });

  test('blocks stop at their limit', () => {
    const blocks = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => `b/${String(from + i).padStart(6, '0')}` as BlockId);
    const max = FEED_LIMITS.blocksPerTraceMax;
    expect(joinMetadata({ ...empty, blocks: blocks(0, max) }, { ...empty, blocks: blocks(1, 1) }).blocks).toHaveLength(
      max,
    );
    const cut = joinMetadata({ ...empty, blocks: blocks(1, max) }, { ...empty, blocks: blocks(0, 1) });
    expect(cut.blocks).toEqual(blocks(0, max));
  });

  test('the root is the earliest, then by service and operation', () => {
    const root = (startUnixNano: bigint, service: string, operation: string) => ({
      ...empty,
      root: { startUnixNano, service, operation },
    });
    expect(joinMetadata(root(7n, 'a', 'a'), root(5n, 'b', 'b')).root?.service).toBe('b');
    expect(joinMetadata(root(5n, 'c', 'a'), root(5n, 'b', 'b')).root?.service).toBe('b');
    expect(joinMetadata(root(5n, 'b', 'y'), root(5n, 'b', 'x')).root?.operation).toBe('x');
    expect(joinMetadata(root(5n, 'b', 'y'), empty).root?.operation).toBe('y');
  });

  test('records of two traces do not join', () => {
    expect(() => joinMetadata(empty, { ...empty, region: 'eu-west-1' as RegionId })).toThrow('broken invariant');
  });

  test('canonical bytes are equal exactly where records are, blocks apart', () => {
    fc.assert(
      fc.property(anyPart, anyPart, (a, b) => {
        const same = (x: TraceMetadata, y: TraceMetadata) => canonicalBytes(x).equals(canonicalBytes(y));
        expect(same(a, { ...a, blocks: ['other/1/2/3' as BlockId] })).toBe(true);
        expect(same(joinMetadata(a, b), joinMetadata(b, a))).toBe(true);
        let equal = true;
        try {
          expect({ ...a, blocks: [] }).toEqual({ ...b, blocks: [] });
        } catch {
          equal = false;
        }
        expect(same(a, b)).toBe(equal);
      }),
    );
  });
});

/** A record of `spans`: what of one trace stands in it, by service. */
interface SpansRecord {
  readonly key: number;
  readonly spans: readonly { service: string; error: boolean; startUnixNano: bigint }[];
}

const anyLog: fc.Arbitrary<SpansRecord[]> = fc
  .array(
    fc.array(
      fc.record({
        service: fc.constantFrom('gateway', 'orders', 'payments'),
        error: fc.boolean(),
        startUnixNano: fc.bigInt({ min: 1000n, max: 9000n }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    { minLength: 1, maxLength: 12 },
  )
  .map((records) => records.map((spans, i) => ({ key: (i * 7919 + 13) % 0x1000000, spans })));

/** The metadata of a segment that was made of these records. */
function segmentOf(records: readonly SpansRecord[], closed: boolean, block: string | null): TraceMetadata {
  const coverage: Coverage[] = [];
  for (const { key, spans } of records) {
    for (const service of new Set(spans.map((s) => s.service))) {
      const own = spans.filter((s) => s.service === service);
      const entry = { key, service, spanCount: own.length, errorCount: own.filter((s) => s.error).length };
      if (!coverage.some((c) => c.key === key && c.service === service)) coverage.push(entry);
    }
  }
  const starts = records.flatMap((r) => r.spans.map((s) => s.startUnixNano)).sort((a, b) => Number(a - b));
  return {
    ...empty,
    startUnixNano: starts[0]!,
    endUnixNano: starts.at(-1)!,
    coverage: coverage.sort(compareCoverage),
    flags: closed ? MetadataFlag.closed : 0,
    blocks: block ? [block as BlockId] : [],
  };
}

/** Runs of an assembler over the log: each begins at a committed place, cuts where it likes, crashes somewhere. */
const anyRuns = fc.array(
  fc.record({
    from: fc.nat(),
    to: fc.nat(),
    cuts: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 12 }),
    announces: fc.boolean(),
  }),
  { maxLength: 4 },
);

describe('counts', () => {
  test('exact under any cutting, repeats, re-cuts after crashes, announcements and any order', () => {
    fc.assert(
      fc.property(anyLog, anyRuns, fc.infiniteStream(fc.nat()), (log, runs, random) => {
        const feed: TraceMetadata[] = [];
        const last = { from: 0, to: log.length, cuts: [3, 1, 2], announces: true };
        for (const run of [...runs, last]) {
          const from = run === last ? 0 : run.from % log.length;
          const to = run === last ? log.length : from + 1 + (run.to % (log.length - from));
          for (let at = from, cut = 0; at < to; cut++) {
            const size = run.cuts[cut % run.cuts.length]!;
            const records = log.slice(at, Math.min(to, at + size));
            if (run.announces) feed.push(segmentOf(records.slice(0, 1), false, null));
            feed.push(segmentOf(records, true, `us-east-1/0/${at}/${cut}`));
            at += size;
          }
        }
        const next = () => random.next().value as number;
        for (let i = 0; i < 5; i++) feed.push(feed[next() % feed.length]!);
        for (let i = feed.length - 1; i > 0; i--) {
          const j = next() % (i + 1);
          [feed[i], feed[j]] = [feed[j]!, feed[i]!];
        }
        const joined = feed.reduce(joinMetadata);
        const spans = log.flatMap((r) => r.spans);
        expect(metadataCounts(joined)).toEqual({
          spanCount: spans.length,
          errorCount: spans.filter((s) => s.error).length,
        });
        for (const { name, spanCount, errorCount } of servicesOf(joined)) {
          const own = spans.filter((s) => s.service === name);
          expect([spanCount, errorCount]).toEqual([own.length, own.filter((s) => s.error).length]);
        }
        expect(joined.flags).toBe(MetadataFlag.closed);
      }),
      { numRuns: 300 },
    );
  });
});
