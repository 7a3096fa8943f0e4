import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import type { LogSubscription, PartitionHandler, SpanLog } from '../../global/log/span-log.js';
import { mirroredTopic } from '../../global/log/span-log.js';
import { GROUPS, regionTopics, TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { openSqliteSpanLog } from '../log/sqlite-span-log.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import { HOME, Rig, type RigOptions, turns } from './testing/rig.js';
import { spanKeysOf, type TestSpan, testSpanId, testTraceId, tracesDataOf } from './testing/spans.js';

const ONE: RigOptions = { partitions: { spans: 1, segments: 1, traceMetadata: 1 } };

const orphan = (trace: number, over: Partial<TestSpan> = {}): TestSpan => ({
  traceId: testTraceId(trace),
  spanId: testSpanId(trace),
  parentSpanId: testSpanId(1 << 30),
  service: 'orders',
  ...over,
});

/** A log whose one partition is handed to the assembler by hand. */
function byHand(rig: Rig) {
  const session = rig.session();
  const commits: number[] = [];
  let assign: ((startOffset: number) => PartitionHandler) | null = null;
  const log: SpanLog = Object.assign(Object.create(session), {
    append: session.append.bind(session),
    ends: session.ends.bind(session),
    starts: session.starts.bind(session),
    committed: session.committed.bind(session),
    read: session.read.bind(session),
    subscribe: (subscription: LogSubscription) => {
      assign = (startOffset) =>
        subscription.assigned({
          topic: TOPICS.spans,
          partition: 0,
          startOffset,
          commit: async (nextOffset) => {
            commits.push(nextOffset);
          },
        });
      return Promise.resolve({ stop: () => Promise.resolve() });
    },
  });
  const batch = (from = 0) => ({
    topic: TOPICS.spans,
    partition: 0,
    records: rig.memory.records(TOPICS.spans, 0).filter((record) => record.offset >= from),
  });
  return { log, commits, batch, assign: (startOffset = 0) => assign!(startOffset) };
}

describe('ownership of a partition', () => {
  test('revoked: everything open is closed, published and committed; the next owner reads nothing again', async () => {
    const rig = new Rig(ONE);
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    const handler = hand.assign();
    rig.append([orphan(1), orphan(2)]);
    await handler.records(hand.batch());
    await handler.close('revoked');
    expect((await rig.segments()).map((segment) => segment.closeReason)).toEqual(['drain', 'drain']);
    expect(hand.commits).toEqual([1]);
    // Still readable here until the store has them.
    expect(await assembler.live.get(HOME, testTraceId(1))).toHaveLength(1);
    const next = hand.assign(1);
    await next.close('revoked');
    expect(rig.segmentCount()).toBe(2);
    await assembler.stop();
  });

  test('lost: nothing more is appended or committed, and what was open is not shown any more', async () => {
    const rig = new Rig(ONE);
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    const handler = hand.assign();
    rig.append([orphan(1)]);
    await handler.records(hand.batch());
    await handler.close('lost');
    await rig.pass(60_000, 5_000);
    expect(rig.segmentCount()).toBe(0);
    expect(hand.commits).toEqual([]);
    expect(await assembler.live.get(HOME, testTraceId(1))).toEqual([]);
    await assembler.stop();
  });

  test('a stop while the log is down gives up after the drain time, without a commit', async () => {
    const rig = new Rig(ONE);
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    const handler = hand.assign();
    rig.append([orphan(1)]);
    await handler.records(hand.batch());
    rig.memory.isDown = true;
    let isClosed = false;
    const closing = handler.close('stopped').then(() => {
      isClosed = true;
    });
    await rig.pass(9_000, 500);
    expect(isClosed).toBe(false);
    await rig.pass(2_000, 500);
    await closing;
    expect(hand.commits).toEqual([]);
    rig.memory.isDown = false;
    const next = hand.assign();
    await next.records(hand.batch());
    await next.close('stopped');
    expect((await rig.segments()).flatMap((segment) => spanKeysOf(segment.payload))).toHaveLength(1);
    expect(rig.fatal).toEqual([]);
    await assembler.stop();
  });

  test('an append that is refused for good ends the ownership; the batch is read again by the next', async () => {
    const rig = new Rig(ONE);
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    const handler = hand.assign();
    rig.append([orphan(1)]);
    await handler.records(hand.batch());
    let refused = 0;
    rig.memory.onAppend = (_when, topic) => {
      if (topic !== TOPICS.segments) return;
      refused++;
      throw new MeridianError('too-large', 'no such block', 'never');
    };
    await rig.until(() => refused === 1, 'a refusal');
    expect(await assembler.health().check()).toMatchObject({ state: 'degraded', detail: 'partition 0: no such block' });
    rig.append([orphan(2)]);
    await expect(handler.records(hand.batch(1))).rejects.toMatchObject({ code: 'too-large' });
    await handler.close('lost');
    rig.memory.onAppend = () => {};
    const next = hand.assign();
    await next.records(hand.batch());
    await next.close('stopped');
    expect(rig.segmentCount()).toBe(2);
    expect(hand.commits).toEqual([2]);
    expect(rig.fatal).toEqual([]);
    await assembler.stop();
  });

  test('a broken invariant is fatal, not repeated', async () => {
    const broken = { decide: () => [] };
    const rig = new Rig({ ...ONE, policy: broken });
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([orphan(1)]);
    await rig.until(() => rig.fatal.length > 0, 'a fatal error');
    expect(rig.fatal[0]).toMatchObject({ message: expect.stringContaining('broken invariant') });
    expect(rig.segmentCount()).toBe(0);
  });
});

describe('limits', () => {
  test.each([
    ['traces', { openTracesMax: 3 }],
    ['bytes', { openBytesMax: 3 * 2_200 }],
  ])('beyond its limit of %s the oldest are closed early, of whatever partition', async (_, limits) => {
    const rig = new Rig({ limits });
    const assembler = rig.assembler();
    await assembler.start();
    for (let trace = 1; trace <= 3; trace++) {
      rig.append([orphan(trace)]);
      await rig.pass(50);
    }
    await rig.pass(1_000);
    expect(rig.segmentCount()).toBe(0);
    rig.append([orphan(4)]);
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    expect((await rig.segments())[0]).toMatchObject({ closeReason: 'memory', metadata: { traceId: testTraceId(1) } });
    await assembler.stop();
  });

  test('waits while too much is on its way into the log', async () => {
    const size = tracesDataOf([orphan(1, { paddingBytes: 1_000 })]).length;
    const rig = new Rig({ ...ONE, limits: { unpublishedBytesMax: 2 * size, openTracesMax: 1, blockSegmentsMax: 1 } });
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    const handler = hand.assign();
    rig.memory.isDown = true;
    let offset = 0;
    const deliver = async (trace: number) => {
      rig.appendRecord(0, tracesDataOf([orphan(trace, { paddingBytes: 1_000 })]), rig.stamp());
      await handler.records(hand.batch(offset++));
    };
    for (let trace = 1; trace <= 4; trace++) await deliver(trace);
    let isTaken = false;
    const fifth = deliver(5).then(() => {
      isTaken = true;
    });
    await rig.pass(3_000);
    expect(isTaken).toBe(false);
    rig.memory.isDown = false;
    await rig.pass(3_000);
    await fifth;
    await handler.close('stopped');
    expect(rig.segmentCount()).toBe(5);
    await assembler.stop();
  });
});

describe('sources and gaps', () => {
  test('the spans of another region come from its mirrored topic, and stay its own', async () => {
    const other = 'us-east-1' as RegionId;
    const rig = new Rig(ONE);
    const topic = mirroredTopic(other, TOPICS.spans);
    rig.memory.ensure([{ name: topic, partitions: 1, retentionMs: 1e9, compacted: false }]);
    const assembler = rig.assembler({ source: other });
    await assembler.start();
    rig.appendRecord(0, tracesDataOf([orphan(1)]), rig.stamp(), topic);
    await turns();
    expect(await assembler.live.get(other, testTraceId(1))).toHaveLength(1);
    expect(await assembler.live.get(HOME, testTraceId(1))).toEqual([]);
    await assembler.stop();
    const [block] = await rig.blocks();
    expect(block).toMatchObject({ source: other, segments: [{ metadata: { region: other } }] });
    expect(rig.feed().every((record) => record.region === other)).toBe(true);
  });

  test('records that expired unread do not hold the watermark', async () => {
    const rig = new Rig(ONE);
    const hand = byHand(rig);
    const assembler = rig.assembler({ log: hand.log });
    await assembler.start();
    // The log says that 40 records were appended, and that the oldest 40 are gone.
    const log = Object.assign(hand.log, { ends: () => Promise.resolve([40]), starts: () => Promise.resolve([40]) });
    expect(await log.ends(TOPICS.spans)).toEqual([40]);
    hand.assign();
    await rig.pass(1_000);
    expect(rig.feed()).toEqual([]);
    await rig.pass(4_000);
    expect(rig.feed().some((record) => record.watermark !== null)).toBe(true);
    await assembler.stop();
  });
});

test('on the embedded log: read, stored, handed to the next start without a repetition', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'assembler-'));
  const open = () => openSqliteSpanLog({ folder, clock: realClock, logger: silentLogger, registry: new Registry() });
  const rig = new Rig(ONE);
  try {
    let log = await open();
    await log.ensure(regionTopics(rig.partitions, { spans: 3_600_000, views: 3_600_000 }));
    const traces = Array.from({ length: 30 }, (_, i) => i + 1);
    for (let round = 0; round < 2; round++) {
      const assembler = rig.assembler({ log });
      await assembler.start();
      for (const trace of traces) {
        const value = tracesDataOf([orphan(trace, { spanId: testSpanId(trace + round * 1_000) })]);
        await log.append(TOPICS.spans, 0, [{ key: null, value, headers: rig.stamp() }]);
      }
      for (let found = 0; found < (round + 1) * traces.length; ) {
        const held = await Promise.all(traces.map((trace) => assembler.live.get(HOME, testTraceId(trace))));
        found = held.flat().reduce((sum, segment) => sum + spanKeysOf(segment.payload).length, 0);
        await rig.pass(25, 25);
      }
      await assembler.stop();
      expect(await log.committed(GROUPS.assembler, TOPICS.spans)).toEqual(await log.ends(TOPICS.spans));
      await log.close();
      log = await open();
    }
    const [end] = await log.ends(TOPICS.segments);
    const records = await log.read(TOPICS.segments, 0, 0, 1e8);
    expect(records).toHaveLength(end!);
    const blocks = await Promise.all(records.map(({ value }) => decodeBlock(readEncodedBlock(Buffer.from(value)))));
    const stored = blocks.flatMap((block) => block.segments).flatMap((segment) => spanKeysOf(segment.payload));
    expect(stored.sort()).toEqual(
      [0, 1]
        .flatMap((round) => traces.map((trace) => `${testTraceId(trace)}/${testSpanId(trace + round * 1_000)}`))
        .sort(),
    );
    await log.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
