import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeridianError } from '../../global/runtime/errors.js';

const FILE = 'fleet.pid';

/**
 * Makes this process the only fleet of the folder. Throws `configuration` naming the process that is there already; a file
 * whose process is gone (killed) is taken over.
 */
export function lockDataDir(dataDir: string, pid: number): { release(): void } {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, FILE);
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(file, String(pid), { flag: 'wx' });
      return { release: () => rmSync(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const holder = Number(readFileSync(file, 'utf8'));
      if (isFleet(holder)) {
        throw new MeridianError(
          'configuration',
          `a fleet is running in ${dataDir} already (process ${holder}). Stop it, or choose another folder with --data`,
          'never',
        );
      }
      rmSync(file, { force: true });
    }
  }
  throw new MeridianError('configuration', `cannot lock ${file}: another fleet is starting at this moment`, 'later');
}

/** Is the process alive, and (where the system tells) a node process rather than a later one that got the same number? */
function isFleet(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('fleet');
  } catch {
    return true;
  }
}
