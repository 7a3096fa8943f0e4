import type { TraceIndexFolding, TraceIndexRetention } from '../global/index/trace-index.js';
import { msToUnixNano } from '../global/model/time.js';
import type { Clock } from '../global/runtime/clock.js';
import { messageOf } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import type { Service } from '../global/runtime/service.js';
import type { SegmentStoreRetention } from './store/segment-store.js';

export interface RetentionOptions {
  readonly store: Pick<SegmentStoreRetention, 'expire'>;
  readonly index: Pick<TraceIndexRetention, 'expire'> & Pick<TraceIndexFolding, 'fold'>;
  readonly retentionMs: number;
  /** Days of the index that ended longer ago than this are folded (docs/decisions/0012); null: never. */
  readonly foldAfterMs: number | null;
  readonly clock: Clock;
  readonly logger: Logger;
  /** From 0 to below 1. */
  readonly random: () => number;
}

const INTERVAL_MS = 3_600_000;
/**
 * The first run comes so long after a start: a process that is restarted more often than once an hour forgets too. Not at once: a start has enough to do,
 * and one that fails and is started again and again should not begin each time with this. In between at random, since a region's processes start together.
 */
export const FIRST_RUN_MS_MIN = 60_000;
export const FIRST_RUN_MS_MAX = 300_000;

/**
 * Forgets traces past their retention every hour, in the store first: a record without its trace costs a question, a trace without its record
 * would be taken for absent. Then folds old days of the index, whether or not forgetting succeeded. What fails is logged and tried again in an hour.
 * `stop` waits for what is being forgotten, but not for a fold, which may take long and goes on with the next.
 */
export function createRetention(options: RetentionOptions): Service {
  const { clock, random } = options;
  const stopped = new AbortController();
  const stopping = new Promise<void>((resolve) =>
    stopped.signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  let running = Promise.resolve();
  const run = async () => {
    let waitMs = FIRST_RUN_MS_MIN + random() * (FIRST_RUN_MS_MAX - FIRST_RUN_MS_MIN);
    for (;;) {
      await clock.sleep(waitMs, stopped.signal);
      if (stopped.signal.aborted) return;
      await expire(options);
      if (stopped.signal.aborted) return;
      await Promise.race([fold(options, stopped.signal), stopping]);
      waitMs = INTERVAL_MS;
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

async function expire({ store, index, retentionMs, clock, logger }: RetentionOptions): Promise<void> {
  const before = msToUnixNano(clock.nowMs() - retentionMs);
  try {
    const blocks = await store.expire(before);
    const traces = await index.expire(before);
    if (blocks || traces) logger.info({ blocks, traces }, 'forgot what is past its retention');
  } catch (error) {
    logger.warn({ error: messageOf(error) }, 'forgetting old traces failed; tried again in an hour');
  }
}

/** Never rejects. A fold that is cut off by the index's closing, after the signal, is no failure. */
async function fold({ index, foldAfterMs, clock, logger }: RetentionOptions, stopped: AbortSignal): Promise<void> {
  if (foldAfterMs === null) return;
  const startedMs = clock.monotonicMs();
  try {
    const records = await index.fold(msToUnixNano(clock.nowMs() - foldAfterMs));
    const tookMs = Math.round(clock.monotonicMs() - startedMs);
    if (records) logger.info({ records, tookMs }, 'folded old days of the index');
  } catch (error) {
    if (stopped.aborted) return;
    logger.warn({ error: messageOf(error) }, 'folding old days of the index failed; it goes on in an hour');
  }
}
