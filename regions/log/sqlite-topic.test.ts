import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LOG_LIMITS, type LogLimits } from './log-limits.js';
import type { SliceEntry } from './sqlite-slice.js';
import { SqliteTopic } from './sqlite-topic.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meridian-topic-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const RETENTION_MS = 1000;

function open(limits: Partial<LogLimits> = {}, compacted = false, in_ = folder): SqliteTopic {
  const spec = { name: 'topic', partitions: 3, retentionMs: RETENTION_MS, compacted };
  return new SqliteTopic(spec, in_, { ...LOG_LIMITS, ...limits });
}

function entry(partition: number, value: string | Buffer, key: string | null = null): SliceEntry {
  return {
    partition,
    key: key === null ? null : Buffer.from(key),
    headers: Buffer.alloc(0),
    value: Buffer.from(value),
  };
}

function values(topic: SqliteTopic, partition: number, from = 0): string[] {
  const all: string[] = [];
  for (;;) {
    const records = topic.read(partition, from, 100, 10);
    if (records.length === 0) return all;
    for (const { chunks, offset } of records) {
      all.push(Buffer.concat(chunks).toString());
      from = offset + 1;
    }
  }
}

describe('a topic on disk', () => {
  test('goes on in a new slice at the limit of bytes and of records, and reads across them', () => {
    const topic = open({ sliceRecordsMax: 2 });
    for (let i = 0; i < 7; i++) topic.append([entry(i % 2, `${i}`)], i, 0);
    expect(readdirSync(folder).filter((f) => f.endsWith('.db'))).toHaveLength(4);
    expect([values(topic, 0), values(topic, 1), values(topic, 2)]).toEqual([['0', '2', '4', '6'], ['1', '3', '5'], []]);
    expect(values(topic, 0, 2)).toEqual(['4', '6']);
    topic.close();
    const bytes = open({ sliceBytesMax: 10_000 });
    bytes.append([entry(0, randomBytes(10_000))], 8, 0);
    bytes.append([entry(0, 'y')], 8, 0);
    expect(readdirSync(folder).filter((f) => f.endsWith('.db'))).toHaveLength(5);
    bytes.close();
  });

  test('a slice whose making was cut short is made again', () => {
    const topic = open();
    topic.append([entry(0, 'a')], 1, 0);
    topic.close();
    writeFileSync(join(folder, '00000002.db'), '');
    const again = open();
    again.append([entry(0, 'b')], 2, 0);
    expect(values(again, 0)).toEqual(['a', 'b']);
    again.close();
  });

  test('a slice of a version that is not known is refused', () => {
    const topic = open();
    topic.append([entry(0, 'a')], 1, 0);
    topic.close();
    const db = new DatabaseSync(join(folder, '00000001.db'));
    db.exec('PRAGMA user_version = 99');
    db.close();
    expect(() => open()).toThrow(expect.objectContaining({ code: 'unknown-version' }));
  });

  test('retention drops whole slices, keeps the ends, and never what is young', () => {
    const topic = open();
    topic.append([entry(0, 'old'), entry(1, 'old')], 0, 0);
    topic.expire(RETENTION_MS / 4 + 1);
    topic.append([entry(0, 'young')], 900, 0);
    topic.expire(RETENTION_MS);
    expect(values(topic, 0)).toEqual(['old', 'young']);
    topic.expire(RETENTION_MS + 1);
    expect(topic.starts()).toEqual([1, 1, 0]);
    expect(values(topic, 0)).toEqual(['young']);
    topic.expire(900 + RETENTION_MS + 1);
    expect([topic.starts(), topic.ends()]).toEqual([
      [2, 1, 0],
      [2, 1, 0],
    ]);
    expect(readdirSync(folder).filter((f) => f.endsWith('.db'))).toHaveLength(1);
    topic.close();
    const again = open();
    expect(again.append([entry(0, 'c')], 3000, 0)).toEqual([2]);
    again.close();
  });

  test('a read of a slice that retention drops later is not disturbed', () => {
    const topic = open({ sliceRecordsMax: 1 });
    for (let i = 0; i < 8; i++) topic.append([entry(0, `${i}`)], i * 100, 0);
    expect(values(topic, 0)).toHaveLength(8);
    topic.expire(RETENTION_MS + 401);
    expect(values(topic, 0)).toEqual(['5', '6', '7']);
    expect(topic.read(0, 0, 1, 1)[0]!.offset).toBe(5);
    topic.close();
  });

  test('a compacted topic keeps the newest record of each key and of no key all', () => {
    const topic = open({ sliceRecordsMax: 2 }, true);
    for (const [key, value] of [
      ['a', '1'],
      ['b', '2'],
      [null, '3'],
      ['a', '4'],
      ['a', '5'],
    ] as const) {
      topic.append([entry(0, value, key)], 0, 0);
    }
    topic.append([entry(1, 'other partition', 'a')], 0, 0);
    topic.expire(10 * RETENTION_MS);
    expect(values(topic, 0)).toEqual(['2', '3', '5']);
    expect([topic.starts(), topic.ends()]).toEqual([
      [1, 0, 0],
      [5, 1, 0],
    ]);
    topic.close();
    const again = open({}, true);
    expect(values(again, 0)).toEqual(['2', '3', '5']);
    expect(values(again, 1)).toEqual(['other partition']);
    expect(again.append([entry(0, '6', 'b')], 0, 0)).toEqual([5]);
    again.expire(0);
    expect(values(again, 0)).toEqual(['3', '5', '6']);
    again.close();
  });

  test('a full disk refuses the append whole, and is over when there is room again', () => {
    const topic = open({ bytesMax: 512 * 1024, sliceBytesMax: 128 * 1024 });
    const large = randomBytes(50_000);
    let appended = 0;
    const fill = () => {
      for (; appended < 100; appended++) topic.append([entry(0, large), entry(1, `${appended}`)], appended, 0);
    };
    expect(fill).toThrow(expect.objectContaining({ sqliteCodeName: 'SQLITE_FULL' }));
    expect(appended).toBeGreaterThan(3);
    expect(topic.ends()).toEqual([appended, appended, 0]);
    topic.expire(RETENTION_MS * 2);
    expect(topic.append([entry(1, 'room')], 3000, 0)).toEqual([appended]);
    expect(values(topic, 1)).toEqual(['room']);
    topic.close();
  });

  test('a topic whose only slice has expired begins a new one, at the same offsets', () => {
    const topic = open();
    topic.append([entry(0, 'a'), entry(2, 'b')], 0, 0);
    topic.expire(RETENTION_MS + 1);
    expect([topic.starts(), topic.ends(), values(topic, 0)]).toEqual([[1, 0, 1], [1, 0, 1], []]);
    expect(readdirSync(folder).filter((f) => f.endsWith('.db'))).toEqual(['00000002.db']);
    topic.expire(RETENTION_MS * 5);
    expect(readdirSync(folder).filter((f) => f.endsWith('.db'))).toEqual(['00000002.db']);
    topic.close();
    const again = open();
    expect(again.append([entry(2, 'c')], 5000, 0)).toEqual([1]);
    again.close();
  });

  test('finds times over slices, also where the clock stepped back', () => {
    const topic = open({ sliceRecordsMax: 2 });
    for (const ms of [100, 300, 200, 400, 500]) topic.append([entry(0, `${ms}`)], ms, 0);
    const at = (ms: number) => topic.offsetAt(0, ms);
    expect([at(0), at(100), at(101), at(301), at(400), at(501)]).toEqual([0, 0, 1, 3, 3, 5]);
    expect(topic.offsetAt(2, 0)).toBe(0);
    topic.close();
  });

  test('as a list per partition: any appends, reads, retention and reopening', () => {
    type Step = { append: [partition: number, bytes: number][] } | { advanceMs: number } | { reopen: true };
    const step: fc.Arbitrary<Step> = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ append: fc.array(fc.tuple(fc.nat(2), fc.nat(90_000)), { minLength: 1, maxLength: 4 }) }),
      },
      { weight: 2, arbitrary: fc.record({ advanceMs: fc.nat(600) }) },
      { weight: 1, arbitrary: fc.constant({ reopen: true as const }) },
    );
    let run = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
        const own = join(folder, `${run++}`);
        const limits = { sliceRecordsMax: 5 };
        let topic = open(limits, false, own);
        const model: { offset: number; ms: number; value: string }[][] = [[], [], []];
        let nowMs = 0;
        for (const [number, one] of steps.entries()) {
          if ('append' in one) {
            const entries = one.append.map(([p, bytes], i) => entry(p, `${number}/${i}`.padEnd(bytes, '.')));
            const offsets = topic.append(entries, nowMs, 0);
            for (const [i, e] of entries.entries()) {
              const list = model[e.partition]!;
              expect(offsets[i]).toBe((list.at(-1)?.offset ?? -1) + 1);
              list.push({ offset: offsets[i]!, ms: nowMs, value: Buffer.from(e.value).toString() });
            }
          } else if ('advanceMs' in one) {
            nowMs += one.advanceMs;
            topic.expire(nowMs);
          } else {
            topic.close();
            topic = open(limits, false, own);
          }
          const [starts, ends] = [topic.starts(), topic.ends()];
          for (const [p, list] of model.entries()) {
            const kept = list.filter((r) => r.offset >= starts[p]!);
            expect(values(topic, p)).toEqual(kept.map((r) => r.value));
            expect(ends[p]).toBe((list.at(-1)?.offset ?? -1) + 1);
            const dropped = list.filter((r) => r.offset < starts[p]!);
            expect(dropped.every((r) => r.ms < nowMs - RETENTION_MS)).toBe(true);
          }
        }
        topic.close();
      }),
      { numRuns: 25 },
    );
  });
});
