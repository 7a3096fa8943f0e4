import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { SpanLog } from '../../global/log/span-log.js';
import type { KafkaBroker } from '../../scripts/engines/kafka-broker.js';
import { brokerForTests, CuttableNetwork, openLogForTests } from './kafka-log-for-tests.js';
import { Happenings, Member, textEntry, texts, topicOf } from './span-log-harness.js';

let broker: KafkaBroker;
let disposeBroker = async () => {};
let names = 0;

beforeAll(async () => {
  const started = await brokerForTests();
  broker = started.broker;
  disposeBroker = started.dispose;
});

afterAll(() => disposeBroker());

async function open(over: Parameters<typeof openLogForTests>[1] = {}): Promise<SpanLog> {
  const log = await openLogForTests(broker, over);
  onTestFinished(() => log.close());
  return log;
}

function held() {
  let release: () => void = () => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { until, release };
}

test('a handler that takes longer than a session keeps its partition and may commit', async () => {
  const log = await open({ sessionMs: 1_000 });
  const topic = `slow-${names++}`;
  await log.ensure([topicOf(topic, 1)]);
  await log.append(topic, 0, [textEntry('a')]);
  const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
  const member = await Member.join(log, { group: topic, topics: [topic], onBatch: () => sleep(2_500) }, shared);
  await member.until(() => member.taken().length === 1);
  expect(await log.committed(topic, topic)).toEqual([1]);
  await member.stop();
  expect(member.ownerships.map((o) => o.closed)).toEqual(['stopped']);
  expect(member.broken).toEqual([]);
});

test('a member that joins waits for the batch of the owner, whose commit still counts', async () => {
  const [log, other] = [await open({ sessionMs: 1_000 }), await open({ sessionMs: 1_000 })];
  const topic = `joins-${names++}`;
  await log.ensure([topicOf(topic, 2)]);
  await log.append(topic, 0, [textEntry('a')]);
  await log.append(topic, 1, [textEntry('b')]);
  const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
  const { until, release } = held();
  const first = await Member.join(log, { group: topic, topics: [topic], onBatch: () => until }, shared);
  await first.until(() => first.owned().length === 2);
  const second = await Member.join(other, { group: topic, topics: [topic] }, shared);
  // Longer than a session: it is waited for all the same, because its heartbeats go on.
  await sleep(1_500);
  expect(second.owned()).toEqual([]);
  release();
  await first.until(() => first.owned().length === 1 && second.owned().length === 1);
  expect(await log.committed(topic, topic)).toEqual([1, 1]);
  expect([...texts(first.taken()), ...texts(second.taken())].sort()).toEqual(['a', 'b']);
  await Promise.all([first.stop(), second.stop()]);
  expect([...first.broken, ...second.broken]).toEqual([]);
});

test('a member whose process died is replaced when its session is over', async () => {
  const network = new CuttableNetwork();
  const dying = await open({ sessionMs: 1_000, askBudgetMs: 500, socketFactory: network.socketFactory });
  const log = await open({ sessionMs: 1_000 });
  const topic = `dies-${names++}`;
  await log.ensure([topicOf(topic, 2)]);
  const ofDying = { happenings: new Happenings(), owners: new Map<string, Member>() };
  const first = await Member.join(dying, { group: topic, topics: [topic] }, ofDying);
  await first.until(() => first.owned().length === 2);
  await log.append(topic, 0, [textEntry('a')]);
  await first.until(() => first.taken().length === 1);
  network.cut();
  const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
  const second = await Member.join(log, { group: topic, topics: [topic] }, shared);
  await second.until(() => second.owned().length === 2);
  await first.until(() => first.owned().length === 0);
  expect(first.ownerships.map((o) => o.closed)).toEqual(['lost', 'lost']);
  await log.append(topic, 0, [textEntry('b')]);
  await second.until(() => second.taken().length === 1);
  await second.stop();
  expect(texts(second.taken())).toEqual(['b']);
  expect(second.broken).toEqual([]);
});

test('the metrics tell what was appended and what a group is behind, and go when the log is closed', async () => {
  const registry = new Registry();
  const log = await openLogForTests(broker, { registry });
  const topic = `metrics-${names++}`;
  await log.ensure([topicOf(topic, 1)]);
  const shared = { happenings: new Happenings(), owners: new Map<string, Member>() };
  const member = await Member.join(log, { group: topic, topics: [topic], commits: false }, shared);
  await member.until(() => member.owned().length === 1);
  await log.append(topic, 0, [textEntry('a'), textEntry('b')]);
  await member.until(() => member.taken().length === 2);
  const text = await registry.metrics();
  expect(text).toContain(`meridian_log_appended_records_total{topic="${topic}"} 2`);
  expect(text).toContain(`meridian_log_lag_records{group="${topic}",topic="${topic}"} 2`);
  expect(text).toContain(`meridian_log_group_members{group="${topic}"} 1`);
  await log.close();
  expect((await registry.metrics()).trim()).toBe('');
});
