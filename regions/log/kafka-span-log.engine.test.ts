import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import type { SpanLog } from '../../global/log/span-log.js';
import type { KafkaBroker } from '../../scripts/engines/kafka-broker.js';
import { brokerForTests, CuttableNetwork, openLogForTests } from './kafka-log-for-tests.js';
import { spanLogContract } from './span-log.contract.js';
import type { LogUnderTest } from './span-log-harness.js';

let broker: KafkaBroker;
let disposeBroker = async () => {};
let subjects = 0;

beforeAll(async () => {
  const started = await brokerForTests();
  broker = started.broker;
  disposeBroker = started.dispose;
});

afterAll(() => disposeBroker());

async function openSubject(): Promise<LogUnderTest> {
  const number = subjects++;
  const network = new CuttableNetwork();
  const opened: SpanLog[] = [];
  const open = async (over: Parameters<typeof openLogForTests>[1] = {}) => {
    const log = await openLogForTests(broker, over);
    opened.push(log);
    return log;
  };
  const log = await open({ socketFactory: network.socketFactory });
  const shortRetentionMs = 2_000;
  return {
    log,
    name: (base) => `${base}-${number}`,
    tooLargeBytes: 1024 * 1024 + 1,
    tick: () => sleep(5),
    shortRetentionMs,
    expire: () => sleep(shortRetentionMs),
    reopen: async () => {
      await log.close();
      return open();
    },
    crash: async () => {
      network.cut();
      return open();
    },
    dispose: async () => {
      await Promise.all(opened.map((each) => each.close()));
    },
  };
}

spanLogContract('Kafka', openSubject, { patienceMs: 60_000 });
