import { createCipheriv } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { brokerForTests, openLogForTests } from '../../regions/log/kafka-log-for-tests.js';
import type { KafkaBroker } from '../../scripts/engines/kafka-broker.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { type MirrorMakerProcess, startMirrorMaker } from '../../scripts/engines/mirror-maker.js';
import { encodeFeedRecord } from '../index/feed-codec.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { LogEntry, LogRecord, SpanLog, TopicSpec } from '../log/span-log.js';
import type { RegionId } from '../model/ids.js';
import { realClock } from '../runtime/clock.js';
import { noCrash } from '../runtime/crash-points.js';
import { silentLogger } from '../runtime/logger.js';
import { type Applier, createApplier } from './applier.js';
import { trace, watermark } from './applier-rig.testing.js';
import { createKafkaLinkWatch, KAFKA_LINK_LIMITS, type KafkaLinkWatch } from './kafka-link-watch.js';
import { offerBeginning, prepareMirror } from './mirror-places.js';

/** One MirrorMaker between two brokers, for all tests of this file: they go on where the one before ended. */

const here = 'eu-west-1' as RegionId;
const there = 'us-west-2' as RegionId;
const FEED = 'trace-metadata';
const MIRRORED_FEED = `${there}.${FEED}`;
const LATE = 'spans';
const MIB = 1024 * 1024;
const BUDGET_MS = 90_000;

const disposals: (() => Promise<unknown>)[] = [];
let source: { broker: KafkaBroker; log: SpanLog };
let target: { broker: KafkaBroker; log: SpanLog };
let mirror: MirrorMakerProcess;
let link: KafkaLinkWatch;
const indexes = { there: new MemoryTraceIndex(there), here: new MemoryTraceIndex(here) };

const spec = (name: string, partitions: number): TopicSpec => ({
  name,
  partitions,
  retentionMs: 24 * 3_600_000,
  compacted: false,
});

async function region(): Promise<{ broker: KafkaBroker; log: SpanLog }> {
  const { broker, dispose } = await brokerForTests();
  disposals.push(dispose);
  const log = await openLogForTests(broker, { entryBytesMax: 16 * MIB, appendBudgetMs: 60_000 });
  disposals.push(() => log.close());
  return { broker, log };
}

async function applying(log: SpanLog, home: RegionId, index: MemoryTraceIndex): Promise<Applier> {
  const applier = createApplier({
    home,
    sources: [there],
    log,
    index,
    mirrorsNeverSkip: true,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    crash: noCrash,
  });
  await applier.start();
  disposals.push(() => applier.stop());
  return applier;
}

beforeAll(async () => {
  [source, target] = await Promise.all([region(), region()]);
  await source.log.ensure([spec(FEED, 2), spec('segments', 1), spec(`${FEED}.dlq`, 1)]);
  await target.log.ensure([
    { ...spec(MIRRORED_FEED, 2), mirrored: true },
    { ...spec(`${there}.segments`, 1), mirrored: true },
    spec(`${FEED}.dlq`, 1),
  ]);
  await offerBeginning(source.log, [FEED, 'segments'], [here]);
  const folder = mkdtempSync(join(tmpdir(), 'meridian-mirror-'));
  mirror = await startMirrorMaker({
    folder,
    cacheFolder: enginesCache(process.env),
    target: { region: here, brokers: [target.broker.brokers] },
    sources: [{ region: there, brokers: [source.broker.brokers] }],
    topics: [FEED, 'segments', LATE],
    onProgress: (line) => console.log(line),
  });
  disposals.push(async () => {
    await mirror.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const registry = new Registry();
  const limits = { pollMs: 100, silentMs: 4_000, behindMs: KAFKA_LINK_LIMITS.behindMs };
  link = createKafkaLinkWatch({
    source: there,
    log: target.log,
    topic: FEED,
    clock: realClock,
    logger: silentLogger,
    registry,
    limits,
  });
  await link.start();
  disposals.push(() => link.stop());
  await applying(source.log, there, indexes.there);
  await applying(target.log, here, indexes.here);
});

afterAll(async () => {
  // The mirror before its brokers.
  for (const dispose of disposals.reverse()) await dispose();
});

async function until(what: string, holds: () => Promise<boolean> | boolean, budgetMs = BUDGET_MS): Promise<void> {
  const deadlineMs = Date.now() + budgetMs;
  while (!(await Promise.resolve(holds()).catch(() => false))) {
    if (Date.now() > deadlineMs) throw new Error(`waited in vain until ${what}`);
    await realClock.sleep(50);
  }
}

async function all(log: SpanLog, topic: string, partition: number): Promise<LogRecord[]> {
  const found: LogRecord[] = [];
  for (let next = 0; ; next = found.at(-1)!.offset + 1) {
    const records = await log.read(topic, partition, next, 4 * MIB);
    if (records.length === 0) return found;
    found.push(...records);
  }
}

let numbers = 0;
const appended: number[] = [];

/** A feed record with one trace, and a watermark. */
function feedEntry(n: number, partition: number): LogEntry {
  const mark = { ...watermark(there, Date.now(), partition), partitionCount: 2 };
  const value = encodeFeedRecord({ region: there, traces: [trace(n, there)], catalogue: [], watermark: mark });
  return { key: Buffer.from(`key ${n}`), value, headers: { number: Buffer.from(String(n)) } };
}

async function feed(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const n = ++numbers;
    await source.log.append(FEED, n % 2, [feedEntry(n, n % 2)]);
    appended.push(n);
  }
}

/** Appends without end, as a region does, until the returned function is called. */
function feeding(): () => Promise<void> {
  let stopped = false;
  const running = (async () => {
    while (!stopped) await feed(4);
  })();
  return async () => {
    stopped = true;
    await running;
  };
}

const numberOf = ({ headers }: LogRecord) => Number(Buffer.from(headers.number ?? []).toString());

/** The numbers that came over the link, each where it came first. */
async function arrived(partition: number): Promise<number[]> {
  const numbersThere = (await all(target.log, MIRRORED_FEED, partition)).map(numberOf).filter((n) => n > 0);
  return [...new Set(numbersThere)];
}

async function expectAllThere(): Promise<void> {
  const inPartition = (partition: number) => appended.filter((n) => n % 2 === partition);
  await until('all records have come over', async () => {
    const counts = [(await arrived(0)).length, (await arrived(1)).length];
    return counts[0] === inPartition(0).length && counts[1] === inPartition(1).length;
  });
  for (const partition of [0, 1]) expect(await arrived(partition)).toEqual(inPartition(partition));
  await until('both indexes are equal', async () => {
    const digests = await Promise.all([indexes.there.digests(there), indexes.here.digests(there)]);
    return JSON.stringify(digests[0], bigints) === JSON.stringify(digests[1], bigints);
  });
}

const bigints = (_: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);
const isUp = () => link.status().state === 'up';

describe('one MirrorMaker between two brokers', { timeout: 300_000 }, () => {
  test('records keep partition, order, key, value, headers and time', async () => {
    await feed(100);
    await expectAllThere();
    for (const partition of [0, 1]) {
      const sent = await all(source.log, FEED, partition);
      const came = await all(target.log, MIRRORED_FEED, partition);
      expect(came).toEqual(sent);
      expect(came.length).toBe(50);
    }
    const marks = await indexes.here.watermarks();
    expect(marks.map((mark) => mark.vouchedFromUnixNano)).toEqual([0n, 0n]);
  });

  test('the largest entry goes through', async () => {
    const largest = 16 * MIB - 1024;
    // Nothing that could be compressed.
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
    const value = cipher.update(Buffer.alloc(largest));
    await source.log.append('segments', 0, [{ key: null, value, headers: {} }]);
    await until('it has come over', async () => (await target.log.ends(`${there}.segments`))[0] === 1);
    const [came] = await all(target.log, `${there}.segments`, 0);
    expect(Buffer.compare(came!.value, value)).toBe(0);
  });

  test('killed in the middle and started again: nothing lost, order kept, the indexes equal', async () => {
    const stop = feeding();
    await until('the link is up', isUp);
    await mirror.kill();
    await until('the link is seen to be down', () => link.status().state === 'down');
    const { lagMs } = link.status();
    expect(lagMs).toBeGreaterThan(KAFKA_LINK_LIMITS.expectMs);
    const health = await link.health().check();
    expect(health).toMatchObject({ part: `link-${there}`, state: 'degraded' });
    expect(health.detail).toContain(`nothing came from ${there}`);
    await mirror.restart();
    await until('the link has recovered', () => isUp() && link.status().lagMs < KAFKA_LINK_LIMITS.behindMs);
    await stop();
    await expectAllThere();
    expect(await link.health().check()).toMatchObject({ state: 'ok' });
  });

  test('the broker of the target is away and comes back', async () => {
    const stop = feeding();
    await until('the link is up', isUp);
    await target.broker.kill();
    await until('the link is seen to be down', () => link.status().state === 'down');
    // Longer than the session of a worker of MirrorMaker.
    const awayUntil = Date.now() + 12_000;
    await until('it was away for long', () => Date.now() > awayUntil);
    await target.broker.restart();
    await until('the link has recovered', isUp);
    await stop();
    await expectAllThere();
  });

  test('the broker of the source is killed and comes back', async () => {
    const stop = feeding();
    await until('the link is up', isUp);
    await source.broker.kill();
    await until('the link is seen to be down', () => link.status().state === 'down');
    await source.broker.restart();
    await until('the link has recovered', isUp);
    await stop();
    await expectAllThere();
  });

  test('what the source deleted before it was mirrored is noted, and vouched for no more', async () => {
    await mirror.stop();
    await feed(40);
    const before = await source.log.ends(FEED);
    await forget(FEED, 0, before[0]! - 5);
    const [first] = await source.log.read(FEED, 0, before[0]! - 5, 1);
    await mirror.restart();
    await feed(2);
    const last = numbers % 2 === 0 ? numbers : numbers - 1;
    await until('the rest has come', async () => (await arrived(0)).includes(last) && isUp());
    await until('the index has it', async () => {
      const marks = await indexes.here.watermarks();
      const mark = marks.find(({ partition }) => partition === 0);
      return mark?.vouchedFromUnixNano === BigInt(first!.appendedMs + 1) * 1_000_000n;
    });
    const marks = await indexes.here.watermarks();
    expect(marks.find(({ partition }) => partition === 1)?.vouchedFromUnixNano).toBe(0n);
    const lost = appended.filter((n) => n % 2 === 0).slice(0, -6);
    const here0 = new Set(await arrived(0));
    // 20 were appended while it was away, one after; the last 5 of the 20 were kept.
    expect(lost.filter((n) => !here0.has(n))).toHaveLength(15);
  });

  test('a topic whose beginning is gone waits for a place, and nothing is skipped meanwhile', async () => {
    await source.log.ensure([spec(LATE, 1)]);
    const entries = Array.from({ length: 10 }, (_, i) => ({ key: null, value: Buffer.from(String(i)), headers: {} }));
    await source.log.append(LATE, 0, entries);
    await forget(LATE, 0, 4);
    const mirrored = `${there}.${LATE}`;
    await until('MirrorMaker has made the mirrored topic', async () => (await target.log.ends(mirrored)).length === 1);
    await until('it does not get on', async () => {
      await feed(1);
      return link.status().state === 'down';
    });
    expect(await target.log.ends(mirrored)).toEqual([0]);
    // Made by MirrorMaker with the settings of the source: it gets ours.
    await target.log.ensure([{ ...spec(mirrored, 1), retentionMs: 48 * 3_600_000, mirrored: true }]);
    const places = await prepareMirror({
      source: there,
      target: here,
      sourceLog: source.log,
      targetLog: target.log,
      topics: [LATE],
      clock: realClock,
    });
    expect(places).toMatchObject([{ topic: LATE, partition: 0, outcome: 'moved', nextOffset: 4 }]);
    await until('what is there has come', async () => (await target.log.ends(mirrored))[0] === 6);
    const texts = (await all(target.log, mirrored, 0)).map(({ value }) => Buffer.from(value).toString());
    expect(texts).toEqual(['4', '5', '6', '7', '8', '9']);
    await until('the link is up', async () => {
      await feed(1);
      return isUp();
    });
  });
});

/** Deletes what is before the offset, as retention does. */
async function forget(topic: string, partition: number, before: number): Promise<void> {
  const admin = new Kafka({ brokers: [source.broker.brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    // It looks for the leader in what it was asked before.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] });
  } finally {
    await admin.disconnect();
  }
}
