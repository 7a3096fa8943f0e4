import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { SpanLog } from '../../global/log/span-log.js';
import { type Clock, realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import type { LogTail } from './log-tail.js';
import { openSqliteSpanLog, type SqliteSpanLogOptions } from './sqlite-span-log.js';

/** A folder of its own, and embedded logs in it, for tests. */
export class LogFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'meridian-log-'));
  readonly registry = new Registry();
  /** Real time, plus what the test adds. */
  readonly clock: Clock & { shiftMs: number };
  readonly #open = new Set<SpanLog>();

  constructor(private readonly options: Partial<SqliteSpanLogOptions> = {}) {
    const clock = { ...realClock, shiftMs: 0, nowMs: () => realClock.nowMs() + clock.shiftMs };
    this.clock = clock;
  }

  async open(over: Partial<SqliteSpanLogOptions> = {}): Promise<SpanLog & LogTail> {
    const log = await openSqliteSpanLog({
      folder: this.path,
      clock: this.clock,
      logger: silentLogger,
      registry: new Registry(),
      retentionCheckMs: 20,
      ...this.options,
      ...over,
    });
    this.#open.add(log);
    return log;
  }

  /**
   * What a process that is killed now leaves behind, under another path. Nothing may be under way: the files of an idle log are what
   * the kernel has, no more and no less.
   */
  copyAsAfterKill(): LogFolder {
    const copy = new LogFolder(this.options);
    cpSync(this.path, copy.path, { recursive: true });
    return copy;
  }

  async close(log: SpanLog): Promise<void> {
    this.#open.delete(log);
    await log.close();
  }

  /** Closes what is open and removes the folder. */
  async dispose(): Promise<void> {
    for (const log of this.#open) await log.close();
    rmSync(this.path, { recursive: true, force: true });
  }
}
