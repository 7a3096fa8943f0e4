import { describe, expect, test } from 'vitest';
import { tracePartition } from '../../global/log/partition.js';
import { traceIdBytes } from '../../global/model/ids.js';
import { type BlockId, MetadataFlag, type TraceMetadata, type Watermark } from '../../global/model/metadata.js';
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

function watermark(of: typeof A, watermarkUnixNano: bigint, changes: Partial<Watermark> = {}): Watermark {
  return { region: of, partition: PARTITION, partitionCount: 8, watermarkUnixNano, ...changes };
}

function plan(changes: Partial<TracePlanInput> & { records?: TraceMetadata[]; watermarks?: Watermark[] }) {
  const { records = [], watermarks = [], ...rest } = changes;
  return planTrace({
    traceId: TRACE,
    location: { traceId: TRACE, records, watermarks },
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

  test('implausible times of a known part prove nothing', () => {
    const records = [record(A, { flags: MetadataFlag.closed | MetadataFlag.implausibleTime })];
    expect(codes(plan({ records, watermarks: [watermark(B, NOW)] }))[1]).toBe('b ask implausible-times');
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
