import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BUCKET_MS } from '../index/digest.js';
import { FOLD_DAY_MS } from '../index/folded.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { TraceMetadata } from '../model/metadata.js';
import { msToUnixNano } from '../model/time.js';
import type { RegionIndexReads } from '../region-api/region-client.js';
import { ManualClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/logger.js';
import { type PeerReport, type RECONCILE_LIMITS, reconcile } from './reconcile.js';

const east = 'us-east-1' as RegionId;
const west = 'us-west-2' as RegionId;
const eu = 'eu-west-1' as RegionId;
const regions = [east, west, eu];
const DAYS = 4;
const HOUR_MS = BUCKET_MS;
/** Start of the first of the days. */
const T0_MS = 19_000 * FOLD_DAY_MS;
const clock = new ManualClock(T0_MS + (DAYS + 2) * FOLD_DAY_MS);
const dayMs = (day: number) => T0_MS + day * FOLD_DAY_MS;

/** Trace `n`, which began `n` hours into the days. */
function trace(n: number, region: RegionId, key = 1): TraceMetadata {
  const startUnixNano = msToUnixNano(T0_MS + n * HOUR_MS + 1);
  return {
    traceId: (n + 1).toString(16).padStart(32, '0') as TraceId,
    region,
    startUnixNano,
    endUnixNano: startUnixNano + 1_000_000n,
    root: null,
    coverage: [{ key, service: 'a', spanCount: 1, errorCount: 0 }],
    flags: 1,
    blocks: [],
  };
}

const add = (index: MemoryTraceIndex, traces: readonly TraceMetadata[]) =>
  index.apply(traces.map((one) => ({ region: one.region, traces: [one], watermark: null, catalogue: [] })));

/** Folds the days before the one of this number, whatever they hold. */
const fold = (index: MemoryTraceIndex, beforeDay: number) => index.fold(msToUnixNano(dayMs(beforeDay)), 1);

/** Another region's copy; `meanwhile` happens before each of its answers. */
function client(index: MemoryTraceIndex, meanwhile: () => Promise<unknown> = async () => {}): RegionIndexReads {
  return {
    indexDigests: async (region) => {
      await meanwhile();
      return index.digests(region);
    },
    indexBucket: async (region, bucketStartMs, after, limit) => {
      await meanwhile();
      return index.bucket(region, bucketStartMs, after, limit);
    },
  };
}

async function run(
  home: RegionId,
  index: MemoryTraceIndex,
  peer: RegionId,
  reads: RegionIndexReads,
  over: { readonly oldestMs?: number; readonly limits?: Partial<typeof RECONCILE_LIMITS> } = {},
): Promise<PeerReport> {
  const peers = [{ region: peer, client: reads }];
  const report = await reconcile({ home, sources: regions, peers, index, clock, logger: silentLogger, ...over });
  return report.peers[0]!;
}

/** Exact records of the days from `from` to before `to`, as `region trace` by order. */
async function exact(index: MemoryTraceIndex, from: number, to: number): Promise<string[]> {
  const found: string[] = [];
  for (const region of regions) {
    for (let ms = dayMs(from); ms < dayMs(to); ms += HOUR_MS) {
      for (const { traceId } of await index.bucket(region, ms, null, 1000)) found.push(`${region} ${traceId}`);
    }
  }
  return found.sort();
}

describe('reconcile of folded indexes', () => {
  test('folded here, not there: nothing is taken back, nor compared', async () => {
    const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    for (const index of [here, there]) await add(index, [trace(1, eu), trace(30, eu)]);
    await fold(here, 1);
    const report = await run(east, here, west, client(there));
    expect(report).toMatchObject({ bucketsCompared: 1, bucketsDiffering: 0, recordsJoined: 0, error: null });
    expect(await exact(here, 0, 1)).toEqual([]);
  });

  test('folded there, not here: nothing is taken for missing', async () => {
    const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    for (const index of [here, there]) await add(index, [trace(1, eu), trace(30, eu)]);
    await fold(there, 1);
    expect(await run(east, here, west, client(there))).toMatchObject({ bucketsCompared: 1, bucketsDiffering: 0 });
    expect(await exact(here, 0, 1)).toHaveLength(1);
  });

  test('what came late for a folded day is in neither comparison', async () => {
    const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    for (const index of [here, there]) {
      await add(index, [trace(1, eu), trace(2, eu), trace(30, eu)]);
      await fold(index, 1);
    }
    await add(there, [trace(3, eu)]);
    expect(await run(east, here, west, client(there))).toMatchObject({ bucketsCompared: 1, recordsJoined: 0 });
  });

  test('the later one of the two limits counts', async () => {
    const compared = async (foldedDays: number, oldestMs: number) => {
      const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
      await add(here, [trace(1, eu)]);
      await fold(here, foldedDays);
      // The first hour of each day.
      await add(
        there,
        Array.from({ length: DAYS }, (_, day) => trace(day * 24, eu)),
      );
      return (await run(east, here, west, client(there), { oldestMs })).bucketsCompared;
    };
    expect(await compared(1, 0)).toBe(DAYS - 1);
    expect(await compared(1, dayMs(2))).toBe(DAYS - 2);
    expect(await compared(0, dayMs(1) + 1)).toBe(DAYS - 2);
    expect(await compared(0, 0)).toBe(DAYS);
  });

  test('a day that is folded between the pages of its bucket is left at once', async () => {
    const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    // Four traces of one hour.
    const many = [1, 2, 3, 4].map((n) => ({ ...trace(1, eu), traceId: trace(n, eu).traceId }));
    await add(there, many);
    await add(here, [trace(2, eu)]);
    let answers = 0;
    const folding = client(there, async () => {
      // Digests of three regions, a page that is taken, and a page that is not.
      if (++answers === 5) await fold(here, 1);
    });
    const report = await run(east, here, west, folding, { limits: { pageRecords: 2 } });
    expect(report).toMatchObject({ recordsJoined: 2, error: null });
    expect(await here.foldedBeforeMs()).toBe(dayMs(1));
    expect(await exact(here, 0, 1)).toEqual([]);
  });

  test('a day that is folded just after the digests were read does not seem to be missing', async () => {
    const [here, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    // Of the region that is compared first.
    for (const index of [here, there]) await add(index, [trace(1, east)]);
    const ask = here.foldedBeforeMs.bind(here);
    here.foldedBeforeMs = async () => {
      const before = await ask();
      await fold(here, 1);
      return before;
    };
    expect(await run(east, here, west, client(there))).toMatchObject({ bucketsDiffering: 0, recordsJoined: 0 });
  });

  test('an index that was lost takes what its peer has exactly, and nothing of its folded days', async () => {
    const [lost, there] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    await add(there, [trace(1, eu), trace(30, eu), trace(60, east)]);
    await fold(there, 2);
    expect((await run(east, lost, west, client(there))).recordsJoined).toBe(1);
    expect(await exact(lost, 0, DAYS)).toEqual([`${east} ${trace(60, east).traceId}`]);
  });

  test('whoever folds when, also while they compare: nothing that is folded comes back, and what neither has folded is equal', async () => {
    const anyParts = fc.array(
      fc.record({
        n: fc.nat(DAYS * 24 - 1),
        region: fc.constantFrom(...regions),
        key: fc.integer({ min: 1, max: 2 }),
      }),
      { maxLength: 40 },
    );
    const anyFolds = fc.record({
      first: fc.nat(DAYS),
      /** A later fold, before this many answers of the other side. */
      later: fc.record({ beforeDay: fc.nat(DAYS), answers: fc.nat(8) }),
    });
    let spared = 0;
    await fc.assert(
      fc.asyncProperty(anyParts, anyParts, anyFolds, anyFolds, async (ofA, ofB, foldsA, foldsB) => {
        const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
        for (const [index, parts, { first }] of [
          [a, ofA, foldsA],
          [b, ofB, foldsB],
        ] as const) {
          await add(
            index,
            parts.map(({ n, region, key }) => trace(n, region, key)),
          );
          await fold(index, first);
        }
        /** Reconciles `own` with `other`; own folds on in the midst of it. Gives the days that may not gain records. */
        const side = async (home: RegionId, own: MemoryTraceIndex, other: MemoryTraceIndex, folds: typeof foldsA) => {
          const foldedDays = async () => Math.max(0, ((await own.foldedBeforeMs()) - T0_MS) / FOLD_DAY_MS);
          let answers = 0;
          let allowed = await exact(own, 0, await foldedDays());
          const reads = client(other, async () => {
            if (answers++ !== folds.later.answers) return;
            await fold(own, folds.later.beforeDay);
            allowed = await exact(own, 0, await foldedDays());
          });
          const report = await run(home, own, home === east ? west : east, reads, { limits: { pageRecords: 1 } });
          expect(report.error).toBeNull();
          const after = await exact(own, 0, await foldedDays());
          expect(after).toEqual(allowed);
          if (await foldedDays()) spared++;
        };
        await side(east, a, b, foldsA);
        await side(west, b, a, foldsB);
        // Once more where one folded in the midst of it; then all that neither has folded is the same.
        await run(east, a, west, client(b));
        await run(west, b, east, client(a));
        const bothMs = Math.max(await a.foldedBeforeMs(), await b.foldedBeforeMs());
        const young = async (index: MemoryTraceIndex, of: RegionId) =>
          (await index.digests(of)).filter(({ bucketStartMs }) => bucketStartMs >= bothMs);
        for (const region of regions) expect(await young(a, region)).toEqual(await young(b, region));
      }),
      { numRuns: 200, seed: 3 },
    );
    expect(spared).toBeGreaterThan(100);
  });
});
