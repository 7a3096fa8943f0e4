import { describe, expect, test } from 'vitest';
import type { FoldedPart, VouchedWatermark } from '../../global/index/trace-index.js';
import { tracePartition } from '../../global/log/partition.js';
import { traceIdBytes } from '../../global/model/ids.js';
import { type BlockId, MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { metadataOf, region, spanId, TRACE } from '../testing/otlp-spans.js';
import { formatDuration } from './format-duration.js';
import { planTrace, type TracePlanInput } from './trace-plan.js';

const SECOND = 1_000_000_000n;
const END = 1_795_176_000n * SECOND;
const NOW = END + 100_000n * SECOND;
const GRACE = 30n * SECOND;
const [A, B, C] = [region('a'), region('b'), region('c')];
const PARTITION = tracePartition(traceIdBytes(TRACE), 0, 8);

function record(of = A, changes: Partial<TraceMetadata> = {}): TraceMetadata {
  const span = { traceId: TRACE, spanId: spanId(1), start: END - SECOND, end: END };
  return { ...metadataOf(of, [span]), ...changes };
}

function watermark(of: typeof A, watermarkUnixNano: bigint, changes: Partial<VouchedWatermark> = {}): VouchedWatermark {
  return {
    region: of,
    partition: PARTITION,
    partitionCount: 8,
    watermarkUnixNano,
    vouchedFromUnixNano: 0n,
    ...changes,
  };
}

function plan(
  changes: Partial<TracePlanInput> & {
    records?: TraceMetadata[];
    watermarks?: VouchedWatermark[];
    folded?: FoldedPart[];
  },
) {
  const { records = [], watermarks = [], folded, ...rest } = changes;
  return planTrace({
    traceId: TRACE,
    location: { traceId: TRACE, records, watermarks, ...(folded ? { folded } : {}) },
    regions: [A, B, C].map((r) => ({ region: r, spansPartitions: 8 })),
    graceNano: GRACE,
    nowUnixNano: NOW,
    ...rest,
  }).regions;
}

function codes(regions: ReturnType<typeof plan>): string[] {
  return regions.map((r) => `${r.region} ${r.action} ${r.code}`);
}

describe('planTrace', () => {
  test('skips a region without a record whose watermark is past the end and the grace, and says how far', () => {
    const regions = plan({ records: [record()], watermarks: [watermark(B, END + GRACE + 41n * SECOND)] });
    expect(codes(regions)).toEqual(['a ask has-record', 'b skip absence-proved', 'c ask no-watermark']);
    expect(regions[1]!.why).toBe(
      'watermark 2026-11-20T12:01:11Z is 41 s past the end of every known part plus the grace of 30 s, and no record',
    );
  });

  test('asks at the edge of the proof, skips one nanosecond past it', () => {
    expect(codes(plan({ records: [record()], watermarks: [watermark(B, END + GRACE)] }))[1]).toBe(
      'b ask watermark-behind',
    );
    expect(codes(plan({ records: [record()], watermarks: [watermark(B, END + GRACE + 1n)] }))[1]).toBe(
      'b skip absence-proved',
    );
  });

  test('the latest end of all known parts counts', () => {
    const records = [record(), record(C, { endUnixNano: END + 60n * SECOND })];
    expect(codes(plan({ records, watermarks: [watermark(B, END + GRACE + 1n)] }))[1]).toBe('b ask watermark-behind');
  });

  test('asks everybody where no region has a record, or the index could not be asked', () => {
    const watermarks = [A, B, C].map((r) => watermark(r, NOW));
    expect(plan({ watermarks }).map((r) => r.code)).toEqual(Array(3).fill('no-record-anywhere'));
    expect(plan({ location: null }).map((r) => r.code)).toEqual(Array(3).fill('index-unavailable'));
  });

  test('a watermark of another partition or partitioning proves nothing', () => {
    const records = [record()];
    const other = watermark(B, NOW, { partition: (PARTITION + 1) % 8 });
    const resized = watermark(C, NOW, { partitionCount: 16, partition: tracePartition(traceIdBytes(TRACE), 0, 16) });
    expect(codes(plan({ records, watermarks: [other, resized] })).slice(1)).toEqual([
      'b ask partitioning-differs',
      'c ask partitioning-differs',
    ]);
  });

  test('a watermark ahead of the own clock counts only up to that clock', () => {
    const watermarks = [watermark(B, END + 1000n * SECOND)];
    const regions = plan({ records: [record()], watermarks, nowUnixNano: END + GRACE });
    expect(codes(regions)[1]).toBe('b ask watermark-behind');
  });

  describe('a watermark that vouches only from a time on', () => {
    const START = END - SECOND;
    const from = (vouchedFromUnixNano: bigint) => [watermark(B, NOW, { vouchedFromUnixNano })];

    test('proves nothing of a trace that began before that and the grace, to the nanosecond', () => {
      expect(codes(plan({ records: [record()], watermarks: from(START - GRACE) }))[1]).toBe('b skip absence-proved');
      const asked = plan({ records: [record()], watermarks: from(START - GRACE + 1n) })[1]!;
      expect([asked.action, asked.code]).toEqual(['ask', 'not-vouched-for']);
      const late = plan({ records: [record()], watermarks: from(START + 90n * SECOND) })[1]!;
      expect(late.why).toBe(
        'no record, but this copy of the index vouches for its feed only from 2026-11-20T12:01:29Z on, and the known parts begin 2 min before that plus the grace of 30 s',
      );
    });

    test('the earliest start of all known parts counts', () => {
      const records = [record(), record(C, { startUnixNano: START - 1n, root: null })];
      expect(codes(plan({ records, watermarks: from(START - GRACE) }))[1]).toBe('b ask not-vouched-for');
    });

    test('proves nothing where the root is not known, which may have begun at any time', () => {
      const records = [record(A, { root: null })];
      const asked = plan({ records, watermarks: from(1n) })[1]!;
      expect([asked.code, asked.why]).toEqual([
        'not-vouched-for',
        "no record, but this copy of the index vouches for its feed only from 1970-01-01T00:00:00Z on, and the trace's root is not known",
      ]);
      expect(codes(plan({ records, watermarks: from(0n) }))[1]).toBe('b skip absence-proved');
    });

    test('proves nothing where nobody knows what it vouches for', () => {
      const { vouchedFromUnixNano: _, ...bare } = watermark(B, NOW);
      const asked = plan({ records: [record()], watermarks: [bare] })[1]!;
      expect([asked.action, asked.code]).toEqual(['ask', 'not-vouched-for']);
    });
  });

  test('implausible times of a known part prove nothing', () => {
    const records = [record(A, { flags: MetadataFlag.closed | MetadataFlag.implausibleTime })];
    expect(codes(plan({ records, watermarks: [watermark(B, NOW)] }))[1]).toBe('b ask implausible-times');
  });

  describe('folded parts', () => {
    const START = END - SECOND;
    const part = (of = A, changes: Partial<FoldedPart> = {}): FoldedPart => ({
      region: of,
      startUnixNanoMin: START,
      endUnixNanoMax: END,
      ...changes,
    });
    const past = (of: typeof A) => watermark(of, END + GRACE + 1n);

    test('beside a record: their regions are asked, the others skipped as ever', () => {
      const regions = plan({ records: [record()], folded: [part(C)], watermarks: [past(B), past(C)] });
      expect(codes(regions)).toEqual(['a ask has-record', 'b skip absence-proved', 'c ask may-be-folded']);
      expect(regions[2]!.why).toBe(
        'no record, but a folded day may have had one, of spans from 2026-11-20T11:59:59Z to 2026-11-20T12:00:00Z',
      );
    });

    test('beside a record they widen what is known, to the nanosecond, at both ends', () => {
      const late = part(A, { endUnixNanoMax: END + 1n });
      expect(codes(plan({ records: [record()], folded: [late], watermarks: [past(B)] }))[1]).toBe(
        'b ask watermark-behind',
      );
      const from = [watermark(B, NOW, { vouchedFromUnixNano: START - GRACE })];
      const early = part(A, { startUnixNanoMin: START - 1n });
      expect(codes(plan({ records: [record()], folded: [part()], watermarks: from }))[1]).toBe('b skip absence-proved');
      expect(codes(plan({ records: [record()], folded: [early], watermarks: from }))[1]).toBe('b ask not-vouched-for');
    });

    test('a region that has both is asked for its record, with its blocks', () => {
      const blocks = ['a/0/7/1' as BlockId];
      const [first] = plan({ records: [record(A, { blocks })], folded: [part()] });
      expect([first!.code, first!.blocks]).toEqual(['has-record', blocks]);
    });

    test('without a record: those regions first, the others wait, however far their watermarks are', () => {
      const regions = plan({ folded: [part(A), part(C)], watermarks: [watermark(B, NOW)] });
      expect(codes(regions)).toEqual(['a ask may-be-folded', 'b ask after-folded', 'c ask may-be-folded']);
      expect(regions[1]!.why).toBe(
        'no region has a record; asked after a, c, unless a part that is found there proves that there is none here',
      );
    });

    test('nothing waits where every region may have a part, or those that may are not of the fleet', () => {
      const everywhere = plan({ folded: [part(A), part(B), part(C)] });
      expect(everywhere.map((r) => r.code)).toEqual(Array(3).fill('may-be-folded'));
      const elsewhere = plan({ folded: [part(region('gone'))], watermarks: [watermark(B, NOW)] });
      expect(elsewhere.map((r) => r.code)).toEqual(Array(3).fill('no-record-anywhere'));
    });

    test('second step, a span was found: it is as good as a record, and the folded parts widen it', () => {
      const found = [record()];
      const regions = plan({ folded: [part()], found, watermarks: [past(B), watermark(C, END + GRACE)] });
      expect(codes(regions)).toEqual(['a ask may-be-folded', 'b skip absence-proved', 'c ask watermark-behind']);
      expect(regions[1]!.why).toContain('past the end of every known part (by the answer of a) plus the grace of 30 s');
      const wide = part(A, { endUnixNanoMax: END + 1n });
      expect(codes(plan({ folded: [wide], found, watermarks: [past(B)] }))[1]).toBe('b ask watermark-behind');
    });

    test('second step: root and implausible times of what was found count', () => {
      const vouched = [watermark(B, NOW, { vouchedFromUnixNano: 1n })];
      const of = (changes: Partial<TraceMetadata>) =>
        codes(plan({ folded: [part()], found: [record(A, changes)], watermarks: vouched }))[1];
      expect(of({})).toBe('b skip absence-proved');
      expect(of({ root: null })).toBe('b ask not-vouched-for');
      expect(of({ flags: MetadataFlag.implausibleTime })).toBe('b ask implausible-times');
    });

    test('second step, nothing was found: all are asked', () => {
      const regions = plan({ folded: [part()], found: [], watermarks: [watermark(B, NOW), watermark(C, NOW)] });
      expect(codes(regions)).toEqual(['a ask may-be-folded', 'b ask no-record-anywhere', 'c ask no-record-anywhere']);
      expect(regions[1]!.why).toContain('and those that may have had one have given no span');
    });
  });

  test('names the blocks of the region that has some', () => {
    const blocks = ['a/0/7/1' as BlockId];
    const regions = plan({ records: [record(A, { blocks })], watermarks: [watermark(B, NOW)] });
    expect(regions.map((r) => r.blocks)).toEqual([blocks, [], []]);
  });
});

test('formatDuration', () => {
  const shown = [-5n, 850_000_000n, 41n * SECOND, 600n * SECOND, 605n * SECOND, 11_100n * SECOND, 200_000n * SECOND];
  expect(shown.map(formatDuration)).toEqual(['0 ms', '850 ms', '41 s', '10 min', '10 min 5 s', '3 h 5 min', '2 d 7 h']);
});
