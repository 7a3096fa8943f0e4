import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { addToFile } from './counts.js';
import { engineSuitePaths, enginesRequired, toolsOf } from './engine-suites.js';
import { CountingReporter } from './reporter.js';

test('a suite needs what the launchers that it imports need', () => {
  expect([...toolsOf('scripts/engines/elasticsearch.engine.test.ts')]).toEqual(['java']);
  expect([...toolsOf('global/index/redis-trace-index.engine.test.ts')]).toEqual(['redis']);
  expect([...toolsOf('regions/log/kafka-span-log.engine.test.ts')]).toEqual(['java']);
});

test('engine suites of every room are found, and nothing else', () => {
  const paths = engineSuitePaths();
  expect(paths).toEqual(expect.arrayContaining(['global/index/redis-trace-index.engine.test.ts']));
  expect(paths).toEqual(expect.arrayContaining(['scripts/engines/elasticsearch.engine.test.ts']));
  expect(paths.filter((path) => /node_modules|^dist/.test(path))).toEqual([]);
  expect(paths.filter((path) => !path.endsWith('.engine.test.ts'))).toEqual([]);
});

test('engines are required in CI and where somebody says so', () => {
  expect(enginesRequired({ CI: 'true' })).toBe(true);
  expect(enginesRequired({ MERIDIAN_REQUIRE_ENGINES: '1' })).toBe(true);
  expect(enginesRequired({ CI: 'false', MERIDIAN_REQUIRE_ENGINES: '' })).toBe(false);
  expect(enginesRequired({})).toBe(false);
});

const module = (states: readonly ('passed' | 'failed' | 'skipped')[], ok: boolean) => ({
  ok: () => ok,
  children: { allTests: () => states.map((state) => ({ result: () => ({ state }) })) },
});

test('what is missing is named and counted as skipped; what runs elsewhere is named only; the counts come last', () => {
  const lines: string[] = [];
  const reporter = new CountingReporter({
    skipped: [{ path: 'a.engine.test.ts', missing: 'java does not run. Install it' }],
    elsewhere: [{ path: 'b.engine.test.ts', missing: null }],
    countsFile: undefined,
    out: (line) => lines.push(line),
  });
  reporter.count([module(['passed', 'passed', 'skipped'], true), module(['passed', 'failed'], false)], 0);
  reporter.print(true);
  expect(lines).toEqual([
    'SKIPPED: a.engine.test.ts: java does not run. Install it',
    'not run here: b.engine.test.ts: npm run test:engines',
    '3 passed, 1 failed, 2 skipped',
  ]);
  lines.length = 0;
  reporter.print(false);
  expect(lines.some((line) => line.startsWith('not run here'))).toBe(false);
});

test('a file that did not load, and an error outside of tests, are failures', () => {
  const lines: string[] = [];
  const options = { skipped: [], elsewhere: [], countsFile: undefined, out: (line: string) => lines.push(line) };
  const reporter = new CountingReporter(options);
  reporter.count([module([], false), module(['passed'], true)], 1);
  reporter.print(true);
  expect(lines).toEqual(['1 passed, 2 failed, 0 skipped']);
});

test('runs that share a file tell their sum', () => {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-counts-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'counts');
  addToFile(file, { passed: 10, failed: 0, skipped: 2 });
  expect(addToFile(file, { passed: 5, failed: 1, skipped: 0 })).toEqual({ passed: 15, failed: 1, skipped: 2 });
});
