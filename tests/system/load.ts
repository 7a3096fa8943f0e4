import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import type { TestFleet } from './test-fleet.js';
import { type AcknowledgedTrace, seededIds, sendTrace } from './traffic.js';

/** A steady load while something happens. */
export interface Load {
  /** Resolves with every trace whose parts were all acknowledged, once what is on its way is. */
  stop(): Promise<readonly AcknowledgedTrace[]>;
}

const PAUSE_MS = 150;

/** `senders` at once send known traces over the regions, one after the other, each part again until it is acknowledged. */
export function startLoad(fleet: TestFleet, regions: readonly RegionId[], senders: number, seed: number): Load {
  const acknowledged: AcknowledgedTrace[] = [];
  let sending = true;
  const running = Array.from({ length: senders }, async (_, sender) => {
    const ids = seededIds(seed * 1000 + sender);
    while (sending) {
      acknowledged.push(await sendTrace(fleet, regions, ids));
      // So that the count to check stays within minutes; the rate is the benchmark's business.
      await realClock.sleep(PAUSE_MS);
    }
  });
  return {
    stop: async () => {
      sending = false;
      await Promise.all(running);
      return acknowledged;
    },
  };
}
