import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { Clock } from '../../global/runtime/clock.js';

const PID_FILE = z.object({ version: z.literal(1), name: z.string(), pid: z.int().positive(), birth: z.string() });

/** A process as its pid file tells it. `birth` tells it from a later one of the same pid. */
export interface KnownProcess {
  readonly name: string;
  readonly pid: number;
  readonly birth: string;
}

/** Something that stays the same while a process lives and differs for the next one of its pid; null where there is no such process. */
export function birthOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may hold spaces and parentheses: fields are counted from its end (proc(5): state is 3, starttime 22).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : `ticks ${fields[19]}`;
  } catch {
    return process.platform === 'linux' ? null : birthByPs(pid);
  }
}

function birthByPs(pid: number): string | null {
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || null;
  } catch {
    return null;
  }
}

export function writePidFile(file: string, name: string, pid: number): void {
  writeFileSync(file, `${JSON.stringify({ version: 1, name, pid, birth: birthOf(pid) ?? 'ended' })}\n`);
}

/** The process of a pid file if it still runs; null where the file is missing, is not one, or its process has ended. */
export function runningOf(file: string): KnownProcess | null {
  try {
    const known = PID_FILE.parse(JSON.parse(readFileSync(file, 'utf8')));
    return birthOf(known.pid) === known.birth ? known : null;
  } catch {
    return null;
  }
}

const POLL_MS = 100;

/**
 * Ends what a pid file names, SIGTERM first and SIGKILL after `budgetMs`, and removes the file. Resolves with what was ended, null where nothing
 * ran any more. A process that merely has the same pid by now is left alone.
 */
export async function stopLeftover(file: string, budgetMs: number, clock: Clock): Promise<KnownProcess | null> {
  const known = runningOf(file);
  if (known) {
    process.kill(known.pid, 'SIGTERM');
    const deadlineMs = clock.monotonicMs() + budgetMs;
    let killed = false;
    while (runningOf(file)) {
      if (!killed && clock.monotonicMs() >= deadlineMs) {
        process.kill(known.pid, 'SIGKILL');
        killed = true;
      }
      await clock.sleep(POLL_MS);
    }
  }
  rmSync(file, { force: true });
  return known;
}
