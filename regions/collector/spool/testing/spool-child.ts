import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { LogAppender } from '../../../../global/log/span-log.js';
import { TOPICS } from '../../../../global/log/topics.js';
import { realClock } from '../../../../global/runtime/clock.js';
import { MeridianError } from '../../../../global/runtime/errors.js';
import { silentLogger } from '../../../../global/runtime/logger.js';
import { ROUTINE, VITAL } from '../spool-class.js';
import { SPOOL_LIMITS } from '../spool-limits.js';
import { SpoolingAppender } from '../spooling-appender.js';
import { namesOf, randomText, spanRecord } from './spool-rig.js';

/**
 * The process that spool-kill.test.ts kills: appends numbered spans to three partitions over a log in a file that is away half of the time, and says on
 * stdout what was acknowledged (`a NUMBER`), a line each. Ends itself when it reaches the crash point for the given time; without one it appends nothing, and
 * ends when the spool is empty.
 */
const [folder, point, reachedText, firstText, bytesMaxText] = process.argv.slice(2);
const PARTITIONS = 3;

// Written at once, so that what was said is with the parent when the process dies.
const say = (line: string) => writeSync(1, `${line}\n`);

let isAway = false;
const file = openSync(join(folder!, 'log.txt'), 'a');
const log: LogAppender = {
  append: async (_topic, partition, entries) => {
    if (isAway) throw new MeridianError('unavailable', 'the log is away', 'later');
    const names = entries.flatMap((entry) => namesOf(entry.value));
    writeSync(file, names.map((name) => `${partition} ${name.split(' ')[0]}\n`).join(''));
    fsyncSync(file);
    return { firstOffset: 0 };
  },
};

let left = Number(reachedText);
const appender = new SpoolingAppender({
  log,
  folder: join(folder!, 'spool'),
  limits: { ...SPOOL_LIMITS, bytesMax: Number(bytesMaxText), failuresToOpen: 1, probeMs: 2, probeMaxMs: 5 },
  clock: realClock,
  logger: silentLogger,
  registry: new Registry(),
  reach: (reached) => {
    if (reached === point && --left === 0) process.kill(process.pid, 'SIGKILL');
  },
});
await appender.open();

let number = Number(firstText);
async function send(): Promise<void> {
  const own = number++;
  // Every other one is what a full spool drops first.
  const spoolClass = own % 2 === 0 ? VITAL : ROUTINE;
  const value = spanRecord(`${own} ${randomText(2000, own)}`, spoolClass);
  await appender.append(TOPICS.spans, own % PARTITIONS, [{ key: null, value, headers: {} }]).then(
    () => say(`a ${own}`),
    () => {},
  );
}

if (point === 'none') {
  while (appender.report().awaySinceMs !== null) await realClock.sleep(5);
  await appender.close(1000);
  closeSync(file);
} else {
  for (;;) {
    isAway = !isAway;
    for (let round = 0; round < 15; round++) {
      await Promise.all(Array.from({ length: 4 }, send));
      await realClock.sleep(1);
    }
  }
}
