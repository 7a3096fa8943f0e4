import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RegionId, TraceId } from '../model/ids.js';
import type { BlockId, FeedRecord, TraceMetadata } from '../model/metadata.js';
import { MeridianError } from '../runtime/errors.js';
import { decodeFeedRecord, decodeTraceMetadata, encodeFeedRecord, encodeTraceMetadata } from './feed-codec.js';
import { FEED_LIMITS } from './feed-limits.js';
import { anyFeedRecord, anyMetadata } from './metadata.arbitrary.js';

const region = 'us-east-1' as RegionId;
const block = 'us-east-1/3/181204/1763699735123007' as BlockId;

/** The part of an ordinary trace in one region: two services, two gatherings, ten spans. */
function typicalTrace(number: number): TraceMetadata {
  const startUnixNano = 1_763_699_735_123_456_000n + BigInt(number) * 1_370_211n;
  return {
    traceId: (0x10000 + number).toString(16).padStart(32, '5bd1e995c0ffee00') as TraceId,
    region,
    startUnixNano,
    endUnixNano: startUnixNano + 48_211_907n,
    root: { startUnixNano, service: 'gateway', operation: 'POST /orders' },
    coverage: [
      { key: 0x11aa22 + number, service: 'gateway', spanCount: 4, errorCount: 0 },
      { key: 0x11aa22 + number, service: 'orders', spanCount: 5, errorCount: 1 },
      { key: 0x77bb88 + number, service: 'orders', spanCount: 1, errorCount: 0 },
    ],
    flags: 1,
    blocks: [block],
  };
}

const goldenRecord: FeedRecord = {
  region,
  traces: [typicalTrace(1), { ...typicalTrace(2), root: null, endUnixNano: 5n, flags: 7 }],
  watermark: { region, partition: 3, partitionCount: 8, watermarkUnixNano: 1_763_699_736_000_000_000n },
  catalogue: [{ service: 'gateway', operation: 'POST /orders', kind: 2, lastSeenMs: 1_763_699_735_123 }],
};

function golden(name: string): Buffer {
  const text = readFileSync(new URL(`./golden/${name}`, import.meta.url), 'utf8');
  return Buffer.from(text.replace(/\s/g, ''), 'hex');
}

function caught(run: () => unknown): MeridianError {
  try {
    run();
  } catch (error) {
    if (error instanceof MeridianError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('feed codec', () => {
  test('golden files of version 1', () => {
    expect(encodeFeedRecord(goldenRecord).toString('hex')).toBe(golden('feed-record-v1.hex').toString('hex'));
    expect(decodeFeedRecord(golden('feed-record-v1.hex'))).toEqual(goldenRecord);
    expect(encodeTraceMetadata(typicalTrace(1)).toString('hex')).toBe(golden('trace-metadata-v1.hex').toString('hex'));
    expect(decodeTraceMetadata(golden('trace-metadata-v1.hex'))).toEqual(typicalTrace(1));
  });

  test('a typical trace takes at most 100 bytes alone and 48 in a block of 64', () => {
    expect(encodeTraceMetadata({ ...typicalTrace(1), blocks: [] }).length).toBeLessThanOrEqual(100);
    const traces = Array.from({ length: 64 }, (_, i) => typicalTrace(i));
    const record = encodeFeedRecord({ ...goldenRecord, traces });
    expect(record.length / 64).toBeLessThanOrEqual(48);
    const alone = encodeFeedRecord({ ...goldenRecord, traces: [{ ...typicalTrace(1), blocks: [] }], catalogue: [] });
    expect(alone.length).toBeLessThanOrEqual(120);
  });

  test('round trip of any record and any metadata', () => {
    fc.assert(
      fc.property(anyFeedRecord, (record) => {
        expect(decodeFeedRecord(encodeFeedRecord(record))).toEqual(record);
      }),
    );
    fc.assert(
      fc.property(anyMetadata, (m) => {
        expect(decodeTraceMetadata(encodeTraceMetadata(m))).toEqual(m);
      }),
    );
  });

  test('any cut is malformed, any byte too many is malformed', () => {
    const bytes = encodeFeedRecord(goldenRecord);
    for (let end = 0; end < bytes.length; end++) {
      expect(caught(() => decodeFeedRecord(bytes.subarray(0, end))).code).toBe('malformed');
    }
    expect(caught(() => decodeFeedRecord(Buffer.concat([bytes, Buffer.of(0)]))).code).toBe('malformed');
  });

  test('an unknown version and another kind', () => {
    const bytes = encodeFeedRecord(goldenRecord);
    bytes[0] = 2;
    const error = caught(() => decodeFeedRecord(bytes));
    expect(error.code).toBe('unknown-version');
    expect(error.message).toContain('version 2');
    expect(caught(() => decodeFeedRecord(encodeTraceMetadata(typicalTrace(1)))).code).toBe('malformed');
    expect(caught(() => decodeTraceMetadata(encodeFeedRecord(goldenRecord))).code).toBe('malformed');
  });

  test('fuzz: nothing but the typed errors, and what decodes encodes to the same bytes or to equal metadata', () => {
    const typed = (bytes: Buffer) => {
      try {
        const record = decodeFeedRecord(bytes);
        expect(decodeFeedRecord(encodeFeedRecord(record))).toEqual(record);
      } catch (error) {
        expect(error).toBeInstanceOf(MeridianError);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => typed(Buffer.from(bytes))));
    const mutation = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(anyFeedRecord, fc.array(mutation, { minLength: 1, maxLength: 4 }), (record, mutations) => {
        const bytes = encodeFeedRecord(record);
        for (const [at, value] of mutations) bytes[2 + (at % (bytes.length - 2))] = value;
        typed(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  test('a count that lies costs nothing', () => {
    const head = Buffer.concat([Buffer.of(1, 0x46, 9), Buffer.from('us-east-1')]);
    const manyStrings = Buffer.concat([head, Buffer.of(0xff, 0xff, 0x0f)]);
    expect(caught(() => decodeFeedRecord(manyStrings)).message).toContain('do not fit');
    const manyTraces = Buffer.concat([head, Buffer.alloc(10), Buffer.of(0xff, 0xff, 0x03)]);
    expect(caught(() => decodeFeedRecord(manyTraces)).message).toContain('do not fit');
  });

  test('limits: at and one past', () => {
    const coverage = (count: number) =>
      Array.from({ length: count }, (_, key) => ({ key, service: 'a', spanCount: 1, errorCount: 0 }));
    const blocks = (count: number) =>
      Array.from({ length: count }, (_, i) => `us-east-1/0/${String(i).padStart(6, '0')}/1` as BlockId);
    const name = (bytes: number) => ({ startUnixNano: 1n, service: 'é'.repeat(bytes / 2), operation: 'x' });
    const t = typicalTrace(1);
    const cases: [max: number, make: (count: number) => TraceMetadata][] = [
      [FEED_LIMITS.coverageEntriesMax, (n) => ({ ...t, coverage: coverage(n) })],
      [FEED_LIMITS.blocksPerTraceMax, (n) => ({ ...t, blocks: blocks(n) })],
    ];
    for (const [max, make] of cases) {
      expect(decodeTraceMetadata(encodeTraceMetadata(make(max)))).toEqual(make(max));
      expect(caught(() => encodeTraceMetadata(make(max + 1))).code).toBe('too-large');
    }
    const atName = { ...t, root: name(FEED_LIMITS.stringBytesMax) };
    expect(decodeTraceMetadata(encodeTraceMetadata(atName))).toEqual(atName);
    expect(caught(() => encodeTraceMetadata({ ...t, root: name(FEED_LIMITS.stringBytesMax + 2) })).code).toBe(
      'too-large',
    );
    const traces = (n: number) => Array.from({ length: n }, () => t);
    expect(
      decodeFeedRecord(encodeFeedRecord({ ...goldenRecord, traces: traces(FEED_LIMITS.tracesMax) })).traces,
    ).toHaveLength(FEED_LIMITS.tracesMax);
    expect(caught(() => encodeFeedRecord({ ...goldenRecord, traces: traces(FEED_LIMITS.tracesMax + 1) })).code).toBe(
      'too-large',
    );
    expect(caught(() => decodeFeedRecord(Buffer.alloc(FEED_LIMITS.recordBytesMax + 1, 1))).code).toBe('too-large');
  });
});
