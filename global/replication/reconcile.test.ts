import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BUCKET_MS } from '../index/digest.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import type { RegionIndexReads } from '../region-api/region-client.js';
import { ManualClock } from '../runtime/clock.js';
import { MeridianError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/logger.js';
import { settle } from './memory-log.testing.js';
import {
  createReconcileSchedule,
  RECONCILE_LIMITS,
  reconcile,
  reconcileOldestMs,
  YOUNG_BUCKET_MS,
  YOUNG_BUCKET_RECORDS_MAX,
} from './reconcile.js';

const east = 'us-east-1' as RegionId;
const west = 'us-west-2' as RegionId;
const eu = 'eu-west-1' as RegionId;
const regions = [east, west, eu];
const clock = new ManualClock();
/** A bucket that is long over. */
const T0 = BigInt(Math.floor(clock.nowMs() / BUCKET_MS) - 10) * BigInt(BUCKET_MS) * 1_000_000n;
const HOUR = BigInt(BUCKET_MS) * 1_000_000n;

const traceId = (n: number) => (n + 1).toString(16).padStart(32, '0') as TraceId;

function trace(n: number, region: RegionId, over: Partial<TraceMetadata> = {}): TraceMetadata {
  return {
    traceId: traceId(n),
    region,
    startUnixNano: T0 + BigInt(n % 5) * HOUR,
    endUnixNano: T0 + 6n * HOUR,
    root: null,
    coverage: [{ key: n & 0xffffff, service: 'a', spanCount: 1, errorCount: 0 }],
    flags: 1,
    blocks: [],
    ...over,
  };
}

function client(index: MemoryTraceIndex): RegionIndexReads & { buckets: number } {
  return {
    buckets: 0,
    indexDigests: (region) => index.digests(region),
    indexBucket(region, bucketStartMs, after, limit) {
      this.buckets++;
      return index.bucket(region, bucketStartMs, after, limit);
    },
  };
}

const add = (index: MemoryTraceIndex, region: RegionId, traces: TraceMetadata[]) =>
  index.apply([{ region, traces, watermark: null, catalogue: [] }]);

function run(home: RegionId, index: MemoryTraceIndex, peers: [RegionId, RegionIndexReads][], over = {}) {
  return reconcile({
    home,
    sources: regions,
    peers: peers.map(([region, c]) => ({ region, client: c })),
    index,
    clock,
    logger: silentLogger,
    ...over,
  });
}

describe('reconcile', () => {
  test('equal indexes: digests are compared, nothing is pulled', async () => {
    const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    for (const index of [a, b]) await add(index, eu, [trace(1, eu), trace(2, eu)]);
    const peer = client(b);
    const { peers } = await run(east, a, [[west, peer]]);
    expect(peers).toEqual([
      { peer: west, bucketsCompared: 2, bucketsDiffering: 0, recordsJoined: 0, bucketsEqualAfter: 0, error: null },
    ]);
    expect(peer.buckets).toBe(0);
  });

  test('any two histories are equal by digest once both sides ran it', async () => {
    const anyPart = fc.array(
      fc.record({ n: fc.nat(30), region: fc.constantFrom(...regions), spanCount: fc.integer({ min: 1, max: 3 }) }),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(anyPart, anyPart, async (ofA, ofB) => {
        const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
        for (const [index, parts] of [
          [a, ofA],
          [b, ofB],
        ] as const) {
          for (const { n, region, spanCount } of parts) {
            const coverage = [{ key: spanCount, service: 'a', spanCount, errorCount: 0 }];
            await add(index, region, [trace(n, region, { coverage })]);
          }
        }
        await run(east, a, [[west, client(b)]]);
        const { peers } = await run(west, b, [[east, client(a)]]);
        expect(peers[0]!.bucketsEqualAfter).toBe(peers[0]!.bucketsDiffering);
        for (const region of regions) expect(await a.digests(region)).toEqual(await b.digests(region));
      }),
      { numRuns: 30 },
    );
  });

  test('a lost index comes back from its peers in pages; blocks are not taken from them', async () => {
    const [lost, peer] = [new MemoryTraceIndex(east), new MemoryTraceIndex(east)];
    const count = 2 * RECONCILE_LIMITS.pageRecords + 1;
    const blocks = ['us-east-1/0/0/1' as BlockId];
    await add(
      peer,
      east,
      Array.from({ length: count }, (_, n) => trace(n, east, { startUnixNano: T0, blocks })),
    );
    const api = client(peer);
    const told: number[] = [];
    const { peers } = await run(east, lost, [[west, api]], {
      progress: (report: { recordsJoined: number }) => told.push(report.recordsJoined),
    });
    expect(peers[0]).toMatchObject({ bucketsDiffering: 1, recordsJoined: count, bucketsEqualAfter: 1 });
    expect(told).toEqual([count]);
    expect(api.buckets).toBe(4);
    expect((await lost.locate([traceId(7)]))[0]!.records[0]!.blocks).toEqual([]);
  });

  test('a peer that fails is reported and the next one is asked', async () => {
    const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(eu)];
    await add(b, eu, [trace(1, eu)]);
    const dead: RegionIndexReads = {
      indexDigests: () => Promise.reject(new MeridianError('unavailable', 'not reached', 'later')),
      indexBucket: () => Promise.reject(new Error('never asked')),
    };
    const { peers } = await run(east, a, [
      [west, dead],
      [eu, client(b)],
    ]);
    expect(peers.map((p) => [p.peer, p.error, p.recordsJoined])).toEqual([
      [west, 'not reached', 0],
      [eu, null, 1],
    ]);
  });

  test('a peer whose pages make no sense is left, and nothing of the page is taken', async () => {
    const a = new MemoryTraceIndex(east);
    const digest = { region: eu, bucketStartMs: Number(T0 / 1_000_000n), recordCount: 2, hash: '0'.repeat(16) };
    for (const page of [[trace(5, eu), trace(5, eu)], [trace(5, west)]]) {
      const odd: RegionIndexReads = {
        indexDigests: async (region) => (region === eu ? [digest] : []),
        indexBucket: async () => page,
      };
      const { peers } = await run(east, a, [[west, odd]]);
      expect(peers[0]!.error).toContain('out of order');
      expect(await a.digests(eu)).toEqual([]);
    }
  });

  test('a failure of the own index rejects', async () => {
    const b = new MemoryTraceIndex(eu);
    await add(b, eu, [trace(1, eu)]);
    const own = new MemoryTraceIndex(east);
    own.apply = () => Promise.reject(new MeridianError('unavailable', 'own index', 'later'));
    await expect(run(east, own, [[eu, client(b)]])).rejects.toMatchObject({
      message: 'own index',
      code: 'unavailable',
    });
  });

  test('buckets that expiry is about to take are left alone', async () => {
    const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    await add(b, eu, [trace(0, eu), trace(1, eu)]);
    const oldestMs = Number(T0 / 1_000_000n) + 1;
    const { peers } = await run(east, a, [[west, client(b)]], { oldestMs });
    expect(peers[0]).toMatchObject({ bucketsCompared: 1, recordsJoined: 1 });
    expect(reconcileOldestMs(10 * BUCKET_MS, 3 * BUCKET_MS)).toBe(8 * BUCKET_MS);
  });

  test('a young bucket is compared while it is small, an older one always', async () => {
    const compared = async (bucketStartMs: number, recordCount: number) => {
      const peer: RegionIndexReads = {
        indexDigests: async (region) =>
          region === eu ? [{ region, bucketStartMs, recordCount, hash: '1'.repeat(16) }] : [],
        indexBucket: async () => [],
      };
      return (await run(east, new MemoryTraceIndex(east), [[west, peer]])).peers[0]!.bucketsCompared;
    };
    const youngMs = clock.nowMs() - BUCKET_MS - YOUNG_BUCKET_MS;
    expect(await compared(youngMs, YOUNG_BUCKET_RECORDS_MAX)).toBe(1);
    expect(await compared(youngMs, YOUNG_BUCKET_RECORDS_MAX + 1)).toBe(0);
    expect(await compared(youngMs - 1, YOUNG_BUCKET_RECORDS_MAX + 1)).toBe(1);
  });

  test('limits of pages and buckets: at and one past', async () => {
    const b = new MemoryTraceIndex(west);
    await add(
      b,
      eu,
      [0, 1, 2, 3].map((n) => trace(n, eu, { startUnixNano: T0 })),
    );
    const of = async (limits: object) => {
      const { peers } = await run(east, new MemoryTraceIndex(east), [[west, client(b)]], { limits });
      return [peers[0]!.recordsJoined, peers[0]!.error];
    };
    expect(await of({ pageRecords: 2, pagesMax: 2 })).toEqual([4, null]);
    expect(await of({ pageRecords: 2, pagesMax: 1 })).toEqual([2, expect.stringContaining('does not end')]);
    await add(b, eu, [trace(9, eu)]);
    expect(await of({ bucketsMax: 2 })).toEqual([5, null]);
    expect(await of({ bucketsMax: 1 })).toEqual([0, expect.stringContaining('names 2 buckets')]);
  });

  test('an abort ends it between buckets', async () => {
    const [a, b] = [new MemoryTraceIndex(east), new MemoryTraceIndex(west)];
    await add(
      b,
      eu,
      [0, 1, 2, 3].map((n) => trace(n, eu)),
    );
    const stop = new AbortController();
    const { peers } = await run(east, a, [[west, client(b)]], {
      signal: stop.signal,
      progress: () => stop.abort(),
    });
    expect(peers[0]!.recordsJoined).toBe(1);
  });
});

describe('reconcile schedule', () => {
  function scheduled(runs: (signal: AbortSignal) => Promise<unknown>) {
    const time = new ManualClock();
    let beat = () => {};
    let ended = false;
    const service = createReconcileSchedule({
      run: runs,
      clock: time,
      logger: silentLogger,
      random: () => 0.5,
      jitterMs: 1000,
      schedule: (expression, onBeat) => {
        expect(expression).toBe('*/15 * * * *');
        beat = onBeat;
        return () => {
          ended = true;
        };
      },
    });
    return { time, service, beat: () => beat(), ended: () => ended };
  }

  test('waits its jitter, runs one at a time, goes on after a failure', async () => {
    let runs = 0;
    let release = () => {};
    const { time, service, beat } = scheduled(() => {
      runs++;
      if (runs === 1) return Promise.reject(new Error('once'));
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    });
    await service.start();
    beat();
    await time.advance(499);
    expect(runs).toBe(0);
    await time.advance(1);
    await settle();
    expect(runs).toBe(1);
    beat();
    await time.advance(500);
    beat();
    await time.advance(500);
    expect(runs).toBe(2);
    release();
    await settle();
    beat();
    await time.advance(500);
    expect(runs).toBe(3);
    release();
    await service.stop();
  });

  test('stop ends the beat, the wait and the run', async () => {
    let aborted = false;
    const { time, service, beat, ended } = scheduled(async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      aborted = true;
    });
    await service.start();
    beat();
    await time.advance(500);
    await service.stop();
    expect([aborted, ended()]).toEqual([true, true]);
  });

  test('an expression that is none is a configuration error; node-cron beats and ends', async () => {
    const make = (cron: string) =>
      createReconcileSchedule({ cron, run: async () => {}, clock, logger: silentLogger, random: () => 0 });
    await expect(make('every now and then').start()).rejects.toMatchObject({ code: 'configuration' });
    const service = make('0 0 1 1 *');
    await service.start();
    await service.stop();
  });
});
