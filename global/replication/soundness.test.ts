import fc from 'fast-check';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { encodeFeedRecord } from '../index/feed-codec.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { TraceIndexWriter } from '../index/trace-index.js';
import { tracePartition } from '../log/partition.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { FeedRecord, TraceMetadata } from '../model/metadata.js';
import { msToUnixNano, unixNanoToMs } from '../model/time.js';
import { ManualClock } from '../runtime/clock.js';
import { noCrash } from '../runtime/crash-points.js';
import { MeridianError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/logger.js';
import { createApplier } from './applier.js';
import { createLink } from './link.js';
import { MemoryFeed, MemoryLog, settle } from './memory-log.testing.js';
import { reconcile } from './reconcile.js';

/**
 * Skipping is sound as far as the index goes: whatever delays, cuts, crashes, late spans and skewed clocks do, no copy of the
 * index ever holds a watermark past a span without also holding a record that covers the span. The source region is simulated
 * by the rules of docs/decisions/0001; link, applier, codec and index are the real ones.
 */
const source = 'us-west-2' as RegionId;
const observer = 'us-east-1' as RegionId;
const SPANS_PARTITIONS = 3;
const FEED_PARTITIONS = 2;

interface AppendedSpan {
  readonly traceId: TraceId;
  readonly key: number;
  /** By the clock of the assembler. */
  readonly appendedMs: number;
}

class SourceRegion {
  readonly spans: AppendedSpan[] = [];
  readonly #partitions: { span: AppendedSpan; startMs: number }[][] = Array.from(
    { length: SPANS_PARTITIONS },
    () => [],
  );
  readonly #read = Array.from({ length: SPANS_PARTITIONS }, () => 0);
  readonly #committed = Array.from({ length: SPANS_PARTITIONS }, () => 0);

  constructor(
    private readonly log: MemoryLog,
    private readonly clock: ManualClock,
    private readonly skewMs: number,
  ) {}

  #now(): number {
    return this.clock.nowMs() + this.skewMs;
  }

  append(traceNumber: number, lateMs: number): void {
    const traceId = (traceNumber + 1).toString(16).padStart(32, 'ab') as TraceId;
    const partition = tracePartition(Buffer.from(traceId, 'hex'), 0, SPANS_PARTITIONS);
    const span = { traceId, key: this.spans.length, appendedMs: this.#now() };
    this.spans.push(span);
    this.#partitions[partition]!.push({ span, startMs: span.appendedMs - lateMs });
  }

  /** Asks for the end, reads up to `readMax` further, announces, and publishes the watermark if it got to that end. */
  async assemble(partition: number, readMax: number, between: () => void): Promise<void> {
    const askedAtMs = this.#now();
    const records = this.#partitions[partition]!;
    const end = records.length;
    between();
    const from = this.#read[partition]!;
    const read = records.slice(from, from + readMax);
    const traces = read.map(
      ({ span, startMs }): TraceMetadata => ({
        traceId: span.traceId,
        region: source,
        startUnixNano: msToUnixNano(startMs),
        endUnixNano: msToUnixNano(startMs + 5),
        root: null,
        coverage: [{ key: span.key, service: 'a', spanCount: 1, errorCount: 0 }],
        flags: 0,
        blocks: [],
      }),
    );
    this.#read[partition] = from + read.length;
    // Several records, so that a batch may end between a trace and the watermark that vouches for it.
    for (const trace of traces) await this.#publish(partition, { traces: [trace] });
    if (this.#read[partition]! < end) return;
    const watermarkUnixNano = msToUnixNano(askedAtMs);
    await this.#publish(partition, {
      watermark: { region: source, partition, partitionCount: SPANS_PARTITIONS, watermarkUnixNano },
    });
  }

  async #publish(partition: number, record: Partial<FeedRecord>): Promise<void> {
    const value = encodeFeedRecord({ region: source, traces: [], watermark: null, catalogue: [], ...record });
    await this.log.append('trace-metadata', partition % FEED_PARTITIONS, [{ key: null, value, headers: {} }]);
  }

  commit(partition: number): void {
    this.#committed[partition] = this.#read[partition]!;
  }

  /** The assembler goes on from its last commit. */
  crash(): void {
    for (let p = 0; p < SPANS_PARTITIONS; p++) this.#read[p] = this.#committed[p]!;
  }
}

const anyStep = fc.oneof(
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
);

describe('soundness of watermarks', () => {
  test('no copy of the index claims a watermark past a span that it has no record of', async () => {
    let claims = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyStep, { minLength: 20, maxLength: 80 }),
        fc.integer({ min: -90_000, max: 90_000 }),
        async (steps, skewMs) => {
          const clock = new ManualClock();
          const there = new MemoryLog(clock, { 'trace-metadata': FEED_PARTITIONS, 'trace-metadata.dlq': 1 });
          const here = new MemoryLog(clock, { [`${source}.trace-metadata`]: FEED_PARTITIONS, 'trace-metadata.dlq': 1 });
          const region = new SourceRegion(there, clock, skewMs);
          const ownCopy = new MemoryTraceIndex(source);
          const farCopy = new MemoryTraceIndex(observer);
          let away = false;
          const flaky: TraceIndexWriter = {
            apply: async (records) => {
              // Takes its time, so that a batch is seen half applied.
              await settle(1);
              if (away) throw new MeridianError('unavailable', 'away', 'later');
              await farCopy.apply(records);
            },
          };
          const parts = { clock, logger: silentLogger, crash: noCrash, random: () => 0.5 };
          const registry = new Registry();
          const limits = { gatherMs: 0, batchBytesMax: 400, tracesPerApplyMax: 0 };
          const own = createApplier({
            ...parts,
            home: source,
            sources: [source],
            log: there,
            index: ownCopy,
            registry: new Registry(),
            limits,
          });
          const openFar = () =>
            createApplier({ ...parts, home: observer, sources: [source], log: here, index: flaky, registry, limits });
          let far = openFar();
          const link = createLink({
            ...parts,
            source,
            client: new MemoryFeed(there, 100),
            log: here,
            topics: [{ name: 'trace-metadata', partitions: FEED_PARTITIONS }],
            registry,
          });
          await Promise.all([own.start(), far.start(), link.start()]);

          const check = async () => {
            for (const copy of [ownCopy, farCopy]) {
              for (const span of region.spans) {
                const [found] = await copy.locate([span.traceId]);
                const mark = found!.watermarks[0];
                if (!mark || unixNanoToMs(mark.watermarkUnixNano) <= span.appendedMs) continue;
                claims++;
                expect(found!.records[0]?.coverage.some((c) => c.key === span.key)).toBe(true);
              }
            }
          };

          for (const step of steps) {
            if (step.do === 'append') region.append(step.trace, step.late);
            else if (step.do === 'assemble') {
              await region.assemble(step.partition, step.readMax, () => {
                if (step.between) region.append(step.partition, 0);
              });
            } else if (step.do === 'wait') await clock.advance(step.ms);
            else if (step.do === 'delay') link.setDelayMs(step.ms);
            else if (step.do === 'commit') for (let p = 0; p < SPANS_PARTITIONS; p++) region.commit(p);
            else if (step.do === 'crash') region.crash();
            else if (step.do === 'cut') link.cut();
            else if (step.do === 'heal') link.heal();
            else if (step.do === 'index-away') away = true;
            else if (step.do === 'index-back') away = false;
            else if (step.do === 'mirror-fails') {
              here.onAppend = (when) => {
                here.onAppend = () => {};
                if (when === 'before') throw new Error('disk full for a moment');
              };
            } else if (step.do === 'lose-index') {
              // A lost index is rebuilt from the log: the consumer stops, the group goes back, a new one starts.
              await far.stop();
              await farCopy.clear();
              for (let p = 0; p < FEED_PARTITIONS; p++) await here.rewind('index', `${source}.trace-metadata`, p, 0);
              far = openFar();
              await far.start();
            }
            await settle(2);
            await check();
          }

          // In the end everything arrives everywhere, and every watermark passes.
          link.heal();
          away = false;
          for (let round = 0; round < 6; round++) {
            await clock.advance(2_000);
            for (let p = 0; p < SPANS_PARTITIONS; p++) await region.assemble(p, 1000, () => {});
            await settle(10);
          }
          for (let i = 0; i < 10; i++) {
            await clock.advance(1_000);
            await settle(10);
          }
          await check();
          for (const { traceId, key, appendedMs } of region.spans) {
            const [found] = await farCopy.locate([traceId]);
            expect(found!.records[0]!.coverage.some((c) => c.key === key)).toBe(true);
            expect(unixNanoToMs(found!.watermarks[0]!.watermarkUnixNano)).toBeGreaterThan(appendedMs);
          }
          expect(await farCopy.digests(source)).toEqual(await ownCopy.digests(source));
          await Promise.all([own.stop(), far.stop(), link.stop()]);
        },
      ),
      { numRuns: 40 },
    );
    // The property is not empty: watermarks were relied on.
    expect(claims).toBeGreaterThan(1000);
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
