import { describe, expect, test } from 'vitest';
import type { LogRecord } from '../log/span-log.js';
import { beginRun, continueRun, lossBefore, type RunBeginning, vouchedFrom } from './feed-run.js';
import { encodeMirrorGap, encodeMirrorOffset, MIRROR_GAP_HEADER, MIRROR_HEADER } from './mirror-position.js';

function record(offset: number, appendedMs: number, headers: LogRecord['headers'] = {}): LogRecord {
  return { offset, appendedMs, headers, key: null, value: Buffer.alloc(0) };
}

const stored = (nextOffset: number, vouchedFromUnixNano: bigint) => ({
  topic: 't',
  partition: 0,
  nextOffset,
  vouchedFromUnixNano,
});

function begin(over: Partial<RunBeginning>) {
  const run = beginRun({ stored: null, startOffset: 0, first: record(0, 500), logStart: 0, logEnd: 100, ...over });
  return [run.nextOffset, run.vouchedFromUnixNano];
}

test('the millisecond that a record was taken in is not vouched for', () => {
  expect(vouchedFrom(500)).toBe(501_000_000n);
  expect(vouchedFrom(-5)).toBe(1_000_000n);
});

describe('beginRun', () => {
  test('from the first record of the log all is vouched for, from a later one what comes from there on', () => {
    expect(begin({})).toEqual([0, 0n]);
    expect(begin({ logStart: 3, first: record(3, 500) })).toEqual([0, vouchedFrom(500)]);
    expect(begin({ startOffset: 3, first: record(3, 500) })).toEqual([3, vouchedFrom(500)]);
  });

  test('goes on with what the index holds, where nothing lies between', () => {
    for (const startOffset of [5, 9, 10]) {
      expect(begin({ stored: stored(10, 7n), startOffset, first: record(startOffset, 500) })).toEqual([10, 7n]);
    }
    expect(begin({ stored: stored(10, 7n), startOffset: 11, first: record(11, 500) })).toEqual([11, vouchedFrom(500)]);
  });

  test('a rebuild that begins before what is vouched for takes its place', () => {
    const later = vouchedFrom(900);
    expect(begin({ stored: stored(10, later) })).toEqual([0, 0n]);
    expect(begin({ stored: stored(10, later), startOffset: 4, first: record(4, 500) })).toEqual([4, vouchedFrom(500)]);
    expect(begin({ stored: stored(10, later), startOffset: 4, first: record(4, 900) })).toEqual([10, later]);
  });

  test('a log that ends before the position is another log', () => {
    expect(begin({ stored: stored(10, 0n), logEnd: 10 })).toEqual([10, 0n]);
    expect(begin({ stored: stored(10, 0n), logEnd: 9 })).toEqual([0, vouchedFrom(500)]);
  });
});

describe('continueRun', () => {
  const run = { nextOffset: 10, vouchedFromUnixNano: 7n };
  const next = (offset: number, logStart: number, lossMs: number | null = null, from = run) => {
    const { nextOffset, vouchedFromUnixNano } = continueRun(from, offset, 500, logStart, lossMs);
    return [nextOffset, vouchedFromUnixNano];
  };

  test('the next record, and one that comes again', () => {
    expect(next(10, 0)).toEqual([11, 7n]);
    expect(next(3, 0)).toEqual([10, 7n]);
  });

  test('missing offsets are a gap only where the log forgot them', () => {
    expect(next(12, 10)).toEqual([13, 7n]);
    expect(next(12, 11)).toEqual([13, vouchedFrom(500)]);
    expect(next(10, 11)).toEqual([11, 7n]);
  });

  test('a loss that is told of raises it, and never lowers it', () => {
    expect(next(10, 0, 400)).toEqual([11, vouchedFrom(400)]);
    expect(next(3, 0, 400)).toEqual([10, vouchedFrom(400)]);
    const late = { nextOffset: 10, vouchedFromUnixNano: vouchedFrom(450) };
    expect(next(10, 0, 400, late)).toEqual([11, vouchedFrom(450)]);
    expect(next(12, 11, 600)).toEqual([13, vouchedFrom(600)]);
  });
});

describe('lossBefore', () => {
  const carried = { [MIRROR_HEADER]: encodeMirrorOffset(1) };
  const gap = { [MIRROR_GAP_HEADER]: encodeMirrorGap(400) };

  test('the own feed carries nothing, a mirror says what is missing', () => {
    expect(lossBefore(record(0, 500), 'own')).toBeNull();
    expect(lossBefore(record(0, 500, carried), 'mirrored')).toBeNull();
    expect(lossBefore(record(0, 500, { ...carried, ...gap }), 'mirrored')).toBe(400);
    expect(lossBefore(record(0, 500, gap), 'mirrored-whole')).toBe(400);
  });

  test('without the header, or with one that cannot be read, everything before may be missing', () => {
    expect(lossBefore(record(0, 500), 'mirrored')).toBe(500);
    expect(lossBefore(record(0, 500), 'mirrored-whole')).toBeNull();
    for (const bytes of [Buffer.of(2, 0, 0, 0, 0, 0, 0, 0, 0), Buffer.of(1, 0)]) {
      expect(lossBefore(record(0, 500, { ...carried, [MIRROR_GAP_HEADER]: bytes }), 'mirrored')).toBe(500);
    }
  });

  test('header: golden bytes', () => {
    expect(encodeMirrorGap(0x0102030405).toString('hex')).toBe('010504030201000000');
  });
});
