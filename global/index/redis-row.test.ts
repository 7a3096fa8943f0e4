import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, TraceMetadata } from '../model/metadata.js';
import { anyMetadata } from './metadata.arbitrary.js';
import { DAY_MS } from './redis-layout.js';
import { packDayRow, packOddRow, startOfDayRow, unpackDayRow, unpackOddRow } from './redis-row.js';

const DAY = 1_763_683_200_000_000_000n;
const DAY_NANO = BigInt(DAY_MS) * 1_000_000n;

class Dictionary {
  readonly texts: string[] = [];
  readonly number = (text: string): number => {
    if (!this.texts.includes(text)) this.texts.push(text);
    return this.texts.indexOf(text);
  };
  readonly text = (number: number): string | undefined => this.texts[number];
}

const golden: TraceMetadata = {
  traceId: '0123456789abcdef0123456789abcdef' as TraceId,
  region: 'us-east-1' as RegionId,
  startUnixNano: DAY + 50_000_000_123_456n,
  endUnixNano: DAY + 50_000_048_335_363n,
  root: { startUnixNano: DAY + 50_000_000_123_456n, service: 'gateway', operation: 'GET /orders' },
  coverage: [
    { key: 0x11aa22, service: 'gateway', spanCount: 4, errorCount: 0 },
    { key: 0x11aa22, service: 'orders', spanCount: 5, errorCount: 1 },
    { key: 0x77bb88, service: 'orders', spanCount: 1, errorCount: 0 },
  ],
  flags: 1,
  blocks: ['us-east-1/3/181000/763699735123007' as BlockId],
};

describe('redis row', () => {
  test('any metadata of the day comes back', () => {
    const inDay = fc.bigInt({ min: 0n, max: DAY_NANO - 1n });
    const shaped = fc.constantFrom('a/0/1/1', 'us-east-1/7/0/0', 'x/1/2/00012', 'no block', '', 'a/b/c/99999', '//1/5');
    fc.assert(
      fc.property(anyMetadata, inDay, fc.uniqueArray(shaped), (metadata, start, more) => {
        const names = new Dictionary();
        const blocks = [...new Set([...metadata.blocks, ...(more as BlockId[])])].sort();
        const own = { ...metadata, blocks, startUnixNano: DAY + start };
        const value = packDayRow(own, DAY, names.number);
        expect(startOfDayRow(value, DAY)).toBe(own.startUnixNano);
        expect(unpackDayRow(own.traceId, own.region, value, DAY, names.text)).toEqual(own);
      }),
    );
  });

  test('golden bytes of version 1', () => {
    const names = new Dictionary();
    const value = packDayRow(golden, DAY, names.number);
    expect(names.texts).toEqual(['gateway', 'GET /orders', 'orders', 'us-east-1/3/76369973512']);
    expect(value.toString('hex')).toBe(
      [
        ['88792d', '40023f'],
        ['0a', 'c3cffe16', '00', '01'],
        ['02', '22aa11', '01', '08', '04', '0b', '01', '88bb77', '04', '02'],
        ['01', '03', 'c017', '88860b'],
      ]
        .flat()
        .join(''),
    );
  });

  test('a damaged row is malformed at every length, and so is a name that is not there', () => {
    const names = new Dictionary();
    const value = packDayRow(golden, DAY, names.number);
    const unpack =
      (bytes: Buffer, text = names.text) =>
      () =>
        unpackDayRow(golden.traceId, golden.region, bytes, DAY, text);
    const malformed = expect.objectContaining({ code: 'malformed' });
    const withoutBlocks = packDayRow({ ...golden, blocks: [] }, DAY, names.number).length;
    for (let length = 0; length < value.length; length++) {
      if (length !== withoutBlocks) expect(unpack(value.subarray(0, length))).toThrow(malformed);
    }
    expect(unpack(Buffer.concat([value, Buffer.of(0)]))).toThrow(malformed);
    for (let gone = 0; gone < names.texts.length; gone++) {
      expect(unpack(value, (number) => (number === gone ? undefined : names.text(number)))).toThrow(malformed);
    }
    expect(() => startOfDayRow(value.subarray(0, 5), DAY)).toThrow(malformed);
  });

  test('a row outside the days holds all of itself, and must be the one of its field', () => {
    const value = packOddRow(golden);
    expect(unpackOddRow(golden.traceId, golden.region, value)).toEqual(golden);
    const other = 'f'.repeat(32) as TraceId;
    expect(() => unpackOddRow(other, golden.region, value)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
