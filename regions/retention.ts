import type { TraceIndexRetention } from '../global/index/trace-index.js';
import { msToUnixNano } from '../global/model/time.js';
import type { Clock } from '../global/runtime/clock.js';
import { messageOf } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import type { Service } from '../global/runtime/service.js';
import type { SegmentStoreRetention } from './store/segment-store.js';

const INTERVAL_MS = 3_600_000;

/**
 * Forgets traces past their retention, in the store first: a record without its trace costs a question, a trace without its record
 * would be taken for absent.
 */
export function createRetention(options: {
  store: Pick<SegmentStoreRetention, 'expire'>;
  index: Pick<TraceIndexRetention, 'expire'>;
  retentionMs: number;
  clock: Clock;
  logger: Logger;
}): Service {
  const { store, index, retentionMs, clock, logger } = options;
  const stopped = new AbortController();
  let running = Promise.resolve();
  const expire = async () => {
    const before = msToUnixNano(clock.nowMs() - retentionMs);
    const blocks = await store.expire(before);
    const traces = await index.expire(before);
    if (blocks || traces) logger.info({ blocks, traces }, 'forgot what is past its retention');
  };
  const run = async () => {
    while (!stopped.signal.aborted) {
      await clock.sleep(INTERVAL_MS, stopped.signal);
      if (stopped.signal.aborted) return;
      await expire().catch((error: unknown) =>
        logger.warn({ error: messageOf(error) }, 'forgetting old traces failed; tried again in an hour'),
      );
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
