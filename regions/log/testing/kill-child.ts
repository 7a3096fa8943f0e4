import { writeSync } from 'node:fs';
import { Registry } from 'prom-client';
import { realClock } from '../../../global/runtime/clock.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { openSqliteSpanLog } from '../sqlite-span-log.js';
import { numberedText } from './numbered-text.js';

/**
 * The process that kill.test.ts kills: appends numbered entries to all partitions, as many at a time as it can, consumes them, and says on stdout
 * what was acknowledged (`a PARTITION NUMBER`) and committed (`c PARTITION OFFSET`), a line each.
 */
const [folder, partitions, firstNumber] = process.argv.slice(2);

const log = await openSqliteSpanLog({
  folder: folder!,
  clock: realClock,
  logger: silentLogger,
  registry: new Registry(),
  sliceBytesMax: 3 * 1024 * 1024,
});
const topic = { name: 'spans', partitions: Number(partitions), retentionMs: 3_600_000, compacted: false };
await log.ensure([topic]);

// Written at once, so that what was said is with the parent when the process dies.
const say = (line: string) => writeSync(1, `${line}\n`);

await log.subscribe({
  group: 'readers',
  topics: [topic.name],
  from: 'earliest',
  batchBytesMax: 256 * 1024,
  assigned: (assignment) => ({
    records: async ({ partition, records }) => {
      const next = records.at(-1)!.offset + 1;
      await assignment.commit(next);
      say(`c ${partition} ${next}`);
    },
    close: async () => {},
  }),
});

let number = Number(firstNumber);
async function appendForever(partition: number): Promise<never> {
  for (;;) {
    const numbers = [number++, number++];
    const entries = numbers.map((n) => ({
      key: null,
      value: Buffer.from(numberedText(n)),
      headers: {},
    }));
    await log.append(topic.name, partition, entries);
    say(numbers.map((n) => `a ${partition} ${n}`).join('\n'));
  }
}

for (let partition = 0; partition < topic.partitions; partition++) {
  void appendForever(partition);
  void appendForever(partition);
}
