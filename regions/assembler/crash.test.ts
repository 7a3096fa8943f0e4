import { describe, expect, test } from 'vitest';
import { joinMetadata, metadataCounts } from '../../global/index/join.js';
import { TOPICS } from '../../global/log/topics.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import { CRASH_POINTS, type CrashPoint } from '../../global/runtime/crash-points.js';
import { Rig } from './testing/rig.js';
import { spanKeysOf, type TestSpan, testSpanId, testTraceId } from './testing/spans.js';

const POINTS = CRASH_POINTS.filter((point) => point.startsWith('assembler.'));

const WAVES = 4;
const TRACES = 12 * WAVES;

/** Waves of twelve traces of six spans; some rest early, some go on for long, some never have their parent. */
function spansAt(step: number): TestSpan[] {
  const spans: TestSpan[] = [];
  for (let trace = 1; trace <= TRACES; trace++) {
    const every = 1 + (trace % 4);
    const since = step - 12 * Math.floor((trace - 1) / 12);
    if (since < 0 || since % every !== 0 || since / every >= 6) continue;
    const number = since / every;
    spans.push({
      traceId: testTraceId(trace),
      spanId: testSpanId(trace * 100 + number),
      ...(number > 0 ? { parentSpanId: testSpanId(trace * 100 + number - 1) } : {}),
      ...(trace % 5 === 0 ? { parentSpanId: testSpanId(7) } : {}),
      service: `service-${trace % 3}`,
    });
  }
  return spans;
}

const STEPS = 12 * (WAVES + 1);

/** Runs the load with a crash at the given reachings of a point; returns how often the point was reached. */
async function run(point: CrashPoint | null, crashAt: ReadonlySet<number>): Promise<{ rig: Rig; reached: number }> {
  const rig = new Rig({ limits: { settleMs: 200, idleMs: 600, commitMs: 100, blockMs: 100, blockSegmentsMax: 3 } });
  let reached = 0;
  let isDead = false;
  const launch = () => {
    isDead = false;
    const session = rig.session();
    const assembler = rig.assembler({
      log: session,
      crash: (name) => {
        if (name !== point || isDead) return;
        if (!crashAt.has(++reached)) return;
        isDead = true;
        session.kill();
        throw new Error('crash');
      },
    });
    return { assembler, started: assembler.start() };
  };
  let { assembler, started } = launch();
  await started;
  for (let step = 0; step < STEPS + 20; step++) {
    if (step < STEPS) rig.append(spansAt(step));
    await rig.pass(100);
    if (!isDead) continue;
    ({ assembler, started } = launch());
    await started;
  }
  // A stop may be crashed too, and then never ends.
  for (let isStopped = false; !isStopped; ) {
    void assembler.stop().then(() => {
      isStopped = true;
    });
    while (!isStopped && !isDead) await rig.pass(50);
    if (!isDead) continue;
    isStopped = false;
    ({ assembler, started } = launch());
    await started;
    await rig.pass(500);
  }
  return { rig, reached };
}

async function check(rig: Rig, crashes: number): Promise<void> {
  const appended = rig.memory.all(TOPICS.spans).flatMap(({ value }) => spanKeysOf(Buffer.from(value)));
  const segments = await rig.segments();
  const stored = segments.flatMap((segment) => spanKeysOf(segment.payload));
  expect(new Set(stored)).toEqual(new Set(appended));
  if (crashes === 0) expect(stored).toHaveLength(appended.length);
  const blocks = new Set((await rig.blocks()).map((block) => block.id));
  expect(blocks.size).toBe((await rig.blocks()).length);
  const index = new Map<string, TraceMetadata>();
  for (const trace of rig.feed().flatMap((record) => record.traces)) {
    const known = index.get(trace.traceId);
    index.set(trace.traceId, known ? joinMetadata(known, trace) : trace);
    for (const block of trace.blocks) expect(blocks.has(block), 'a record names blocks that exist').toBe(true);
  }
  expect(index.size).toBe(TRACES);
  for (const [traceId, metadata] of index) {
    expect(metadataCounts(metadata).spanCount).toBe(appended.filter((key) => key.startsWith(traceId)).length);
    // Every stored span can be found through the index: its block is named.
    for (const block of await rig.blocks()) {
      if (crashes === 0 && block.segments.some((segment) => segment.metadata.traceId === traceId)) {
        expect(metadata.blocks).toContain(block.id);
      }
    }
  }
  expect(rig.fatal.length).toBe(crashes);
}

describe('crashes of the assembler', () => {
  test('the load itself reaches every point', async () => {
    for (const point of POINTS) {
      const { rig, reached } = await run(point, new Set());
      expect(reached, point).toBeGreaterThanOrEqual(3);
      await check(rig, 0);
    }
  });

  test.each(POINTS)('at each of the first reachings of %s: nothing is lost, nothing counts twice', async (point) => {
    let crashes = 0;
    for (let crashAt = 1; crashAt <= 10; crashAt++) {
      const { rig, reached } = await run(point, new Set([crashAt]));
      const crashed = reached >= crashAt ? 1 : 0;
      await check(rig, crashed);
      crashes += crashed;
    }
    expect(crashes).toBeGreaterThanOrEqual(3);
  });

  test.each(POINTS)('again and again at %s', async (point) => {
    const crashAt = [1, 2, 3, 5, 8, 9];
    const { rig, reached } = await run(point, new Set(crashAt));
    expect(reached).toBeGreaterThanOrEqual(2);
    await check(rig, crashAt.filter((one) => one <= reached).length);
  });
});
