import { describe, expect, test } from 'vitest';
import { countUpTo, recordsFrom } from './kafka-records.js';
import type { WireMessage } from './kafka-wire.js';

function message(offset: number, value: string | null, over: Partial<WireMessage> = {}): WireMessage {
  return {
    offset: String(offset),
    timestamp: '1700000000000',
    key: null,
    value: value === null ? null : Buffer.from(value),
    headers: {},
    isControlRecord: false,
    ...over,
  };
}

describe('records from Kafka', () => {
  test('a batch that begins before the offset is cut, control records are nobody’s', () => {
    const messages = [message(3, 'a'), message(4, 'b'), message(5, 'c', { isControlRecord: true }), message(9, 'd')];
    expect(recordsFrom(messages, 4).map((r) => [r.offset, Buffer.from(r.value).toString()])).toEqual([
      [4, 'b'],
      [9, 'd'],
    ]);
  });

  test('a tombstone is an empty value, a repeated header is its last', () => {
    const headers = { once: Buffer.from('1'), twice: [Buffer.from('1'), Buffer.from('2')], none: null };
    const [record] = recordsFrom([message(0, null, { key: Buffer.from('k'), headers })], 0);
    expect(record!.value).toHaveLength(0);
    expect(record!.appendedMs).toBe(1_700_000_000_000);
    expect(Object.entries(record!.headers).map(([name, bytes]) => [name, Buffer.from(bytes).toString()])).toEqual([
      ['once', '1'],
      ['twice', '2'],
      ['none', ''],
    ]);
  });
});

describe('the size of a batch', () => {
  const records = recordsFrom(
    ['12345', '', '12345', '1'].map((value, offset) => message(offset, value)),
    0,
  );

  test.each([
    [0, 1],
    [4, 1],
    [5, 2],
    [9, 2],
    [10, 3],
    [11, 4],
    [1_000, 4],
  ])('of at most %i bytes holds %i records', (bytesMax, count) => {
    expect(countUpTo(records, bytesMax)).toBe(count);
  });

  test('of nothing is nothing', () => {
    expect(countUpTo([], 10)).toBe(0);
  });
});
