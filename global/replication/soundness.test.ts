import fc from 'fast-check';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { RegionId, TraceId } from '../model/ids.js';
import { unixNanoToMs } from '../model/time.js';
import { ManualClock } from '../runtime/clock.js';
import { noCrash } from '../runtime/crash-points.js';
import { silentLogger } from '../runtime/logger.js';
import { createApplier } from './applier.js';
import { MemoryLog, settle } from './memory-log.testing.js';
import { reconcile } from './reconcile.js';
import { FEED_PARTITIONS, observer, SourceRegion, SPANS_PARTITIONS, source, World } from './soundness-world.testing.js';

/**
 * Skipping is sound as far as the index goes: whatever delays, cuts, crashes, late spans and skewed clocks do, and whatever
 * logs forget and indexes lose, no copy of the index ever holds a watermark that vouches for a span without also holding a record that covers
 * the span. The source region is simulated by the rules of docs/decisions/0001; link, applier, codec and index are the real ones.
 */
const harmlessSteps = [
  { weight: 6, arbitrary: fc.record({ do: fc.constant('append' as const), trace: fc.nat(7), late: fc.nat(400_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('assemble' as const),
      partition: fc.nat(SPANS_PARTITIONS - 1),
      readMax: fc.nat(4),
      between: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 900 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('commit', 'crash', 'cut', 'heal') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delay' as const), ms: fc.nat(300) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('index-away', 'index-back', 'lose-index', 'mirror-fails') }),
  },
];

const share = fc.double({ min: 0, max: 1, noNaN: true });
const losses = [
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('source-forgets', 'mirror-forgets'),
      partition: fc.nat(FEED_PARTITIONS - 1),
      share,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('index-empty', 'rebuild-from', 'read-again'), share }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fall-behind' as const), share, moved: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut-long' as const), share }) },
];

const anySkewMs = fc.integer({ min: -90_000, max: 90_000 });

describe('soundness of watermarks', () => {
  test('no copy of the index claims a watermark past a span that it has no record of', async () => {
    let claims = 0;
    const anySteps = fc.array(fc.oneof(...harmlessSteps), { minLength: 20, maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(anySteps, anySkewMs, async (steps, skewMs) => {
        const world = new World(skewMs);
        const { region, ownCopy, farCopy } = world;
        await world.start();
        for (const step of steps) {
          await world.step(step);
          await settle(2);
          expect(await world.lies()).toEqual([]);
        }
        // In the end everything arrives everywhere, every watermark passes, and all of the feed is vouched for.
        await world.calm();
        expect(await world.lies()).toEqual([]);
        for (const { traceId, key, appendedMs } of region.spans) {
          const [found] = await farCopy.locate([traceId]);
          expect(found!.records[0]!.coverage.some((c) => c.key === key)).toBe(true);
          expect(unixNanoToMs(found!.watermarks[0]!.watermarkUnixNano)).toBeGreaterThan(appendedMs);
          expect(found!.watermarks[0]!.vouchedFromUnixNano).toBe(0n);
        }
        expect(await farCopy.digests(source)).toEqual(await ownCopy.digests(source));
        claims += world.claims;
        await world.stop();
      }),
      { numRuns: 40 },
    );
    // The property is not empty: watermarks were relied on.
    expect(claims).toBeGreaterThan(1000);
  });

  test('nor does one that lost something, or whose feed did', async () => {
    let claims = 0;
    let partial = 0;
    const anySteps = fc.array(fc.oneof(...harmlessSteps, ...losses), { minLength: 20, maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(anySteps, anySkewMs, async (steps, skewMs) => {
        const world = new World(skewMs);
        await world.start();
        for (const step of steps) {
          await world.step(step);
          await settle(2);
          expect(await world.lies()).toEqual([]);
        }
        await world.calm();
        expect(await world.lies()).toEqual([]);
        claims += world.claims;
        for (const { vouchedFromUnixNano } of await world.farCopy.watermarks()) if (vouchedFromUnixNano) partial++;
        await world.stop();
      }),
      { numRuns: 150 },
    );
    expect(claims).toBeGreaterThan(1000);
    // Something was lost, and said to be.
    expect(partial).toBeGreaterThan(20);
  });

  test('after a cut the copies are equal by digest, with the log or by reconcile alone', async () => {
    const clock = new ManualClock();
    const there = new MemoryLog(clock, { 'trace-metadata': FEED_PARTITIONS, 'trace-metadata.dlq': 1 });
    const region = new SourceRegion(there, clock, 0);
    const ownCopy = new MemoryTraceIndex(source);
    const own = createApplier({
      home: source,
      sources: [source],
      log: there,
      index: ownCopy,
      clock,
      logger: silentLogger,
      registry: new Registry(),
      crash: noCrash,
      limits: { gatherMs: 0 },
    });
    await own.start();
    for (let n = 0; n < 200; n++) region.append(n, n * 60_000);
    for (let p = 0; p < SPANS_PARTITIONS; p++) await region.assemble(p, 1000, () => {});
    await settle();
    const lost = new MemoryTraceIndex(observer);
    const peer = {
      indexDigests: (r: RegionId) => ownCopy.digests(r),
      indexBucket: (r: RegionId, start: number, after: TraceId | null, limit: number) =>
        ownCopy.bucket(r, start, after, limit),
    };
    await reconcile({
      home: observer,
      sources: [source],
      peers: [{ region: source, client: peer }],
      index: lost,
      clock,
      logger: silentLogger,
    });
    expect(await lost.digests(source)).toEqual(await ownCopy.digests(source));
    // Reconcile brings records, never watermarks: what it could not see is not vouched for.
    expect(await lost.watermarks()).toEqual([]);
    await own.stop();
  });
});
