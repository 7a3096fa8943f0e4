import { expect, test } from 'vitest';
import type { BenchResult } from './bench-result.js';
import { mergeReport, reportMarkdown } from './report.js';

const run = (name: string, value: number, date = '2026-11-21') => {
  const measured = { median: value, min: value, max: value, rounds: 1 };
  const result: BenchResult = {
    name,
    requirements: ['In9'],
    rows: [{ what: `speed of ${name}`, asked: { relation: 'at least', value: 10 }, unit: 'x', measured }],
  };
  return { date, machine: 'm', result };
};

test('a new run takes the place of the former of its name; others stay; the order is the given one', () => {
  const merged = mergeReport([run('b', 1), run('a', 1)], [run('b', 20, '2026-12-01')], ['a', 'b', 'c']);
  expect(merged.map(({ date, result }) => [result.name, date])).toEqual([
    ['a', '2026-11-21'],
    ['b', '2026-12-01'],
  ]);
});

test('what was missed is named first', () => {
  expect(reportMarkdown([run('a', 5), run('b', 20)])).toContain('Missed: a: speed of a.');
  expect(reportMarkdown([run('b', 20)])).toContain('Every figure that was asked for is met.');
});
