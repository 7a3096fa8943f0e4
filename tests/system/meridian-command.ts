import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../global/runtime/package-root.js';

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** `meridian ARGS...` as a process of its own, for the fleet in the folder; nobody is there to answer questions. */
export function runMeridian(dataDir: string, args: readonly string[]): Promise<CommandResult> {
  const command = join(packageRoot, 'scripts/meridian.js');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [command, ...args],
      { env: { ...process.env, MERIDIAN_DATA: dataDir, NODE_OPTIONS: '' }, maxBuffer: 64 * 1024 * 1024 },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}
