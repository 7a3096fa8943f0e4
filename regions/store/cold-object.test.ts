import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { packageRoot } from '../../global/runtime/package-root.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import { blockEntry } from './block-entry.js';
import {
  blocksOnPage,
  COLD_FOOTER_BYTES,
  type ColdBlock,
  type ColdSummary,
  checked,
  encodeColdObject,
  pagesOf,
  readColdFooter,
  readColdSummary,
} from './cold-object.js';
import { contentOf, formatColdName, hourOf, mayReach, parseColdName } from './cold-object-name.js';
import { BASE, blockOf, segmentOf, traceIdOf } from './testing/blocks.js';

const EAST = 'us-east-1' as RegionId;
const HOUR = 3_600_000_000_000n;

async function coldBlock(number: number, traces: readonly number[]): Promise<ColdBlock> {
  const segments = traces.map((trace, i) =>
    segmentOf(EAST, traceIdOf(trace), [{ span: i, service: 'orders', start: BASE + BigInt(trace) }]),
  );
  const encoded = await blockOf(EAST, number, segments);
  const entry = blockEntry(await decodeBlock(encoded), encoded.bytes);
  return { entry, traceIds: segments.map(({ metadata }) => metadata.traceId) };
}

/** A block of made-up bytes: for what does not depend on them. */
function fakeBlock(number: number, traceIds: readonly TraceId[]): ColdBlock {
  const id = `us-east-1/0/${number}/${number}` as BlockId;
  return {
    traceIds,
    entry: {
      source: EAST,
      ids: [id],
      bytes: Buffer.from(`block ${number}`),
      filter: new Uint8Array(8),
      traceKeys: [],
      starts: new Uint8Array(0),
      startUnixNanoMin: 1n,
      startUnixNanoMax: (1n << 64n) - 1n,
      spanStartUnixNanoMax: 3n,
      durationNanoMax: 4n,
      newestUnixNano: 5n,
      kinds: -1,
    },
  };
}

function summaryOf(object: Buffer): ColdSummary {
  const footerAt = object.length - COLD_FOOTER_BYTES;
  const { length, crc } = readColdFooter(object.subarray(footerAt), object.length, 'object');
  return readColdSummary(object.subarray(footerAt - length, footerAt), crc, object.length, 'object');
}

function placesOf(object: Buffer, traceId: TraceId): number[] {
  const summary = summaryOf(object);
  const pages = pagesOf(summary, traceId).map(({ at, length }) => object.subarray(at, at + length));
  return [...new Set(pages.flatMap((page) => blocksOnPage(page, traceId, summary.blocks.length, 'object')))];
}

/** Everything that a reader takes from an object. */
function readAll(object: Buffer): void {
  const summary = summaryOf(object);
  for (const { at, length } of summary.pages) {
    blocksOnPage(object.subarray(at, at + length), traceIdOf(1), summary.blocks.length, 'object');
  }
  for (const { filterAt, filterLength } of summary.blocks) {
    checked(object.subarray(filterAt, filterAt + filterLength + 4), 'object');
  }
}

describe('cold object', () => {
  test('blocks come back as they were, with what searches need to know of them', async () => {
    const blocks = await Promise.all([coldBlock(1, [5, 6]), coldBlock(2, [1]), coldBlock(3, [5, 9])]);
    const object = encodeColdObject(EAST, blocks);
    const summary = summaryOf(object);
    expect(summary.source).toBe(EAST);
    for (const [i, { at, length, filterAt, filterLength, ...rest }] of summary.blocks.entries()) {
      const { entry } = blocks[i]!;
      expect(object.subarray(at, at + length).equals(entry.bytes)).toBe(true);
      expect(readEncodedBlock(object.subarray(at, at + length)).id).toBe(entry.ids[0]);
      expect(checked(object.subarray(filterAt, filterAt + filterLength + 4), '')).toEqual(Buffer.from(entry.filter));
      const { startUnixNanoMin, startUnixNanoMax, spanStartUnixNanoMax, durationNanoMax, newestUnixNano, kinds } =
        entry;
      expect(rest).toMatchObject({
        startUnixNanoMin,
        startUnixNanoMax,
        spanStartUnixNanoMax,
        durationNanoMax,
        newestUnixNano,
        kinds,
      });
    }
    expect(placesOf(object, traceIdOf(5))).toEqual([0, 2]);
    expect(placesOf(object, traceIdOf(1))).toEqual([1]);
    expect(placesOf(object, traceIdOf(2))).toEqual([]);
  });

  test('the golden object reads as it always did, and is still written so', async () => {
    const file = join(packageRoot, 'regions/store/golden/cold-object-v1.hex');
    const golden = Buffer.from(readFileSync(file, 'utf8').replace(/\s/g, ''), 'hex');
    const ids = Array.from({ length: 3 }, (_, i) => traceIdOf(i));
    expect(encodeColdObject(EAST, [fakeBlock(1, ids), fakeBlock(2, ids.slice(1))]).toString('hex')).toBe(
      golden.toString('hex'),
    );
    expect(summaryOf(golden).blocks.map(({ id }) => id)).toEqual(['us-east-1/0/1/1', 'us-east-1/0/2/2']);
    expect(placesOf(golden, traceIdOf(2))).toEqual([0, 1]);
  });

  test('every trace is found in exactly its blocks, also where one fills whole pages', () => {
    const trace = fc.integer({ min: 0, max: 40 }).map(traceIdOf);
    const block = fc.oneof(fc.array(trace, { minLength: 1, maxLength: 8 }), fc.constant([traceIdOf(20)]));
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 600 }), (blocks) => {
        const object = encodeColdObject(
          EAST,
          blocks.map((ids, i) => fakeBlock(i, ids)),
        );
        for (let number = 0; number <= 42; number++) {
          const id = traceIdOf(number);
          const expected = blocks.flatMap((ids, i) => (ids.includes(id) ? [i] : []));
          expect(placesOf(object, id).sort((a, b) => a - b)).toEqual(expected);
        }
      }),
      { numRuns: 25 },
    );
  });

  test('whatever is changed, cut or added in what a reader reads, the answer is a typed error', () => {
    const ids = Array.from({ length: 300 }, (_, i) => traceIdOf(i));
    const blocks = [fakeBlock(1, ids), fakeBlock(2, ids.slice(7))];
    const object = encodeColdObject(EAST, blocks);
    const blockBytes = blocks.reduce((sum, { entry }) => sum + entry.bytes.length, 0);
    readAll(object);
    const refused = (bytes: Buffer) => {
      try {
        readAll(bytes);
      } catch (error) {
        return error instanceof MeridianError && ['malformed', 'unknown-version'].includes(error.code);
      }
      return false;
    };
    fc.assert(
      fc.property(
        fc.integer({ min: blockBytes, max: object.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, flip) => {
          const changed = Buffer.from(object);
          changed[at]! ^= flip;
          return refused(changed);
        },
      ),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: object.length - 1 }), (length) =>
        refused(object.subarray(object.length - length)),
      ),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: object.length - 1 }), (length) => refused(object.subarray(0, length))),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => refused(Buffer.from(bytes))));
  });

  test('a summary with a checksum that is right but contents that lie is refused', () => {
    const object = encodeColdObject(EAST, [fakeBlock(1, [traceIdOf(1)])]);
    const footerAt = object.length - COLD_FOOTER_BYTES;
    const { length, crc } = readColdFooter(object.subarray(footerAt), object.length, 'object');
    const summary = object.subarray(footerAt - length, footerAt);
    for (const objectBytes of [object.length - 1, object.length + 1, length + COLD_FOOTER_BYTES]) {
      expect(() => readColdSummary(summary, crc, objectBytes, 'object')).toThrow(MeridianError);
    }
  });

  test('an object of another version says so', () => {
    const object = encodeColdObject(EAST, [fakeBlock(1, [traceIdOf(1)])]);
    object[object.length - 2] = 2;
    expect(() => summaryOf(object)).toThrow(/version 2, this build knows 1/);
  });
});

describe('names of cold objects', () => {
  test('are told by source, hour and blocks, and read back', () => {
    const name = { source: EAST, hourMs: Date.UTC(2026, 0, 31, 7), content: '0123456789abcdef01234567', blocks: 512 };
    expect(formatColdName(name)).toBe('cold/us-east-1/2026-01-31/07-0123456789abcdef01234567-512.cold');
    expect(parseColdName(formatColdName(name))).toEqual(name);
    for (const bad of [
      'cold/us-east-1/2026-13-31/07-0123456789abcdef01234567-5.cold',
      'cold/x',
      `${formatColdName(name)}x`,
      'cold/-/2026-01-31/07-0123456789abcdef01234567-5.cold',
    ]) {
      expect(parseColdName(bad)).toBeNull();
    }
  });

  test('the content does not depend on the order of the blocks, but on each of them', () => {
    const blocks = [1, 2, 3].map((i) => ({ id: `b${i}`, length: 10 * i, crc: i }));
    expect(contentOf([...blocks].reverse())).toBe(contentOf(blocks));
    expect(contentOf(blocks.slice(1))).not.toBe(contentOf(blocks));
    expect(contentOf([...blocks.slice(1), { id: 'b1', length: 10, crc: 2 }])).not.toBe(contentOf(blocks));
  });

  test('an hour reaches up to its end, and not to it', () => {
    expect(hourOf(BASE + HOUR - 1n)).toBe(hourOf(BASE));
    expect(hourOf(BASE + HOUR)).toBe(hourOf(BASE) + 3_600_000);
    expect(mayReach(hourOf(BASE), BASE + HOUR - 1n)).toBe(true);
    expect(mayReach(hourOf(BASE), BASE + HOUR)).toBe(false);
  });
});
