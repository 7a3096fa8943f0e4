import { describe, expect, test } from 'vitest';
import { metadataCounts } from '../../global/index/join.js';
import { readDeadLetter } from '../../global/log/dead-letter.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import { MetadataFlag } from '../../global/model/metadata.js';
import { msToUnixNano } from '../../global/model/time.js';
import { HOME, Rig } from './testing/rig.js';
import { REMOTE_PARENT, spanKeysOf, type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

function spansOf(rig: Rig, trace: number, count: number, over: Partial<TestSpan> = {}): TestSpan[] {
  const traceId = testTraceId(trace);
  const startUnixNano = msToUnixNano(rig.clock.nowMs());
  return Array.from({ length: count }, (_, i) => ({
    traceId,
    spanId: testSpanId(trace * 1000 + i + 1),
    ...(i > 0 ? { parentSpanId: testSpanId(trace * 1000 + i) } : {}),
    name: `operation ${i}`,
    service: 'orders',
    kind: 2,
    startUnixNano: startUnixNano + BigInt(i),
    endUnixNano: startUnixNano + 1_000_000n,
    ...over,
  }));
}

describe('assembler', () => {
  test('a trace goes from spans to a block, its metadata and a commit', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    rig.append(spansOf(rig, 1, 3));
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    const [block] = await rig.blocks();
    const [segment] = block!.segments;
    expect(block!.source).toBe(HOME);
    expect(block!.id).toMatch(new RegExp(`^${HOME}/${rig.partitionOf(testTraceId(1))}/0/\\d+$`));
    expect(segment!.closeReason).toBe('root-settled');
    expect(spanKeysOf(segment!.payload)).toEqual(spansOf(rig, 1, 3).map((s) => `${s.traceId}/${s.spanId}`));
    expect(segment!.metadata.root).toMatchObject({ service: 'orders', operation: 'operation 0' });
    const closed = () =>
      rig
        .feed()
        .flatMap((record) => record.traces)
        .filter((trace) => trace.flags & MetadataFlag.closed);
    await rig.until(() => closed().length === 1, 'metadata of the segment');
    expect(closed()[0]).toEqual({ ...segment!.metadata, blocks: [block!.id] });
    const partition = rig.partitionOf(testTraceId(1));
    await rig.until(() => rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)[partition] === 1, 'a commit');
    await assembler.stop();
    expect(rig.fatal).toEqual([]);
  });

  test('a newly seen trace is announced within 100 ms and a tick, then the watermark passes it', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    await rig.pass(1_000);
    rig.append(spansOf(rig, 1, 2, { statusCode: 2 }));
    const appendedNano = rig.clock.nowUnixNano();
    const partition = rig.partitionOf(testTraceId(1));
    await rig.pass(200);
    const announced = rig.feed().findIndex((record) => record.traces.length > 0);
    expect(announced).toBeGreaterThanOrEqual(0);
    const [trace] = rig.feed()[announced]!.traces;
    expect(metadataCounts(trace!)).toEqual({ spanCount: 2, errorCount: 2 });
    expect(trace!.flags & MetadataFlag.closed).toBe(0);
    const passes = () =>
      rig
        .feed()
        .findIndex(({ watermark }) => watermark?.partition === partition && watermark.watermarkUnixNano > appendedNano);
    await rig.until(() => passes() >= 0, 'a watermark');
    expect(passes()).toBeGreaterThanOrEqual(announced);
    expect(rig.feed()[passes()]!.watermark!.partitionCount).toBe(2);
    await assembler.stop();
  });

  test('an idle partition publishes its watermark once a second', async () => {
    const rig = new Rig({ partitions: { spans: 1, segments: 1, traceMetadata: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    await rig.pass(10_000);
    await assembler.stop();
    const watermarks = rig.feed().map((record) => record.watermark!.watermarkUnixNano);
    expect(watermarks.length).toBeGreaterThanOrEqual(8);
    expect(watermarks.length).toBeLessThanOrEqual(11);
    expect([...watermarks].sort((a, b) => (a < b ? -1 : 1))).toEqual(watermarks);
  });

  test('operations go out once, and again after the refresh time', async () => {
    const rig = new Rig({
      partitions: { spans: 1, segments: 1, traceMetadata: 1 },
      limits: { catalogueRefreshMs: 10_000 },
    });
    const assembler = rig.assembler();
    await assembler.start();
    const seen = () => rig.feed().flatMap((record) => record.catalogue);
    rig.append(spansOf(rig, 1, 2));
    rig.append(spansOf(rig, 2, 2));
    await rig.until(() => seen().length > 0, 'catalogue entries');
    await rig.pass(3_000);
    expect(seen().map(({ service, operation, kind }) => `${service} ${operation} ${kind}`)).toEqual([
      'orders operation 0 2',
      'orders operation 1 2',
    ]);
    await rig.pass(7_500);
    rig.append(spansOf(rig, 3, 1));
    await rig.until(() => seen().length > 2, 'the operation again');
    expect(seen().map(({ operation }) => operation)).toEqual(['operation 0', 'operation 1', 'operation 0']);
    await assembler.stop();
  });

  test('late spans make a further segment', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    rig.append(spansOf(rig, 1, 2));
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    rig.append([{ ...spansOf(rig, 1, 1)[0]!, spanId: testSpanId(77), parentSpanId: testSpanId(1001) }]);
    await rig.until(() => rig.segmentCount() === 2, 'a second segment');
    const [first, second] = await rig.segments();
    expect([first!.closeReason, second!.closeReason]).toEqual(['root-settled', 'idle']);
    expect(await rig.registry.getSingleMetricAsString('meridian_assembler_late_segments_total')).toMatch(/ 1$/);
    await assembler.stop();
  });

  test('a record that comes a second time is dropped whole, and counts as read', async () => {
    const rig = new Rig({ partitions: { spans: 1, segments: 1, traceMetadata: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    rig.append(spansOf(rig, 1, 2));
    const [record] = rig.memory.records(TOPICS.spans, 0);
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    rig.memory.append(TOPICS.spans, 0, [record!]);
    await rig.until(
      () => rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)[0] === 2,
      'a commit past the repetition',
    );
    await assembler.stop();
    expect(await rig.segments()).toHaveLength(1);
  });

  test('a record that cannot be read goes to the dead letters and stops nothing', async () => {
    const rig = new Rig({ partitions: { spans: 1, segments: 1, traceMetadata: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    const poison = Buffer.from([0x0a, 0xff, 0xff, 0x03, 1, 2]);
    rig.appendRecord(0, poison, rig.stamp());
    rig.append(spansOf(rig, 1, 2));
    await rig.until(() => rig.segmentCount() === 1, 'a segment');
    await assembler.stop();
    const [letter] = rig.memory.records(TOPICS.spansDlq, 0);
    expect(Buffer.from(letter!.value)).toEqual(poison);
    expect(readDeadLetter(letter!.headers)).toMatchObject({
      topic: TOPICS.spans,
      partition: 0,
      offset: 0,
      state: 'poison',
      code: 'malformed',
    });
    expect(rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)[0]).toBe(2);
  });

  test('a stop closes everything, so that the next start reads nothing again', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    for (let trace = 1; trace <= 20; trace++) rig.append(spansOf(rig, trace, 2));
    await rig.pass(300);
    await assembler.stop();
    const segments = await rig.segments();
    expect(segments).toHaveLength(20);
    expect(new Set(segments.map((segment) => segment.closeReason))).toEqual(new Set(['drain']));
    const ends = [0, 1].map((partition) => rig.memory.records(TOPICS.spans, partition).length);
    expect(rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)).toEqual(ends);
    const again = rig.assembler();
    await again.start();
    await rig.pass(3_000);
    await again.stop();
    expect(await rig.segments()).toHaveLength(20);
  });

  test('a part whose entry has a remote parent settles; one without an entry waits for the idle time', async () => {
    const rig = new Rig();
    const assembler = rig.assembler();
    await assembler.start();
    rig.append(spansOf(rig, 1, 1, { parentSpanId: testSpanId(9), flags: REMOTE_PARENT }));
    rig.append(spansOf(rig, 2, 1, { parentSpanId: testSpanId(9) }));
    await rig.until(() => rig.segmentCount() === 1, 'a settled segment');
    expect((await rig.segments())[0]).toMatchObject({
      closeReason: 'root-settled',
      metadata: { traceId: testTraceId(1) },
    });
    await rig.until(() => rig.segmentCount() === 2, 'an idle segment');
    expect((await rig.segments())[1]).toMatchObject({ closeReason: 'idle', metadata: { traceId: testTraceId(2) } });
    await assembler.stop();
  });

  test('what the policy drops is neither stored nor held, and does not hold the commit', async () => {
    const policy = {
      decide: (candidates: readonly { metadata: { traceId: string } }[]) =>
        candidates.map(({ metadata }) => ({ keep: metadata.traceId === testTraceId(1), rule: 'test' })),
    };
    const rig = new Rig({ policy, partitions: { spans: 1, segments: 1, traceMetadata: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    rig.append([...spansOf(rig, 1, 1), ...spansOf(rig, 2, 1)]);
    await rig.until(() => rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)[0] === 1, 'a commit');
    expect((await rig.segments()).map((segment) => segment.metadata.traceId)).toEqual([testTraceId(1)]);
    expect(await assembler.live.get(HOME, testTraceId(2))).toEqual([]);
    await assembler.stop();
  });

  test('waits out a log that is down, without losing or repeating', async () => {
    const rig = new Rig({ partitions: { spans: 1, segments: 1, traceMetadata: 1 } });
    const assembler = rig.assembler();
    await assembler.start();
    rig.append(spansOf(rig, 1, 2));
    await rig.pass(200);
    rig.memory.isDown = true;
    await rig.pass(6_000);
    expect(await rig.segments()).toHaveLength(0);
    expect((await assembler.health().check()).state).toBe('degraded');
    expect(await assembler.live.get(HOME, testTraceId(1))).toHaveLength(1);
    rig.memory.isDown = false;
    await rig.until(() => rig.memory.commitsOf(GROUPS.assembler, TOPICS.spans)[0] === 1, 'a commit');
    expect(await rig.segments()).toHaveLength(1);
    await assembler.stop();
    expect(rig.fatal).toEqual([]);
  });
});
