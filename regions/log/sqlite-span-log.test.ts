import { spanLogContract } from './span-log.contract.js';
import type { LogUnderTest } from './span-log-harness.js';
import { LogFolder } from './sqlite-log-for-tests.js';

async function openSubject(): Promise<LogUnderTest> {
  const limits = { entryBytesMax: 1024 * 1024 };
  const folder = new LogFolder(limits);
  let copy: LogFolder | null = null;
  const log = await folder.open();
  const shortRetentionMs = 60_000;
  return {
    log,
    name: (base) => base,
    tooLargeBytes: limits.entryBytesMax + 1,
    tick: async () => {
      folder.clock.shiftMs += 5;
    },
    shortRetentionMs,
    expire: async () => {
      folder.clock.shiftMs += shortRetentionMs + 1;
    },
    reopen: async () => {
      await folder.close(log);
      return folder.open();
    },
    crash: async () => {
      copy = folder.copyAsAfterKill();
      return copy.open();
    },
    dispose: async () => {
      await folder.dispose();
      await copy?.dispose();
    },
  };
}

spanLogContract('SQLite', openSubject);
