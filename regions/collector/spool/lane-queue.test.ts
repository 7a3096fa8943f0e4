import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { LaneQueue } from './lane-queue.js';
import type { Place } from './spool-types.js';

const place = (sequence: number, segment = 1, at = sequence * 10): Place => ({
  partition: 5,
  sequence,
  segment,
  at,
  spanCount: 1,
  valueBytes: 10,
});

test('takes whole records: at least one, then what fits', () => {
  const queue = new LaneQueue(5);
  for (const sequence of [1, 1, 1, 2, 3]) queue.add(place(sequence));
  expect(queue.take(20, 9).map((record) => record.length)).toEqual([3]);
  expect(queue.take(20, 9).map((record) => record[0]!.sequence)).toEqual([2, 3]);
  expect(queue.take(20, 9)).toEqual([]);
});

test('no more records than asked for, and bytes at the limit', () => {
  const queue = new LaneQueue(5);
  for (const sequence of [1, 2, 3, 4]) queue.add(place(sequence));
  expect(queue.take(1000, 1)).toHaveLength(1);
  expect(queue.take(20, 9)).toHaveLength(2);
  expect(queue.take(19, 9)).toHaveLength(1);
});

test('behaves as a sorted list, whatever is added, taken, put back and forgotten', () => {
  const step = fc.oneof(
    fc.record({ op: fc.constant('add' as const), sequence: fc.nat(50), segment: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ op: fc.constant('take' as const), records: fc.integer({ min: 1, max: 4 }), isPutBack: fc.boolean() }),
    fc.record({ op: fc.constant('forget' as const), segment: fc.integer({ min: 1, max: 3 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new LaneQueue(5);
      let model: Place[] = [];
      let at = 0;
      for (const step of steps) {
        if (step.op === 'add') {
          const added = place(step.sequence, step.segment, at++);
          queue.add(added);
          model = [...model, added].sort((a, b) => a.sequence - b.sequence);
        } else if (step.op === 'forget') {
          queue.forget(step.segment);
          model = model.filter(({ segment }) => segment !== step.segment);
        } else {
          const taken = queue.take(Number.MAX_SAFE_INTEGER, step.records);
          const wanted = [...new Set(model.map(({ sequence }) => sequence))].slice(0, step.records);
          expect(taken.map((record) => record[0]!.sequence)).toEqual(wanted);
          if (step.isPutBack) queue.putBack(taken);
          else model = model.filter(({ sequence }) => !wanted.includes(sequence));
        }
        expect(queue.length).toBe(model.length);
        expect(queue.valueBytes).toBe(model.length * 10);
        expect(queue.firstSequence).toBe(model[0]?.sequence ?? Number.POSITIVE_INFINITY);
      }
      expect(queue.take(Number.MAX_SAFE_INTEGER, 1000).flat()).toEqual(model);
    }),
  );
});

test('a long queue that is taken bit by bit stays in order', () => {
  const queue = new LaneQueue(5);
  for (let i = 0; i < 5000; i++) queue.add(place(i));
  const taken: number[] = [];
  while (queue.length > 0) taken.push(...queue.take(1000, 7).map((record) => record[0]!.sequence));
  expect(taken).toEqual(Array.from({ length: 5000 }, (_, i) => i));
});
