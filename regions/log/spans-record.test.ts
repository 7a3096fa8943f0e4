import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LogRecord } from '../../global/log/span-log.js';
import { readSpansRecordInfo, SPANS_RECORD_HEADER, spansRecordHeaders } from './spans-record.js';

function recordWith(header: Uint8Array | null, offset = 7): LogRecord {
  const headers = header === null ? {} : { [SPANS_RECORD_HEADER]: header };
  return { offset, appendedMs: 1_700_000_000_123, key: null, value: Buffer.alloc(0), headers };
}

describe('the header of a spans record', () => {
  const info = {
    stamp: { instance: 0x01020304, sequence: 0xfffffffe },
    receivedMs: 1_700_000_000_000,
    collectorId: 'c-é',
  };

  test('golden', () => {
    const header = spansRecordHeaders(info)[SPANS_RECORD_HEADER]!;
    expect(Buffer.from(header).toString('hex')).toBe('01' + '04030201' + 'feffffff' + '0068e5cf8b010000' + '632dc3a9');
  });

  test('comes back, also as a view inside a larger buffer', () => {
    const id = fc.string({ unit: 'grapheme', maxLength: 30 });
    const uint32 = fc.nat(0xffff_ffff);
    fc.assert(
      fc.property(
        uint32,
        uint32,
        fc.nat(Number.MAX_SAFE_INTEGER),
        id,
        (instance, sequence, receivedMs, collectorId) => {
          const given = { stamp: { instance, sequence }, receivedMs, collectorId };
          const header = spansRecordHeaders(given)[SPANS_RECORD_HEADER]!;
          const view = Buffer.concat([Buffer.from('xx'), header, Buffer.from('yy')]).subarray(2, 2 + header.length);
          expect(readSpansRecordInfo(recordWith(view), 3)).toEqual(given);
        },
      ),
    );
  });

  test.each([
    ['no header', null],
    ['a newer version', Buffer.concat([Buffer.from([2]), Buffer.alloc(30)])],
    ['a short one', Buffer.from([1, 0, 0])],
  ])('%s: the record is stamped by its place', (_what, header) => {
    expect(readSpansRecordInfo(recordWith(header, 2 ** 32 + 5), 3)).toEqual({
      stamp: { instance: 3, sequence: 5 },
      receivedMs: 1_700_000_000_123,
      collectorId: '',
    });
  });
});
