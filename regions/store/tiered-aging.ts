import { Gauge, type Registry } from 'prom-client';
import { msToUnixNano } from '../../global/model/time.js';
import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { Service } from '../../global/runtime/service.js';
import type { TieredSegmentStore } from './tiered-segment-store.js';

export interface AgingOptions {
  /** Left out where there is no cold tier. */
  readonly store?: Pick<TieredSegmentStore, 'demote'>;
  /** Makes what is older warm; left out where the hot store has no such thing (the embedded one). */
  readonly warm?: (beforeUnixNano: bigint) => Promise<number>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly warmAfterMs?: number;
  readonly coldAfterMs?: number;
  /** From the end of a run to the next. Default 10 minutes. */
  readonly intervalMs?: number;
}

const DAY_MS = 86_400_000;
export const AGING_DEFAULTS = { warmAfterMs: 7 * DAY_MS, coldAfterMs: 30 * DAY_MS, intervalMs: 600_000 } as const;

/**
 * Moves what has aged into the warm and the cold tier, one run at a time; what fails is logged and tried again with the next run. `stop` ends a
 * run at its next safe place and waits for it.
 */
export function createAging(options: AgingOptions): Service {
  const { store, warm, clock, logger, registry } = options;
  const { warmAfterMs, coldAfterMs, intervalMs } = { ...AGING_DEFAULTS, ...options };
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers: [registry] });
  const demotedTo = gauge('meridian_cold_demoted_to_seconds', 'Unix time up to which blocks have left the hot store');
  const failing = gauge('meridian_cold_aging_failing_state', 'Whether the last run of a tier change failed');
  const stopped = new AbortController();
  let running = Promise.resolve();

  const attempt = async (what: string, work: () => Promise<void>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      logger.warn(
        { error: messageOf(error), againInMs: intervalMs },
        `${what} failed; nothing is lost, it is tried again`,
      );
      return false;
    }
  };
  const makeWarm = async () => {
    const indices = await warm?.(msToUnixNano(clock.nowMs() - warmAfterMs));
    if (indices) logger.info({ indices }, 'warm tier: took over indices');
  };
  const demote = async () => {
    if (!store) return;
    const beforeMs = clock.nowMs() - coldAfterMs;
    const report = await store.demote(msToUnixNano(beforeMs), stopped.signal);
    if (!stopped.signal.aborted) demotedTo.set(beforeMs / 1000);
    if (report.blocks > 0 || report.unpackable > 0) logger.info({ ...report }, 'cold tier: took over blocks');
  };
  const run = async () => {
    while (!stopped.signal.aborted) {
      const isWarm = await attempt('making old indices warm', makeWarm);
      const isCold = !stopped.signal.aborted && (await attempt('moving old blocks into the cold tier', demote));
      failing.set(isWarm && isCold ? 0 : 1);
      await clock.sleep(intervalMs, stopped.signal);
    }
  };
  return {
    start: async () => {
      running = run();
    },
    stop: async () => {
      stopped.abort();
      await running;
    },
  };
}
