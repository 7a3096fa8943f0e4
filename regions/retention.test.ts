import { describe, expect, test } from 'vitest';
import { ManualClock } from '../global/runtime/clock.js';
import { MeridianError } from '../global/runtime/errors.js';
import { type Logger, silentLogger } from '../global/runtime/logger.js';
import { createRetention, FIRST_RUN_MS_MAX, FIRST_RUN_MS_MIN, type RetentionOptions } from './retention.js';

const HOUR_MS = 3_600_000;
const hours = (beforeUnixNano: bigint) => `${beforeUnixNano / 1_000_000n / BigInt(HOUR_MS)} h`;

/** A retention that begins at ten hours; what it did by name, and whether each fails. */
function rig(over: Partial<RetentionOptions> = {}) {
  const clock = new ManualClock(10 * HOUR_MS);
  const done: string[] = [];
  const failing = new Set<string>();
  const step = (what: string) => async (beforeUnixNano: bigint) => {
    done.push(`${what} ${hours(beforeUnixNano)}`);
    if (failing.has(what)) throw new MeridianError('unavailable', 'locked', 'later');
    return 1;
  };
  const warned: string[] = [];
  const logger: Logger = Object.assign(Object.create(silentLogger) as Logger, {
    warn: (_: object, message: string) => warned.push(message),
  });
  const retention = createRetention({
    store: { expire: step('store') },
    index: { expire: step('index'), fold: step('fold') },
    retentionMs: 4 * HOUR_MS,
    foldAfterMs: 2 * HOUR_MS,
    clock,
    logger,
    random: () => 0,
    ...over,
  });
  return { clock, retention, failing, warned, did: () => done.splice(0) };
}

describe('retention', () => {
  test('soon after a start, but not at once, then every hour, until it is stopped: the store, the index, the fold', async () => {
    const { clock, retention, did } = rig();
    await retention.start();
    await clock.advance(FIRST_RUN_MS_MIN - 1);
    expect(did()).toEqual([]);
    await clock.advance(1);
    expect(did()).toEqual(['store 6 h', 'index 6 h', 'fold 8 h']);
    await clock.advance(HOUR_MS - 1);
    expect(did()).toEqual([]);
    await clock.advance(1);
    expect(did()).toEqual(['store 7 h', 'index 7 h', 'fold 9 h']);
    await retention.stop();
    await clock.advance(10 * HOUR_MS);
    expect(did()).toEqual([]);
  });

  test('the first run comes at random within its bounds; stopped before it, there is none', async () => {
    const almostOne = 1 - Number.EPSILON;
    const { clock, retention, did } = rig({ random: () => almostOne });
    await retention.start();
    await clock.advance(FIRST_RUN_MS_MAX - 1);
    expect(did()).toEqual([]);
    await clock.advance(1);
    expect(did()).toHaveLength(3);
    await retention.stop();

    const early = rig();
    await early.retention.start();
    await early.retention.stop();
    await early.clock.advance(HOUR_MS);
    expect(early.did()).toEqual([]);
  });

  test('the index does not forget before the store has; folding goes on all the same; it is tried again', async () => {
    const { clock, retention, failing, warned, did } = rig();
    failing.add('store');
    await retention.start();
    await clock.advance(FIRST_RUN_MS_MIN);
    expect(did()).toEqual(['store 6 h', 'fold 8 h']);
    expect(warned.splice(0)).toEqual(['forgetting old traces failed; tried again in an hour']);
    failing.clear();
    failing.add('fold');
    await clock.advance(HOUR_MS);
    expect(did()).toEqual(['store 7 h', 'index 7 h', 'fold 9 h']);
    expect(warned.splice(0)).toEqual(['folding old days of the index failed; it goes on in an hour']);
    failing.clear();
    await clock.advance(HOUR_MS);
    expect(did()).toEqual(['store 8 h', 'index 8 h', 'fold 10 h']);
    expect(warned).toEqual([]);
    await retention.stop();
  });

  test('null: nothing is ever folded', async () => {
    const { clock, retention, did } = rig({ foldAfterMs: null });
    await retention.start();
    await clock.advance(FIRST_RUN_MS_MIN);
    expect(did()).toEqual(['store 6 h', 'index 6 h']);
    await retention.stop();
  });

  test('a fold that takes long holds no stop up, and its end by the closing of the index is no failure', async () => {
    let closed = (_: Error) => {};
    let folds = 0;
    const fold = () => {
      folds++;
      return new Promise<number>((_, reject) => {
        closed = reject;
      });
    };
    const { clock, retention, warned } = rig({ index: { expire: async () => 0, fold } });
    await retention.start();
    await clock.advance(FIRST_RUN_MS_MIN);
    // One at a time: the next run waits for it.
    await clock.advance(5 * HOUR_MS);
    expect(folds).toBe(1);
    await retention.stop();
    closed(new MeridianError('shutting-down', 'the index is closed', 'later'));
    await clock.advance(HOUR_MS);
    expect(warned).toEqual([]);
    expect(folds).toBe(1);
  });
});
