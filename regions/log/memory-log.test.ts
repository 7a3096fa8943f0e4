import { MEMORY_ENTRY_BYTES_MAX, MemoryLog } from '../../global/log/testing/memory-log.js';
import { MemoryLogSession } from '../../global/log/testing/memory-log-session.js';
import { spanLogContract } from './span-log.contract.js';
import type { LogUnderTest } from './span-log-harness.js';

/** The double that other rooms test with keeps the contract too, so that what passes with it may be expected to pass with a real log. */
async function openSubject(): Promise<LogUnderTest> {
  let nowMs = 1_700_000_000_000;
  const memory = new MemoryLog(() => nowMs);
  const log = new MemoryLogSession(memory);
  const shortRetentionMs = 60_000;
  return {
    log,
    name: (base) => base,
    tooLargeBytes: MEMORY_ENTRY_BYTES_MAX + 1,
    tick: async () => {
      nowMs += 5;
    },
    shortRetentionMs,
    expire: async () => {
      nowMs += shortRetentionMs + 1;
      memory.expire();
    },
    reopen: async () => {
      await log.close();
      return new MemoryLogSession(memory);
    },
    crash: async () => {
      log.kill();
      return new MemoryLogSession(memory);
    },
    dispose: () => log.close(),
  };
}

spanLogContract('memory', openSubject);
