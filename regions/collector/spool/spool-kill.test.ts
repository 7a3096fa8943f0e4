import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { compiledModule } from '../../../global/runtime/package-root.js';
import { SPOOL_CRASH_POINTS, type SpoolCrashPoint } from './spool-crash-points.js';

const ROOMY = 50_000_000;
const TIGHT = 64 * 1024;

/** Runs the child to its end; the numbers that it acknowledged. */
async function run(folder: string, point: string, reached: number, first: number, bytesMax: number) {
  const args = [compiledModule('regions/collector/spool/testing/spool-child'), folder, point, reached, first, bytesMax];
  const child = spawn(process.execPath, args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const acknowledged: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) acknowledged.push(Number(line.split(' ')[1]));
  await closed;
  return { acknowledged, signal: child.signalCode };
}

/** One child after the other on the same folder, each killed at its point; then one that drains. */
async function killAtEach(points: readonly SpoolCrashPoint[], bytesMax: number, isOwed: (number: number) => boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-spool-kill-'));
  try {
    const owed: number[] = [];
    for (const [i, point] of points.entries()) {
      // How often the point is reached before: early, and in full run.
      const told = await run(folder, point, i % 2 === 0 ? 23 : 2, i * 1_000_000, bytesMax);
      expect([point, told.signal]).toEqual([point, 'SIGKILL']);
      owed.push(...told.acknowledged.filter(isOwed));
    }
    expect((await run(folder, 'none', 0, 0, bytesMax)).signal).toBe(null);
    const lines = readFileSync(join(folder, 'log.txt'), 'utf8').trim().split('\n');
    const found = lines.map((line) => line.split(' ').map(Number) as [partition: number, number: number]);
    const present = new Set(found.map(([, number]) => number));
    expect(owed.length).toBeGreaterThan(20);
    expect(owed.filter((number) => !present.has(number))).toEqual([]);
    for (const partition of [0, 1, 2]) {
      const numbers = found.filter(([own]) => own === partition).map(([, number]) => number);
      const first = [...new Set(numbers)];
      expect(first).toEqual([...first].sort((a, b) => a - b));
      expect(first.every((number) => number % 3 === partition)).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('kill -9 at each point while spooling and replaying: acknowledged = found, in order', { timeout: 90_000 }, () =>
  killAtEach(
    SPOOL_CRASH_POINTS.filter((point) => point !== 'spool.after-evict'),
    ROOMY,
    () => true,
  ),
);

test('kill -9 while a full spool gives something up: only the lowest class is missing', { timeout: 60_000 }, () =>
  killAtEach(['spool.after-evict', 'spool.after-evict'], TIGHT, (number) => number % 2 === 0),
);
