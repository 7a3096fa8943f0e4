import { expect, test } from 'vitest';
import { tracePartition } from '../log/partition.js';
import { type RegionId, traceIdBytes } from '../model/ids.js';
import type { TraceIndex } from './trace-index.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const ABSENT = 'ap-south-1' as RegionId;

/** The part of the contract suite that proofs of absence rest on (docs/decisions/0006): watermarks, positions, totals. */
export function vouchingContract(fresh: () => Promise<TraceIndex>): void {
  test('a watermark goes with what it vouches for: the higher one whole, of equal ones the one that vouches for more', async () => {
    const index = await fresh();
    const claim = async (nano: bigint, vouchedFromUnixNano?: bigint) => {
      const mark = { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: nano };
      const watermark = vouchedFromUnixNano === undefined ? mark : { ...mark, vouchedFromUnixNano };
      await index.apply([contractRecord(WEST, [], { watermark })]);
      const all = (await index.watermarks()).map((w) => [w.watermarkUnixNano, w.vouchedFromUnixNano]);
      const located = (await index.locate([contractTraceId(1)]))[0]!.watermarks;
      expect(located.map((w) => [w.watermarkUnixNano, w.vouchedFromUnixNano])).toEqual(all);
      return all[0];
    };
    expect(await claim(T0 + 5n)).toEqual([T0 + 5n, undefined]);
    expect(await claim(T0 + 5n, 7n)).toEqual([T0 + 5n, 7n]);
    expect(await claim(T0 + 5n, 9n)).toEqual([T0 + 5n, 7n]);
    expect(await claim(T0 + 5n)).toEqual([T0 + 5n, 7n]);
    expect(await claim(T0 + 4n, 0n)).toEqual([T0 + 5n, 7n]);
    expect(await claim(T0 + 6n, T0)).toEqual([T0 + 6n, T0]);
    expect(await claim(T0 + 6n, 0n)).toEqual([T0 + 6n, 0n]);
    expect(await claim(T0 + 7n)).toEqual([T0 + 7n, undefined]);
  });

  test('where two partitions speak for a trace, no more is vouched for than by either', async () => {
    const index = await fresh();
    let n = 0;
    const partOf = (count: number) => tracePartition(traceIdBytes(contractTraceId(n)), 0, count);
    while (partOf(8) === partOf(16)) n++;
    const mark = (partitionCount: number, nano: bigint, vouched: { vouchedFromUnixNano?: bigint }) =>
      index.apply([
        contractRecord(WEST, [], {
          watermark: {
            region: WEST,
            partition: partOf(partitionCount),
            partitionCount,
            watermarkUnixNano: nano,
            ...vouched,
          },
        }),
      ]);
    const spoken = async () => (await index.locate([contractTraceId(n)]))[0]!.watermarks;
    await mark(8, T0 + 1n, { vouchedFromUnixNano: 0n });
    await mark(16, T0 + 9n, { vouchedFromUnixNano: 55n });
    expect(await spoken()).toEqual([
      { region: WEST, partition: partOf(8), partitionCount: 8, watermarkUnixNano: T0 + 1n, vouchedFromUnixNano: 55n },
    ]);
    await mark(16, T0 + 10n, {});
    expect((await spoken()).map((w) => w.vouchedFromUnixNano)).toEqual([undefined]);
  });

  test('positions are kept as they were given last, with records or alone, until all is cleared', async () => {
    const index = await fresh();
    const position = (topic: string, partition: number, nextOffset: number, vouchedFromUnixNano: bigint) => ({
      topic,
      partition,
      nextOffset,
      vouchedFromUnixNano,
    });
    expect(await index.feedPosition('a', 0)).toBeNull();
    await index.apply([contractRecord(WEST, [contractTrace(1, WEST)])], position('a', 0, 7, 0n));
    await index.apply([], position('a', 1, 2 ** 40, T0));
    await Promise.all([
      index.apply([], position('b', 0, 1, 1n)),
      index.apply([contractRecord(WEST, [])], position('b', 0, 2, 1n)),
    ]);
    await index.apply([contractRecord(WEST, [contractTrace(2, WEST)])]);
    expect(await index.feedPosition('a', 0)).toEqual(position('a', 0, 7, 0n));
    expect(await index.feedPosition('a', 1)).toEqual(position('a', 1, 2 ** 40, T0));
    expect(await index.feedPosition('b', 0)).toEqual(position('b', 0, 2, 1n));
    expect(await index.feedPosition('b', 1)).toBeNull();
    // Backwards too: a rebuild begins again.
    await index.apply([], position('a', 0, 3, T0));
    expect(await index.feedPosition('a', 0)).toEqual(position('a', 0, 3, T0));
    await index.expire(T0 + HOUR);
    expect(await index.feedPosition('a', 0)).not.toBeNull();
    await index.clear();
    expect(await index.feedPosition('a', 0)).toBeNull();
  });

  test('the catalogue’s totals count each entry that is added, and do not fall when it expires', async () => {
    const index = await fresh();
    const seenMs = Number(T0 / 1_000_000n);
    const see = (region: RegionId, operation: string, lastSeenMs = seenMs) =>
      index.apply([contractRecord(region, [], { catalogue: [{ service: 'a', operation, kind: 1, lastSeenMs }] })]);
    const totals = async () => {
      const found = await index.catalogueTotals();
      return [WEST, EU, ABSENT].map((region) => found.get(region) ?? 0);
    };
    expect(await totals()).toEqual([0, 0, 0]);
    await see(WEST, 'x');
    await see(WEST, 'x', seenMs + 1);
    await see(WEST, 'y');
    await see(EU, 'x');
    expect(await totals()).toEqual([2, 1, 0]);
    await index.expire(T0 + 1_000_000_000n * 86_400n * 30n);
    expect(await index.catalogue()).toEqual([]);
    expect(await totals()).toEqual([2, 1, 0]);
    await see(WEST, 'x');
    expect(await totals()).toEqual([3, 1, 0]);
    await index.clear();
    expect(await totals()).toEqual([0, 0, 0]);
  });
}
