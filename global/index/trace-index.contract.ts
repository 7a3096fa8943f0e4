import { afterEach, describe, expect, test } from 'vitest';
import { tracePartition } from '../log/partition.js';
import { type RegionId, traceIdBytes } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { bucketOf, hashText, recordHash } from './digest.js';
import { BUCKET_PAGE_MAX, CATALOGUE_MARGIN_MS, LOCATE_MAX } from './index-limits.js';
import { joinMetadata } from './join.js';
import type { TraceIndex } from './trace-index.js';
import { foldingContract } from './trace-index-folding.contract.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';
import { vouchingContract } from './trace-index-vouching.contract.js';

export const HOME = 'us-east-1' as RegionId;

/**
 * What every TraceIndex promises. `open` gives an empty index whose home region is HOME; the suite closes it. `folds`: false where
 * no day of the contract's times is ever folded. Nothing here relies on how it is kept: no order beyond what the port says, no time at which
 * anything beyond a resolved call happens.
 */
export function traceIndexContract(
  name: string,
  open: () => Promise<TraceIndex>,
  { folds = true }: { readonly folds?: boolean } = {},
): void {
  describe(`trace index contract: ${name}`, () => {
    const opened: TraceIndex[] = [];
    const fresh = async (): Promise<TraceIndex> => {
      const index = await open();
      opened.push(index);
      return index;
    };
    afterEach(async () => {
      for (const index of opened.splice(0)) await index.close();
    });

    test('an empty index knows nothing', async () => {
      const index = await fresh();
      const traceId = contractTraceId(1);
      expect(await index.locate([traceId])).toEqual([{ traceId, records: [], watermarks: [] }]);
      expect(await index.locate([])).toEqual([]);
      expect(await index.watermarks()).toEqual([]);
      expect(await index.catalogue()).toEqual([]);
      expect(await index.digests(HOME)).toEqual([]);
      expect(await index.bucket(HOME, 0, null, 10)).toEqual([]);
      expect(await index.expire(T0)).toBe(0);
      await index.clear();
      await index.apply([]);
    });

    test('locate gives every region’s record in order of region, in the order of the ids', async () => {
      const index = await fresh();
      await index.apply([
        contractRecord(WEST, [contractTrace(1, WEST), contractTrace(2, WEST)]),
        contractRecord(EU, [contractTrace(1, EU)]),
        contractRecord(HOME, [contractTrace(1, HOME)]),
      ]);
      const found = await index.locate([
        contractTraceId(2),
        contractTraceId(9),
        contractTraceId(1),
        contractTraceId(2),
      ]);
      expect(found.map((l) => l.traceId)).toEqual([2, 9, 1, 2].map(contractTraceId));
      expect(found.map((l) => l.records.map((r) => r.region))).toEqual([[WEST], [], [EU, HOME, WEST], [WEST]]);
      expect(found[2]!.records[2]).toEqual(contractTrace(1, WEST));
    });

    test('apply joins, whatever the order, the cutting into calls and the repeats', async () => {
      const parts = [
        contractTrace(1, WEST, { flags: 0, root: null }),
        contractTrace(1, WEST, {
          startUnixNano: T0 - HOUR,
          coverage: [{ key: 9, service: 'b', spanCount: 2, errorCount: 2 }],
        }),
        contractTrace(1, WEST, {
          endUnixNano: T0 + HOUR,
          coverage: [{ key: 1, service: 'a', spanCount: 1, errorCount: 0 }],
        }),
      ];
      const whole = parts.reduce(joinMetadata);
      for (const order of [
        [0, 1, 2],
        [2, 1, 0],
        [1, 1, 2, 0, 1],
      ]) {
        const together = await fresh();
        await together.apply(order.map((i) => contractRecord(WEST, [parts[i]!])));
        const apart = await fresh();
        for (const i of order) await apart.apply([contractRecord(WEST, [parts[i]!])]);
        const atOnce = await fresh();
        await Promise.all(order.map((i) => atOnce.apply([contractRecord(WEST, [parts[i]!])])));
        for (const index of [together, apart, atOnce]) {
          expect((await index.locate([contractTraceId(1)]))[0]!.records).toEqual([whole]);
          expect(await index.digests(WEST)).toEqual([
            {
              region: WEST,
              bucketStartMs: bucketOf(whole.startUnixNano),
              recordCount: 1,
              hash: hashText(recordHash(whole)),
            },
          ]);
        }
      }
    });

    test('blocks are kept for the home region only', async () => {
      const index = await fresh();
      const blocks = ['a/0/1/1', 'a/0/2/1'] as BlockId[];
      await index.apply([
        contractRecord(HOME, [contractTrace(1, HOME, { blocks: [blocks[1]!] })]),
        contractRecord(WEST, [contractTrace(1, WEST, { blocks: [blocks[1]!] })]),
        contractRecord(HOME, [contractTrace(1, HOME, { blocks: [blocks[0]!] })]),
      ]);
      const [found] = await index.locate([contractTraceId(1)]);
      expect(found!.records.map((r) => r.blocks)).toEqual([blocks, []]);
    });

    test('watermarks only grow, and locate gives the one of the trace’s own partition', async () => {
      const index = await fresh();
      const traceId = contractTraceId(7);
      const own = tracePartition(traceIdBytes(traceId), 0, 8);
      const mark = (region: RegionId, partition: number, watermarkUnixNano: bigint, partitionCount = 8) =>
        contractRecord(region, [], { watermark: { region, partition, partitionCount, watermarkUnixNano } });
      const others = [0, 1, 2, 3, 4, 5, 6, 7].filter((p) => p !== own);
      await index.apply(others.map((p) => mark(WEST, p, T0 + 99n)));
      expect((await index.locate([traceId]))[0]!.watermarks).toEqual([]);
      await index.apply([mark(WEST, own, T0 + 5n), mark(WEST, own, T0 + 3n)]);
      await index.apply([mark(WEST, own, T0 + 4n), mark(EU, own, 0xffff_ffff_ffff_ffffn)]);
      const expected = { region: WEST, partition: own, partitionCount: 8, watermarkUnixNano: T0 + 5n };
      const ofEu = { region: EU, partition: own, partitionCount: 8, watermarkUnixNano: 0xffff_ffff_ffff_ffffn };
      expect((await index.locate([traceId]))[0]!.watermarks).toEqual([ofEu, expected]);
      const all = await index.watermarks();
      expect(all).toHaveLength(9);
      expect(all).toContainEqual(expected);
    });

    test('when the partition count grows, the lower of both partitions’ watermarks speaks', async () => {
      const index = await fresh();
      // A trace whose partition is another one under 16 than under 8.
      let n = 0;
      const partOf = (count: number) => tracePartition(traceIdBytes(contractTraceId(n)), 0, count);
      while (partOf(8) === partOf(16)) n++;
      const mark = (partition: number, partitionCount: number, nano: bigint) =>
        contractRecord(WEST, [], {
          watermark: { region: WEST, partition, partitionCount, watermarkUnixNano: nano },
        });
      const spoken = async () =>
        (await index.locate([contractTraceId(n)]))[0]!.watermarks.map((w) => w.watermarkUnixNano);
      await index.apply([mark(partOf(8), 8, T0 + 1n)]);
      expect(await spoken()).toEqual([T0 + 1n]);
      await index.apply([mark(0, 16, T0 + 2n)]);
      expect(await spoken()).toEqual(partOf(16) === 0 ? [T0 + 1n] : []);
      await index.apply([mark(partOf(16), 16, T0 + 9n)]);
      expect(await spoken()).toEqual([T0 + 1n]);
      await index.apply([mark(partOf(8), 16, T0 + 8n)]);
      expect(await spoken()).toEqual([T0 + 8n]);
    });

    vouchingContract(fresh);
    if (folds) foldingContract(fresh);

    test('the catalogue keeps the latest sight of each entry per region', async () => {
      const index = await fresh();
      const entry = (operation: string, lastSeenMs: number, kind = 2) => ({
        service: 'a',
        operation,
        kind,
        lastSeenMs,
      });
      await index.apply([
        contractRecord(WEST, [], { catalogue: [entry('x', 5), entry('x', 9), entry('y', 1), entry('x', 1, 3)] }),
        contractRecord(EU, [], { catalogue: [entry('x', 2)] }),
      ]);
      await index.apply([contractRecord(WEST, [], { catalogue: [entry('x', 7), entry('y', 4)] })]);
      const sorted = (list: readonly { region: RegionId; operation: string; lastSeenMs: number; kind: number }[]) =>
        list.map((e) => `${e.region} ${e.operation} ${e.kind} ${e.lastSeenMs}`).sort();
      const ofWest = ['us-west-2 x 2 9', 'us-west-2 x 3 1', 'us-west-2 y 2 4'];
      expect(sorted(await index.catalogue())).toEqual(['eu-west-1 x 2 2', ...ofWest]);
      expect(sorted(await index.catalogue([WEST]))).toEqual(ofWest);
      expect(await index.catalogue([HOME])).toEqual([]);
    });

    test('digests are equal exactly where records are; buckets give them in pages by trace id', async () => {
      const one = await fresh();
      const other = await fresh();
      const traces = Array.from({ length: 60 }, (_, n) =>
        contractTrace(n, WEST, { startUnixNano: T0 + BigInt(n % 3) * HOUR + BigInt(n), endUnixNano: T0 + 3n * HOUR }),
      );
      const early = traces.map((t) => ({ ...t, flags: 0, coverage: [] }));
      await one.apply([contractRecord(WEST, traces), contractRecord(EU, [contractTrace(5, EU)])]);
      await other.apply([contractRecord(WEST, early)]);
      const counts = async (index: TraceIndex) => (await index.digests(WEST)).map((d) => d.recordCount);
      expect(await counts(one)).toEqual([20, 20, 20]);
      expect(await counts(other)).toEqual([20, 20, 20]);
      expect((await one.digests(WEST)).map((d) => d.hash)).not.toEqual((await other.digests(WEST)).map((d) => d.hash));
      for (const trace of [...traces].reverse()) await other.apply([contractRecord(WEST, [trace])]);
      const byBucket = (a: { bucketStartMs: number }, b: { bucketStartMs: number }) =>
        a.bucketStartMs - b.bucketStartMs;
      const digests = [...(await one.digests(WEST))].sort(byBucket);
      expect([...(await other.digests(WEST))].sort(byBucket)).toEqual(digests);
      for (const { bucketStartMs } of digests) {
        const expected = traces
          .filter((t) => bucketOf(t.startUnixNano) === bucketStartMs)
          .sort((a, b) => (a.traceId < b.traceId ? -1 : 1));
        const found: TraceMetadata[] = [];
        for (;;) {
          const page = await one.bucket(WEST, bucketStartMs, found.at(-1)?.traceId ?? null, 7);
          if (page.length === 0) break;
          expect(page.length).toBeLessThanOrEqual(7);
          found.push(...page);
        }
        expect(found).toEqual(expected);
      }
      expect(await one.bucket(HOME, digests[0]!.bucketStartMs, null, 7)).toEqual([]);
    });

    test('a record moves to another bucket when an earlier start joins in', async () => {
      const index = await fresh();
      await index.apply([contractRecord(WEST, [contractTrace(1, WEST)])]);
      await index.apply([contractRecord(WEST, [contractTrace(1, WEST, { startUnixNano: T0 - 5n * HOUR })])]);
      const digests = await index.digests(WEST);
      expect(digests.map((d) => [d.bucketStartMs, d.recordCount])).toEqual([[bucketOf(T0 - 5n * HOUR), 1]]);
    });

    test('expiry forgets whole traces that ended before the time, and leaves the others and the watermarks', async () => {
      const index = await fresh();
      const ended = (n: number, region: RegionId, endUnixNano: bigint) =>
        contractTrace(n, region, { startUnixNano: T0, endUnixNano });
      const mark = { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: T0 };
      await index.apply([
        contractRecord(WEST, [ended(1, WEST, T0 + 9n), ended(2, WEST, T0 + 10n), ended(3, WEST, T0 + 1n)], {
          watermark: mark,
          catalogue: [
            { service: 'old', operation: 'x', kind: 1, lastSeenMs: Number(T0 / 1_000_000n) - CATALOGUE_MARGIN_MS - 1 },
            // An assembler tells of what it sees once an hour: its traces may be younger than this.
            { service: 'kept', operation: 'x', kind: 1, lastSeenMs: Number(T0 / 1_000_000n) - CATALOGUE_MARGIN_MS },
          ],
        }),
        contractRecord(EU, [ended(1, EU, T0 + 9n), ended(3, EU, T0 + 50n)]),
      ]);
      expect(await index.expire(T0 + 10n)).toBe(2);
      const left = await index.locate([1, 2, 3].map(contractTraceId));
      // Trace 3 still stands in one region: its other record stays, or it would read as absent there.
      expect(left.map((l) => l.records.map((r) => r.region))).toEqual([[], [WEST], [EU, WEST]]);
      expect((await index.digests(WEST)).map((d) => d.recordCount)).toEqual([2]);
      expect(await index.watermarks()).toEqual([mark]);
      expect((await index.catalogue()).map((e) => e.service)).toEqual(['kept']);
    });

    test('clear forgets everything and the index goes on', async () => {
      const index = await fresh();
      const record = contractRecord(WEST, [contractTrace(1, WEST)], {
        watermark: { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: T0 },
        catalogue: [{ service: 'a', operation: 'b', kind: 0, lastSeenMs: 1 }],
      });
      await index.apply([record]);
      const before = await index.locate([contractTraceId(1)]);
      await index.clear();
      expect(await index.locate([contractTraceId(1)])).toEqual([{ ...before[0], records: [], watermarks: [] }]);
      expect(await index.digests(WEST)).toEqual([]);
      expect(await index.catalogue()).toEqual([]);
      expect(await index.watermarks()).toEqual([]);
      await index.apply([record]);
      expect(await index.locate([contractTraceId(1)])).toEqual(before);
    });

    test('locate takes 1,000 ids and refuses one more', async () => {
      const index = await fresh();
      const ids = Array.from({ length: LOCATE_MAX }, (_, n) => contractTraceId(n));
      await index.apply([
        contractRecord(
          WEST,
          ids.map((_, n) => contractTrace(n, WEST)),
        ),
      ]);
      const found = await index.locate(ids);
      expect(found.every((l, n) => l.traceId === ids[n] && l.records.length === 1)).toBe(true);
      await expect(index.locate([...ids, contractTraceId(LOCATE_MAX)])).rejects.toMatchObject({ code: 'invalid' });
    });

    test('times at the ends of 64 bits, an end before the start', async () => {
      const index = await fresh();
      const most = 0xffff_ffff_ffff_ffffn;
      const odd = [
        contractTrace(1, WEST, {
          startUnixNano: 0n,
          endUnixNano: most,
          root: { startUnixNano: most, service: '', operation: 'é🦜' },
        }),
        contractTrace(2, WEST, {
          startUnixNano: most,
          endUnixNano: 0n,
          root: { startUnixNano: 0n, service: 'b', operation: '' },
        }),
      ];
      await index.apply([contractRecord(WEST, odd)]);
      expect((await index.locate([1, 2].map(contractTraceId))).map((l) => l.records[0])).toEqual(odd);
      const digests = await index.digests(WEST);
      expect(digests.map((d) => d.bucketStartMs)).toEqual([0, bucketOf(most)]);
      expect(await index.bucket(WEST, bucketOf(most), null, 5)).toEqual([odd[1]]);
    });

    test('a page that is none is refused', async () => {
      const index = await fresh();
      expect(await index.bucket(WEST, 0, null, BUCKET_PAGE_MAX)).toEqual([]);
      await expect(index.bucket(WEST, 0, null, 0)).rejects.toBeInstanceOf(MeridianError);
      await expect(index.bucket(WEST, 0, null, BUCKET_PAGE_MAX + 1)).rejects.toMatchObject({ code: 'invalid' });
    });
  });
}
