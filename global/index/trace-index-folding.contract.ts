import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../model/ids.js';
import { type BlockId, MetadataFlag, type TraceMetadata } from '../model/metadata.js';
import { bucketOf } from './digest.js';
import { FOLD_DAY_MS } from './folded.js';
import { FOLDS_PER_DAY_MAX } from './index-limits.js';
import type { TraceIndex, TraceLocation } from './trace-index.js';
import { contractRecord, contractTrace, contractTraceId, EU, HOUR, T0, WEST } from './trace-index-records.testing.js';

const HOME = 'us-east-1' as RegionId;
const DAY = 24n * HOUR;
/** Start of the day of T0. */
const TODAY = (T0 / DAY) * DAY;
const DAY_1 = TODAY + DAY;

/** The part of the contract suite about days that fold into filters (docs/decisions/0012). Filters may be wrong in one answer of 256. */
export function foldingContract(fresh: () => Promise<TraceIndex>): void {
  const numbers = (count: number, first = 0) => Array.from({ length: count }, (_, n) => first + n);
  const ids = (count: number, first = 0) => numbers(count, first).map(contractTraceId);
  const traces = (region: RegionId, count: number, over: Partial<TraceMetadata> = {}, first = 0) =>
    numbers(count, first).map((n) => contractTrace(n, region, over));
  const regionsIn = ({ folded = [] }: TraceLocation) => folded.map(({ region }) => region);

  describe('folding', () => {
    test('a folded record is a part that the region may hold, within bounds; what is not there is proved absent but for a few', async () => {
      const index = await fresh();
      await index.apply([
        contractRecord(WEST, traces(WEST, 300)),
        contractRecord(EU, traces(EU, 300, {}, 300)),
        contractRecord(HOME, traces(HOME, 10, { blocks: ['a/0/1/1' as BlockId] }, 600)),
      ]);
      const mark = { region: WEST, partition: 0, partitionCount: 1, watermarkUnixNano: T0, vouchedFromUnixNano: 0n };
      await index.apply([contractRecord(WEST, [], { watermark: mark })]);
      expect(await index.fold(DAY_1, 1)).toBe(610);
      const located = await index.locate(ids(1000));
      let wrong = 0;
      for (const [n, { traceId, records, watermarks, folded = [] }] of located.entries()) {
        expect([traceId, records, watermarks]).toEqual([contractTraceId(n), [], [mark]]);
        const own = n < 300 ? WEST : n < 600 ? EU : n < 610 ? HOME : null;
        const part = folded.find(({ region }) => region === own);
        wrong += folded.length - (part ? 1 : 0);
        if (own === null) continue;
        const { startUnixNano, endUnixNano } = contractTrace(n, own);
        expect(part!.startUnixNanoMin).toBeLessThanOrEqual(startUnixNano);
        expect(part!.endUnixNanoMax).toBeGreaterThanOrEqual(endUnixNano);
        expect(part!.endUnixNanoMax).toBeLessThan(DAY_1);
        expect(part!.startUnixNanoMin).toBeGreaterThanOrEqual(TODAY);
      }
      // 2,390 questions about what is not there; 9 are expected.
      expect(wrong).toBeLessThan(30);
      const bare = await index.locate(ids(1000), { exactOnly: true });
      expect(bare).toEqual(located.map(({ folded: _, ...rest }) => rest));
    });

    test('folding again changes nothing', async () => {
      const index = await fresh();
      await index.apply([contractRecord(WEST, traces(WEST, 50))]);
      expect(await index.fold(DAY_1, 1)).toBe(50);
      const before = await index.locate(ids(100));
      expect(await index.fold(DAY_1, 1)).toBe(0);
      expect(await index.fold(DAY_1 + DAY, 1)).toBe(0);
      expect(await index.locate(ids(100))).toEqual(before);
    });

    test('what stays exact: days that are not over, records that ended later, implausible times, days with few records', async () => {
      const index = await fresh();
      const few = contractTrace(5, EU, { startUnixNano: T0 - DAY, endUnixNano: T0 - DAY });
      const kept = [
        contractTrace(1, WEST, { endUnixNano: DAY_1 }),
        contractTrace(2, WEST, { flags: MetadataFlag.closed | MetadataFlag.implausibleTime }),
        contractTrace(3, WEST, { startUnixNano: DAY_1, endUnixNano: DAY_1 }),
      ];
      const gone = contractTrace(4, WEST, { endUnixNano: DAY_1 - 1n });
      await index.apply([contractRecord(WEST, [...kept, gone]), contractRecord(EU, [few])]);
      expect(await index.fold(DAY_1, 3)).toBe(1);
      const located = await index.locate([1, 2, 3, 4, 5].map(contractTraceId));
      expect(located.map((l) => l.records)).toEqual([[kept[0]], [kept[1]], [kept[2]], [], [few]]);
      expect(regionsIn(located[3]!)).toContain(WEST);
      // By now the first has ended too, but is too little to fold again; nor is a day with too few ever folded.
      expect(await index.fold(DAY_1 + HOUR, 3)).toBe(0);
    });

    test('a late record of a folded day stands beside the filter until there are enough', async () => {
      const index = await fresh();
      await index.apply([contractRecord(WEST, traces(WEST, 80))]);
      await index.fold(DAY_1, 1);
      const late = [contractTrace(3, WEST, { root: null }), ...traces(WEST, 8, {}, 100)];
      await index.apply([contractRecord(WEST, late)]);
      const located = await index.locate([3, 100].map(contractTraceId));
      expect(located.map((l) => l.records)).toEqual([[late[0]], [late[1]]]);
      expect(regionsIn(located[0]!)).toContain(WEST);
      await index.apply([contractRecord(EU, [contractTrace(3, EU)])]);
      expect(await index.fold(DAY_1, 1)).toBe(10);
      const again = await index.locate([3, 100, 70].map(contractTraceId));
      expect(again.map((l) => l.records)).toEqual([[], [], []]);
      expect(regionsIn(again[0]!)).toEqual(expect.arrayContaining([EU, WEST]));
      for (const location of again) expect(regionsIn(location)).toContain(WEST);
      // One more is not enough.
      await index.apply([contractRecord(WEST, [contractTrace(200, WEST)])]);
      expect(await index.fold(DAY_1, 1)).toBe(0);
      expect((await index.locate([contractTraceId(200)]))[0]!.records).toHaveLength(1);
    });

    test('what is fed once more after it was folded goes again, and its bounds hold', async () => {
      const index = await fresh();
      const all = traces(WEST, 60);
      await index.apply([contractRecord(WEST, all)]);
      expect(await index.fold(DAY_1, 1)).toBe(60);
      const longer = { ...all[7]!, endUnixNano: DAY_1 + 3n * HOUR };
      await index.apply([contractRecord(WEST, all), contractRecord(WEST, [longer])]);
      expect(await index.fold(DAY_1 + DAY, 1)).toBe(60);
      const located = await index.locate(ids(60));
      expect(located.every((l) => l.records.length === 0 && regionsIn(l).includes(WEST))).toBe(true);
      const part = located[7]!.folded!.find(({ region }) => region === WEST)!;
      expect(part.endUnixNanoMax).toBeGreaterThanOrEqual(longer.endUnixNano);
    });

    test(`a day is folded ${FOLDS_PER_DAY_MAX} times, not once more`, async () => {
      const index = await fresh();
      let first = 0;
      for (let fold = 0; fold <= FOLDS_PER_DAY_MAX; fold++) {
        const count = 40 + fold * 40;
        await index.apply([contractRecord(WEST, traces(WEST, count, {}, first))]);
        expect(await index.fold(DAY_1, 1)).toBe(fold < FOLDS_PER_DAY_MAX ? count : 0);
        first += count;
      }
      // Some of each fold.
      const located = await index.locate(numbers(90).map((n) => contractTraceId(n * 60)));
      expect(located.every((l) => regionsIn(l).includes(WEST))).toBe(true);
      expect((await index.locate([contractTraceId(first - 1)]))[0]!.records).toHaveLength(1);
    });

    test('parts of several days are given as one, as wide as all of them', async () => {
      const index = await fresh();
      const early = contractTrace(1, WEST, { startUnixNano: T0 - 2n * DAY, endUnixNano: T0 - 2n * DAY });
      await index.apply([contractRecord(WEST, [early, ...traces(WEST, 9, {}, 10)]), contractRecord(EU, [early])]);
      await index.fold(DAY_1, 1);
      const again = contractTrace(1, WEST);
      await index.apply([contractRecord(WEST, [again, ...traces(WEST, 9, {}, 30)])]);
      await index.fold(DAY_1, 1);
      const part = (await index.locate([contractTraceId(1)]))[0]!.folded!.find(({ region }) => region === WEST)!;
      expect(part.startUnixNanoMin).toBe(TODAY - 2n * DAY);
      expect(part.endUnixNanoMax).toBeGreaterThanOrEqual(again.endUnixNano);
    });

    test('digests leave folded days out, and say up to when', async () => {
      const index = await fresh();
      expect(await index.foldedBeforeMs()).toBe(0);
      const young = contractTrace(3, WEST, { startUnixNano: DAY_1, endUnixNano: DAY_1 });
      const stays = contractTrace(2, WEST, { endUnixNano: DAY_1 });
      await index.apply([contractRecord(WEST, [contractTrace(1, WEST), stays, young])]);
      await index.fold(DAY_1, 1);
      expect(await index.foldedBeforeMs()).toBe(Number(DAY_1 / 1_000_000n));
      expect((await index.digests(WEST)).map((d) => [d.bucketStartMs, d.recordCount])).toEqual([[bucketOf(DAY_1), 1]]);
      expect(await index.bucket(WEST, bucketOf(T0), null, 10)).toEqual([stays]);
    });

    test('expiry drops a folded day once all that was folded had ended, counts it, and what comes back is exact', async () => {
      const index = await fresh();
      const day = (n: bigint) => ({ startUnixNano: T0 + n * DAY, endUnixNano: T0 + n * DAY + 5n });
      await index.apply([contractRecord(WEST, [...traces(WEST, 20, day(0n)), ...traces(WEST, 20, day(2n), 20)])]);
      expect(await index.fold(DAY_1 + 2n * DAY, 1)).toBe(40);
      expect(await index.expire(T0 + 5n)).toBe(0);
      expect(regionsIn((await index.locate([contractTraceId(1)]))[0]!)).toContain(WEST);
      expect(await index.expire(T0 + 6n)).toBe(20);
      expect(await index.expire(T0 + 6n)).toBe(0);
      const located = await index.locate(ids(40));
      expect(located.slice(20).every((l) => regionsIn(l).includes(WEST))).toBe(true);
      expect(located.slice(0, 20).filter((l) => regionsIn(l).length > 0).length).toBeLessThan(5);
      await index.apply([contractRecord(WEST, [contractTrace(1, WEST)])]);
      expect((await index.locate([contractTraceId(1)]))[0]!.records).toEqual([contractTrace(1, WEST)]);
      expect(await index.expire(T0 + 9n * DAY)).toBe(21);
      expect(await index.foldedBeforeMs()).toBe(0);
    });

    test('clear forgets folded days', async () => {
      const index = await fresh();
      await index.apply([contractRecord(WEST, traces(WEST, 20))]);
      await index.fold(DAY_1, 1);
      await index.clear();
      expect(await index.locate(ids(20))).toEqual(ids(20).map((traceId) => ({ traceId, records: [], watermarks: [] })));
      expect(await index.foldedBeforeMs()).toBe(0);
    });

    test('nothing that was applied while a day folds is lost, and no reader misses a record on the way', async () => {
      const index = await fresh();
      await index.apply([contractRecord(WEST, traces(WEST, 400))]);
      let folding = true;
      const reading = (async () => {
        const asked: TraceId[] = ids(400);
        for (let reads = 0; folding || reads < 3; reads++) {
          for (const location of await index.locate(asked)) {
            expect([...location.records.map((r) => r.region), ...regionsIn(location)]).toContain(WEST);
          }
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      const writing = (async () => {
        for (const trace of traces(WEST, 60, {}, 380)) await index.apply([contractRecord(WEST, [trace])]);
      })();
      await index.fold(DAY_1, 1);
      await writing;
      folding = false;
      await reading;
      for (const location of await index.locate(ids(440))) {
        expect([...location.records.map((r) => r.region), ...regionsIn(location)]).toContain(WEST);
      }
      expect(Number(DAY_1 / 1_000_000n) - FOLD_DAY_MS).toBe(Number(TODAY / 1_000_000n));
    });
  });
}
