import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId } from '../model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../model/metadata.js';
import { canFold, FoldedParts, FoldKeys, foldDayOf, foldDayStart, isWorthFolding, knownExtent } from './folded.js';
import { FOLDS_PER_DAY_MAX } from './index-limits.js';
import { MemoryTraceIndex } from './memory-index.js';
import type { TraceLocation } from './trace-index.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const DAY = 24n * HOUR;
const REGIONS = ['us-east-1' as RegionId, WEST, EU];
const TRACES = 4;

/** What may happen to an index, in hours from T0. */
const anyEvent = fc.oneof(
  fc.record({
    what: fc.constant('apply' as const),
    trace: fc.nat(TRACES - 1),
    region: fc.constantFrom(...REGIONS),
    start: fc.integer({ min: -100, max: 100 }),
    hours: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: 0, max: 120 })),
    isRoot: fc.boolean(),
    isImplausible: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  }),
  fc.record({ what: fc.constant('fold' as const), before: fc.integer({ min: -60, max: 160 }) }),
);

interface Part {
  readonly region: RegionId;
  readonly start: bigint;
  readonly end: bigint;
  readonly isImplausible: boolean;
}

const nanoOf = (hours: number) => T0 + BigInt(hours) * HOUR;

/** Plays the events; gives what was applied of each trace. */
async function played(
  index: MemoryTraceIndex,
  events: readonly (typeof anyEvent extends fc.Arbitrary<infer E> ? E : never)[],
) {
  const parts: Part[][] = Array.from({ length: TRACES }, () => []);
  for (const event of events) {
    if (event.what === 'fold') {
      await index.fold(nanoOf(event.before), 1);
      continue;
    }
    const { trace, region, isImplausible } = event;
    const start = nanoOf(event.start);
    const end = nanoOf(event.start + event.hours);
    const flags = isImplausible ? MetadataFlag.implausibleTime : 0;
    const root = event.isRoot ? { startUnixNano: start, service: 's', operation: 'o' } : null;
    const record = contractTrace(trace, region, { startUnixNano: start, endUnixNano: end, root, flags });
    await index.apply([contractRecord(region, [record])]);
    parts[trace]!.push({ region, start, end, isImplausible });
  }
  return parts;
}

describe('what folding leaves of a proof', () => {
  test('a region of which anything was ever applied has a record or a folded part, and together they bound all of it', async () => {
    let folded = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(anyEvent, { maxLength: 25 }), async (events) => {
        const index = new MemoryTraceIndex(REGIONS[0]!);
        const parts = await played(index, events);
        const located = await index.locate(parts.map((_, n) => contractTraceId(n)));
        for (const [n, location] of located.entries()) {
          folded += location.folded?.length ?? 0;
          for (const { region, start, end, isImplausible } of parts[n]!) {
            const record = location.records.find((r) => r.region === region);
            const part = location.folded?.find((f) => f.region === region);
            expect(record ?? part).toBeDefined();
            const starts = [record?.startUnixNano, part?.startUnixNanoMin].filter((t) => t !== undefined);
            const ends = [record?.endUnixNano, part?.endUnixNanoMax].filter((t) => t !== undefined);
            expect(starts.some((t) => t <= start)).toBe(true);
            expect(ends.some((t) => t >= end)).toBe(true);
            if (isImplausible) expect(record!.flags & MetadataFlag.implausibleTime).not.toBe(0);
          }
        }
      }),
      { numRuns: 700, seed: 1 },
    );
    expect(folded).toBeGreaterThan(300);
  });

  test('the known extent holds all that was applied, and there is none without a record, whatever filters say', async () => {
    let none = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(anyEvent, { maxLength: 25 }), async (events) => {
        const index = new MemoryTraceIndex(REGIONS[0]!);
        const parts = await played(index, events);
        const located = await index.locate(parts.map((_, n) => contractTraceId(n)));
        for (const [n, location] of located.entries()) {
          const extent = knownExtent(location);
          if (location.records.length === 0) {
            expect(extent).toBeNull();
            none += location.folded ? 1 : 0;
            continue;
          }
          for (const { start, end } of parts[n]!) {
            expect(extent!.startUnixNano).toBeLessThanOrEqual(start);
            expect(extent!.endUnixNano).toBeGreaterThanOrEqual(end);
          }
        }
      }),
      { numRuns: 500, seed: 2 },
    );
    expect(none).toBeGreaterThan(100);
  });

  test('a young trace that a filter of last week seems to have is not taken for one of last week', () => {
    const location: TraceLocation = {
      traceId: contractTraceId(1),
      records: [],
      folded: [{ region: WEST, startUnixNanoMin: T0 - 7n * DAY, endUnixNanoMax: T0 - 6n * DAY }],
      watermarks: [],
    };
    expect(knownExtent(location)).toBeNull();
    const young = contractTrace(1, EU);
    expect(knownExtent(location, [young])).toEqual({
      startUnixNano: T0 - 7n * DAY,
      endUnixNano: young.endUnixNano,
      rootKnown: true,
    });
    expect(knownExtent(location, [{ ...young, root: null }])!.rootKnown).toBe(false);
  });
});

describe('folding', () => {
  const day = foldDayOf(T0);
  const record = (over: Partial<TraceMetadata>) => contractTrace(1, WEST, over);

  test('what may be folded, to the nanosecond', () => {
    const over = foldDayStart(day + 1);
    const before = over + 2n * DAY;
    expect(canFold(record({ endUnixNano: T0 }), over)).toBe(true);
    expect(canFold(record({ endUnixNano: T0 }), over - 1n)).toBe(false);
    expect(canFold(record({ endUnixNano: over + HOUR - 1n }), over + HOUR)).toBe(true);
    expect(canFold(record({ endUnixNano: over + HOUR }), over + HOUR)).toBe(false);
    expect(canFold(record({ endUnixNano: over + DAY - 1n }), before)).toBe(true);
    expect(canFold(record({ endUnixNano: over + DAY }), before)).toBe(false);
    expect(canFold(record({ flags: MetadataFlag.implausibleTime }), before)).toBe(false);
    expect(canFold(record({ flags: MetadataFlag.countsAtLeast }), before)).toBe(true);
    expect(canFold(record({}), 0n)).toBe(false);
  });

  test('a day is folded at the least number, and again at an eighth of what was folded, up to the limit', () => {
    expect(isWorthFolding(100, 0, 0, 100)).toBe(true);
    expect(isWorthFolding(99, 0, 0, 100)).toBe(false);
    expect(isWorthFolding(100, 800, 1, 100)).toBe(true);
    expect(isWorthFolding(100, 801, 1, 100)).toBe(false);
    expect(isWorthFolding(100, 0, FOLDS_PER_DAY_MAX - 1, 1)).toBe(true);
    expect(isWorthFolding(100, 0, FOLDS_PER_DAY_MAX, 1)).toBe(false);
    expect(isWorthFolding(0, 0, 0, 0)).toBe(false);
  });

  test('keys are those of version 1, and differ by trace and by region', () => {
    const keys = new FoldKeys();
    const id = Buffer.from(contractTraceId(1), 'hex');
    expect(keys.of(id, WEST)).toEqual(GOLDEN_KEY);
    const seen = new Set<string>();
    for (let n = 0; n < 5000; n++) {
      // Ids that differ in few bits, at either end.
      const near = Buffer.alloc(16, 7);
      near.writeUInt16BE(n, n % 2 === 0 ? 0 : 14);
      for (const region of REGIONS) {
        const { high, low } = keys.of(near, region);
        seen.add(`${high} ${low}`);
      }
    }
    expect(seen.size).toBe(15_000);
  });

  test('folded parts are one per region, in order, as wide as all', () => {
    const parts = new FoldedParts();
    expect(parts.member()).toEqual({});
    parts.add(WEST, 5n, 9n);
    parts.add(EU, 1n, 2n);
    parts.add(WEST, 3n, 4n);
    expect(parts.member().folded).toEqual([
      { region: EU, startUnixNanoMin: 1n, endUnixNanoMax: 2n },
      { region: WEST, startUnixNanoMin: 3n, endUnixNanoMax: 9n },
    ]);
  });
});

/** Copies of the index may one day give each other filters: keys must not change. */
const GOLDEN_KEY = { high: 4_078_438_809, low: 984_078_092 };
