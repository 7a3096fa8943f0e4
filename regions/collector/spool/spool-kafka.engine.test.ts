import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { SpanLog } from '../../../global/log/span-log.js';
import { TOPICS } from '../../../global/log/topics.js';
import { comparableRows } from '../../../global/otlp/testing/rows.js';
import type { KafkaBroker } from '../../../scripts/engines/kafka-broker.js';
import { brokerForTests, openLogForTests } from '../../log/kafka-log-for-tests.js';
import { readAll, topicOf } from '../../log/span-log-harness.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from '../testing/test-collector.js';

const PARTITIONS = 4;
const SPANS_PER_REQUEST = 20;
/** Requests that are acknowledged while the broker is away. */
const REQUESTS_AWAY = 60;

let broker: KafkaBroker;
let disposeBroker = async () => {};

beforeAll(async () => {
  const started = await brokerForTests();
  broker = started.broker;
  disposeBroker = started.dispose;
});
afterAll(() => disposeBroker());

async function collectorOver(log: SpanLog, spoolDir: string): Promise<TestCollector> {
  return startTestCollector({ log, partitionCount: PARTITIONS, spoolDir, spoolHangMs: 300 });
}

async function untilHealthy({ collector }: TestCollector): Promise<void> {
  for (;;) {
    const { state } = await collector.health().check();
    if (state === 'ok') return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('a broker is killed under load: spans are acknowledged meanwhile, also by the next collector, and all are found afterwards', async () => {
  const spoolDir = mkdtempSync(join(tmpdir(), 'meridian-spool-kafka-'));
  onTestFinished(() => rmSync(spoolDir, { recursive: true, force: true }));
  const log = await openLogForTests(broker, { appendBudgetMs: 2_000 });
  onTestFinished(() => log.close());
  await log.ensure([topicOf(TOPICS.spans, PARTITIONS)]);
  let running = await collectorOver(log, spoolDir);
  onTestFinished(() => running.collector.stop());

  const acknowledged: string[] = [];
  const refused: number[] = [];
  let number = 0;
  const send = async () => {
    const spans = Array.from({ length: SPANS_PER_REQUEST }, () => testSpan(number++));
    const names = spans.map((span) => (span as { name: string }).name);
    const headers = { 'Content-Type': 'application/x-protobuf' };
    const answer = await fetch(`${running.http}/v1/traces`, { method: 'POST', body: encodeSpans(spans), headers });
    await answer.arrayBuffer();
    if (answer.status === 200) acknowledged.push(...names);
    else refused.push(answer.status);
  };
  // Four senders, until they are told to end.
  let isSending = true;
  const load = Promise.all(
    Array.from({ length: 4 }, async () => {
      while (isSending) await send();
    }),
  );
  const untilAcknowledged = async (more: number) => {
    const wanted = acknowledged.length + more * SPANS_PER_REQUEST;
    while (acknowledged.length < wanted) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await untilAcknowledged(20);
  await broker.kill();
  await untilAcknowledged(REQUESTS_AWAY);
  expect(await running.collector.health().check()).toMatchObject({
    part: 'collector',
    state: 'degraded',
    detail: expect.stringContaining('new spans are kept in the spool'),
  });
  isSending = false;
  await load;

  // What was spooled outlives the collector.
  await running.collector.stop();
  running = await collectorOver(log, spoolDir);
  for (let i = 0; i < 5; i++) await send();
  expect(refused).toEqual([]);
  await broker.restart();
  for (let i = 0; i < 5; i++) await send();
  await untilHealthy(running);

  const found = new Map<string, number>();
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (const record of await readAll(log, TOPICS.spans, partition)) {
      for (const { span } of comparableRows(Buffer.from(record.value))) {
        found.set(span.name, (found.get(span.name) ?? 0) + 1);
      }
    }
  }
  expect(acknowledged.length).toBeGreaterThan(REQUESTS_AWAY * SPANS_PER_REQUEST);
  expect(acknowledged.filter((name) => !found.has(name))).toEqual([]);
}, 180_000);
