import { describe, expect, test } from 'vitest';
import {
  type BenchRow,
  formatFigure,
  markdownTable,
  meetsAsked,
  quantileOf,
  runRounds,
  spreadOf,
} from './bench-result.js';

const row = (relation: 'at least' | 'at most' | 'below', value: number, median: number): BenchRow => ({
  what: 'w',
  asked: { relation, value },
  unit: 'u',
  measured: { median, min: median, max: median, rounds: 1 },
});

describe('bench results', () => {
  test('spread: odd, even, and none', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, rounds: 3 });
    expect(spreadOf([4, 1, 2, 3])).toMatchObject({ median: 2.5 });
    expect(() => spreadOf([])).toThrow(RangeError);
  });

  test('rounds: warm-ups do not count', async () => {
    let calls = 0;
    expect(await runRounds({ rounds: 3, warmups: 2 }, () => ++calls)).toEqual({ median: 4, min: 3, max: 5, rounds: 3 });
  });

  test('quantiles by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect([0, 0.5, 0.99, 1].map((q) => quantileOf(values, q))).toEqual([1, 50, 99, 100]);
    expect(() => quantileOf([], 0.5)).toThrow(RangeError);
  });

  test('what was asked: at the figure, and past it', () => {
    expect(meetsAsked(row('at least', 5, 5))).toBe(true);
    expect(meetsAsked(row('at least', 5, 4.9))).toBe(false);
    expect(meetsAsked(row('at most', 5, 5))).toBe(true);
    expect(meetsAsked(row('at most', 5, 5.1))).toBe(false);
    expect(meetsAsked(row('below', 5, 5))).toBe(false);
    expect(meetsAsked({ ...row('below', 5, 5), asked: null })).toBeNull();
  });

  test('figures have three digits', () => {
    expect([1_234_567, 12.345, 0.012345, 0, 999.9].map(formatFigure)).toEqual([
      '1,230,000',
      '12.3',
      '0.0123',
      '0',
      '1,000',
    ]);
  });

  test('the table names what was missed', () => {
    const table = markdownTable({ name: 'n', requirements: [], rows: [row('at least', 5, 4), row('at most', 5, 4)] });
    expect(table.split('\n').slice(2)).toEqual([
      '| w | at least 5 u | 4 u (missed) | 4 .. 4 |  |',
      '| w | at most 5 u | 4 u | 4 .. 4 |  |',
    ]);
  });
});
