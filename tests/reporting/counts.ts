import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** `12 passed, 0 failed, 1 skipped`: alone on the last line, for machines. */
export function countsLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

export function addCounts(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** Adds to what former runs have left in the file, so that the last of several runs tells the sum. */
export function addToFile(file: string, counts: Counts): Counts {
  const before = existsSync(file) ? countsOf(readFileSync(file, 'utf8')) : null;
  const sum = before ? addCounts(before, counts) : counts;
  writeFileSync(file, `${countsLine(sum)}\n`);
  return sum;
}

function countsOf(text: string): Counts | null {
  const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(text) ?? [];
  if (passed === undefined) return null;
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped) };
}
