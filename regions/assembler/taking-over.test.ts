import { describe, expect, test } from 'vitest';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import { HandGroup } from './testing/hand-group.js';
import { HOME, Rig, type RigOptions, turns } from './testing/rig.js';
import { type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

const ONE: RigOptions = { partitions: { spans: 1, segments: 1, traceMetadata: 1 } };

const whole = (trace: number): TestSpan => ({
  traceId: testTraceId(trace),
  spanId: testSpanId(trace),
  service: 'orders',
});

/** A rig whose log has a block each for so many traces, and no assembler any more. */
async function withBlocks(traces: number, over: Partial<RigOptions['limits']> = {}): Promise<Rig> {
  const rig = new Rig({ ...ONE, limits: { blockSegmentsMax: 1, ...over } });
  const before = rig.assembler();
  await before.start();
  for (let trace = 1; trace <= traces; trace++) rig.append([whole(trace)]);
  await turns();
  await before.stop();
  expect(rig.segmentCount()).toBe(traces);
  return rig;
}

const writerStored = (rig: Rig, nextOffset: number) => {
  rig.memory.commitsOf(GROUPS.writer, TOPICS.segments)[0] = nextOffset;
};

describe('taking partitions over', () => {
  test('while there is no room for what the store does not have, nothing is claimed; the start does not wait', async () => {
    const rig = await withBlocks(5, { heldSegmentsMax: 3 });
    const next = rig.assembler();
    await next.start();
    await rig.pass(1_000);
    expect(next.live.partitions(HOME)).toMatchObject([{ partition: 0, owned: true, ageMs: null }]);
    expect(await next.live.get(HOME, testTraceId(1))).toHaveLength(1);
    expect(await next.live.get(HOME, testTraceId(5))).toEqual([]);
    writerStored(rig, 3);
    await rig.pass(3_000);
    expect(next.live.partitions(HOME)).toMatchObject([{ ageMs: expect.any(Number), searchable: true }]);
    expect(await next.live.get(HOME, testTraceId(5))).toHaveLength(1);
    await next.stop();
  });

  test('just as many as there is room for', async () => {
    const rig = await withBlocks(3, { heldSegmentsMax: 3 });
    const next = rig.assembler();
    await next.start();
    await rig.pass(1_000);
    expect(next.live.partitions(HOME)).toMatchObject([{ ageMs: expect.any(Number) }]);
    expect(await next.live.get(HOME, testTraceId(3))).toHaveLength(1);
    await next.stop();
  });

  test('a log that fails meanwhile is asked again', async () => {
    const rig = await withBlocks(2);
    rig.memory.isDown = true;
    const next = rig.assembler();
    await next.start();
    await rig.pass(1_000);
    expect(next.live.partitions(HOME)).toMatchObject([{ ageMs: null }]);
    expect((await next.health().check()).state).toBe('degraded');
    rig.memory.isDown = false;
    await rig.until(() => next.live.partitions(HOME)[0]?.ageMs != null, 'caught up');
    expect(await next.live.get(HOME, testTraceId(2))).toHaveLength(1);
    // What else waited for the log goes on.
    await rig.pass(6_000);
    await next.stop();
  });

  test('only the blocks of its own partitions, and none that the store has', async () => {
    const rig = new Rig({ partitions: { spans: 2, segments: 1, traceMetadata: 1 }, limits: { blockSegmentsMax: 1 } });
    const traces = Array.from({ length: 12 }, (_, i) => i + 1);
    const before = rig.assembler();
    await before.start();
    for (const trace of traces) rig.append([whole(trace)]);
    await turns();
    await before.stop();
    writerStored(rig, 4);
    const group = new HandGroup(rig);
    const next = await group.process();
    const ownership = group.give(next, 1);
    const { live } = next.assembler;
    await rig.until(() => live.partitions(HOME)[0]?.ageMs != null, 'caught up');
    expect(live.partitions(HOME).map(({ partition }) => partition)).toEqual([1]);
    const inStore = (await rig.blocks()).slice(0, 4).flatMap((block) => block.segments);
    const stored = new Set(inStore.map(({ metadata }) => metadata.traceId));
    for (const trace of traces.map(testTraceId)) {
      const isDue = rig.partitionOf(trace) === 1 && !stored.has(trace);
      expect(await live.get(HOME, trace), trace).toHaveLength(isDue ? 1 : 0);
    }
    await ownership.handler.close('lost');
    expect(live.partitions(HOME)).toEqual([]);
  });

  test('a partition that was given up in order is spoken for as of then; one of another region never', async () => {
    const rig = new Rig(ONE);
    const group = new HandGroup(rig);
    const process = await group.process();
    const ownership = group.give(process, 0);
    const { live } = process.assembler;
    await rig.until(() => live.partitions(HOME)[0]?.ageMs != null, 'caught up');
    const closing = ownership.handler.close('revoked');
    await turns();
    await closing;
    await rig.clock.advance(7_000);
    const [left] = live.partitions(HOME);
    expect(left).toMatchObject({ partition: 0, owned: false });
    expect(left!.ageMs).toBeGreaterThanOrEqual(7_000);
    group.give(process, 0);
    await rig.until(() => live.partitions(HOME)[0]!.ageMs! < 1_000, 'owned again');
    expect(live.partitions(HOME)).toMatchObject([{ owned: true }]);
  });
});
