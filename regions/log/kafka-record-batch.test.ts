import { createRequire } from 'node:module';
import fc from 'fast-check';
import { decompressFrameSync } from 'lz4-napi';
import { describe, expect, test } from 'vitest';
import type { LogEntry } from '../../global/log/span-log.js';
import { batchHeader, encodeRecords, sequenceAfter } from './kafka-record-batch.js';

const STAMP = { producerId: 4_001n, producerEpoch: 3, sequence: 77 };
const NOW_MS = 1_795_176_000_123;

/** kafkajs's own encoder, which shares nothing with ours. */
const kafkajs = createRequire(import.meta.url);
const { RecordBatch } = kafkajs('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(batch: object): Promise<{ readonly buffer: Buffer }>;
};
const Record = kafkajs('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => object;

async function reference(entries: readonly LogEntry[]): Promise<Buffer> {
  const batch = await RecordBatch({
    records: entries.map(({ key, value, headers }, offsetDelta) => {
      const buffers = Object.entries(headers).map(([name, bytes]) => [name, Buffer.from(bytes)]);
      const record = { key: key && Buffer.from(key), value: Buffer.from(value), headers: Object.fromEntries(buffers) };
      return Record({ ...record, offsetDelta, timestampDelta: 0 });
    }),
    firstTimestamp: NOW_MS,
    maxTimestamp: NOW_MS,
    partitionLeaderEpoch: -1,
    lastOffsetDelta: entries.length - 1,
    producerId: String(STAMP.producerId),
    producerEpoch: STAMP.producerEpoch,
    firstSequence: STAMP.sequence,
  });
  return batch.buffer;
}

function encode(entries: readonly LogEntry[]): Buffer {
  const records = encodeRecords(entries, false, NOW_MS);
  return Buffer.concat([batchHeader(records, STAMP), ...records.chunks]);
}

function entry(value: number | Uint8Array, over: Partial<LogEntry> = {}): LogEntry {
  return { key: null, value: typeof value === 'number' ? Buffer.alloc(value, 'v') : value, headers: {}, ...over };
}

const bytes = fc.oneof(
  { weight: 5, arbitrary: fc.uint8Array({ maxLength: 80 }) },
  fc.constantFrom(127, 128, 8_191, 8_192, 16_384, 65_535, 65_536, 70_000).map((length) => new Uint8Array(length)),
);
const entries = fc.array(
  fc.record({
    key: fc.option(bytes),
    value: bytes,
    headers: fc.dictionary(fc.stringMatching(/^[a-zäß€😀]{1,9}$/u), bytes, { maxKeys: 3 }),
  }),
  { minLength: 1, maxLength: 12 },
);

describe('a record batch', () => {
  test('golden', () => {
    const records = [
      entry(Buffer.from('value'), { headers: { h: Buffer.from('x') } }),
      entry(0, { key: Buffer.from('k') }),
    ];
    expect(encode(records).toString('hex')).toBe(GOLDEN);
  });

  test('is byte for byte what kafkajs makes, wherever small parts end and large ones begin', async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (given) => {
        expect(encode(given).equals(await reference(given))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test('many small records fill one scratch after the other', async () => {
    const given = Array.from({ length: 1_000 }, (_, i) => entry(i % 300, { key: Buffer.from(`${i}`) }));
    expect(encode(given).equals(await reference(given))).toBe(true);
  });

  test('compressed, the records are the same', () => {
    fc.assert(
      fc.property(entries, (given) => {
        const { chunks, bytes: length, count } = encodeRecords(given, true, NOW_MS);
        const compressed = Buffer.concat(chunks);
        expect(length).toBe(compressed.length);
        expect(count).toBe(given.length);
        const plain = Buffer.concat(encodeRecords(given, false, NOW_MS).chunks);
        expect(decompressFrameSync(compressed).equals(plain)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  test('a large value is not copied', () => {
    const value = new Uint8Array(100_000);
    const { chunks } = encodeRecords([entry(value)], false, NOW_MS);
    expect(chunks.some(({ buffer, length }) => buffer === value.buffer && length === value.length)).toBe(true);
  });

  test.each([
    [0, 1, 1],
    [2 ** 31 - 2, 1, 2 ** 31 - 1],
    [2 ** 31 - 1, 1, 0],
    [2 ** 31 - 2, 5, 3],
  ])('after sequence %i and %i records comes %i', (sequence, count, next) => {
    expect(sequenceAfter(sequence, count)).toBe(next);
  });
});

const GOLDEN =
  '000000000000000000000049ffffffff02375d9163000000000001000001a1f8d3ea7b000001a1f8d3ea7b0000000000000fa100030000004d00000002' +
  '1e000000010a76616c756502026802780e000002026b0000';
