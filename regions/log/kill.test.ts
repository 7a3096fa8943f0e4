import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { compiledModule } from '../../global/runtime/package-root.js';
import { readAll } from './span-log-harness.js';
import { LogFolder } from './sqlite-log-for-tests.js';
import { numberedText } from './testing/numbered-text.js';

const PARTITIONS = 3;
/** Acknowledgements after which each of the processes is killed: at its first ones, and in full run, across several slices. */
const KILL_AFTER = [1, 40, 400, 3, 900];

interface Told {
  readonly acknowledged: { partition: number; number: number }[];
  /** By partition, the highest. */
  readonly committed: Map<number, number>;
}

async function runAndKill(folder: string, firstNumber: number, killAfter: number): Promise<Told> {
  const args = [compiledModule('regions/log/testing/kill-child'), folder, `${PARTITIONS}`, `${firstNumber}`];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const told: Told = { acknowledged: [], committed: new Map() };
  const closed = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout! })) {
    const [what, partition, n] = line.split(' ');
    if (what === 'a') told.acknowledged.push({ partition: Number(partition), number: Number(n) });
    else told.committed.set(Number(partition), Number(n));
    if (told.acknowledged.length === killAfter) child.kill('SIGKILL');
  }
  await closed;
  expect(child.signalCode).toBe('SIGKILL');
  return told;
}

test('kill -9 under load, again and again: every acknowledged entry is there once, in order, and every commit', async () => {
  const folder = new LogFolder();
  try {
    const acknowledged: Told['acknowledged'] = [];
    for (const [run, killAfter] of KILL_AFTER.entries()) {
      const told = await runAndKill(folder.path, run * 1_000_000, killAfter);
      acknowledged.push(...told.acknowledged);
      const log = await folder.open();
      const commits = await log.committed('readers', 'spans');
      for (const [partition, next] of told.committed) expect(commits[partition]).toBeGreaterThanOrEqual(next);
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const records = await readAll(log, 'spans', partition);
        expect(records.map((r) => r.offset)).toEqual(records.map((_, i) => i));
        const numbers = records.map((r) => Number.parseInt(Buffer.from(r.value.subarray(0, 10)).toString(), 10));
        expect(records.every((r, i) => Buffer.from(r.value).toString() === numberedText(numbers[i]!))).toBe(true);
        expect(new Set(numbers).size).toBe(numbers.length);
        const present = new Set(numbers);
        const lost = acknowledged.filter((a) => a.partition === partition && !present.has(a.number));
        expect(lost).toEqual([]);
        // Two appenders took numbers in turn, so order holds for the entries of one append: a number and the next.
        const pairs = numbers.filter((_, i) => i % 2 === 0).map((n, i) => numbers[i * 2 + 1] === n + 1);
        expect(pairs.every(Boolean)).toBe(true);
        expect((await log.ends('spans'))[partition]).toBe(records.length);
      }
      await folder.close(log);
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(KILL_AFTER.reduce((a, b) => a + b, 0));
  } finally {
    await folder.dispose();
  }
}, 60_000);
