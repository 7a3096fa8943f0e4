import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { joinMetadata, metadataCounts } from '../../global/index/join.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { summarize } from '../segments/summarize.js';
import type { Fragment } from './open-traces.js';
import { type AssemblyLimits, PartitionAssembly, type PassWork } from './partition-assembly.js';
import { HOME } from './testing/rig.js';
import { REMOTE_PARENT, spanKeysOf, type TestSpan, testSpanId, testTraceId, tracesDataOf } from './testing/spans.js';

const LIMITS: AssemblyLimits = {
  settleMs: 20,
  idleMs: 100,
  ageMs: 400,
  segmentBytesMax: 600,
  segmentSpansMax: 6,
  blockSegmentsMax: 3,
  blockBytesMax: 1_000,
  blockMs: 30,
  announceMs: 10,
  idleWatermarkMs: 50,
  passBlocksMax: 2,
  passAnnouncementsMax: 4,
};

let spanNumber = 0;

/** One record: for each trace some spans, with a coverage key of its own. */
function recordOf(offset: number, traces: readonly { trace: number; spans: number; kind: string }[]): Fragment[] {
  return traces.map(({ trace, spans: count, kind }) => {
    const traceId = testTraceId(trace);
    const spans = Array.from({ length: count }, (_, i): TestSpan => {
      const spanId = testSpanId(++spanNumber);
      if (kind === 'root' && i === 0) return { traceId, spanId, service: 'a', startUnixNano: 5n };
      if (kind === 'remote')
        return { traceId, spanId, service: 'a', parentSpanId: testSpanId(1 << 30), flags: REMOTE_PARENT };
      return { traceId, spanId, service: 'b', parentSpanId: testSpanId(1 << 29), startUnixNano: 9n };
    });
    const payload = tracesDataOf(spans);
    const metadata = summarize(payload, { traceId, region: HOME, receivedMs: 0 });
    return { traceId, payload, metadata, spanCount: count, offset, receivedMs: 0 };
  });
}

const recordSpec = fc.uniqueArray(
  fc.record({
    trace: fc.integer({ min: 1, max: 9 }),
    spans: fc.integer({ min: 1, max: 4 }),
    kind: fc.constantFrom('root', 'remote', 'child'),
  }),
  { minLength: 0, maxLength: 4, selector: ({ trace }) => trace },
);

type Step =
  | { do: 'append'; record: { trace: number; spans: number; kind: string }[] }
  | { do: 'read' | 'sample' | 'relieve' }
  | { do: 'tick'; ms: number }
  | { do: 'pass'; crashAfter: 'nothing' | 'begin' | 'blocks' | 'metadata' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('append' as const), record: recordSpec }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom('read' as const, 'read' as const, 'sample' as const, 'relieve' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.integer({ min: 1, max: 120 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      crashAfter: fc.constantFrom(
        'nothing' as const,
        'nothing' as const,
        'nothing' as const,
        'begin' as const,
        'blocks' as const,
        'metadata' as const,
      ),
    }),
  },
);

/** What is durable, and an assembly over it; checks on each effect what that effect claims. */
class World {
  readonly log: Fragment[][] = [];
  readonly stored: string[] = [];
  readonly feed = new Map<string, TraceMetadata>();
  committed = 0;
  nowMs = 0;
  crashes = 0;
  #end = 0;
  assembly = new PartitionAssembly(LIMITS, 0);

  run(step: Step): void {
    if (step.do === 'append') this.log.push(recordOf(this.log.length, step.record));
    if (step.do === 'read') this.read();
    if (step.do === 'relieve') this.assembly.relieve(this.nowMs);
    if (step.do === 'sample') {
      const { mark, position } = this.assembly;
      if (mark.awaitedEnd(position) === null) this.#end = this.log.length;
      mark.sample(BigInt(1 + this.nowMs), this.log.length, position);
    }
    if (step.do === 'tick') {
      this.nowMs += step.ms;
      this.assembly.tick(this.nowMs);
    }
    if (step.do === 'pass') this.pass(step.crashAfter);
  }

  read(): void {
    const { position } = this.assembly;
    const record = this.log[position];
    if (record) this.assembly.read(position, record, this.nowMs);
  }

  pass(crashAfter: string): void {
    const { position } = this.assembly;
    const work = this.assembly.beginPass(this.nowMs);
    this.checkCommitOffset();
    // Records go on being read while a pass is on its way.
    this.read();
    this.checkCommitOffset();
    if (crashAfter === 'begin') {
      this.crash();
      return;
    }
    for (const { segments, firstOffset } of work.blocks) {
      expect(segments.length).toBeLessThanOrEqual(LIMITS.blockSegmentsMax);
      expect(Math.min(...segments.map((segment) => segment.firstOffset))).toBe(firstOffset);
      for (const segment of segments) {
        const keys = spanKeysOf(segment.payload);
        expect(keys).toHaveLength(segment.spanCount);
        expect(segment.metadata.flags & MetadataFlag.closed).toBe(MetadataFlag.closed);
        this.stored.push(...keys);
      }
    }
    if (crashAfter === 'blocks') {
      this.crash();
      return;
    }
    this.publish(work);
    if (work.announcements.length < LIMITS.passAnnouncementsMax) this.checkSpokenOf(position);
    if (crashAfter === 'metadata') {
      this.crash();
      return;
    }
    this.assembly.finishPass();
    this.commit();
  }

  publish(work: PassWork): void {
    expect(work.announcements.length).toBeLessThanOrEqual(LIMITS.passAnnouncementsMax);
    for (const trace of [...work.announcements, ...work.blocks.flatMap((b) => b.segments.map((s) => s.metadata))]) {
      const known = this.feed.get(trace.traceId);
      this.feed.set(trace.traceId, known ? joinMetadata(known, trace) : trace);
    }
    if (work.watermarkUnixNano !== null) this.checkSpokenOf(this.#end);
  }

  /** Every trace of a record before the offset has a record in the feed. */
  checkSpokenOf(offset: number): void {
    for (const { traceId } of this.log.slice(0, offset).flat()) expect(this.feed.has(traceId), traceId).toBe(true);
  }

  commit(): void {
    this.checkCommitOffset();
    this.committed = this.assembly.commitOffset;
  }

  checkCommitOffset(): void {
    const { commitOffset } = this.assembly;
    expect(commitOffset).toBeGreaterThanOrEqual(this.committed);
    const stored = new Set(this.stored);
    for (const key of this.log
      .slice(0, commitOffset)
      .flat()
      .flatMap(({ payload }) => spanKeysOf(payload))) {
      expect(stored.has(key), 'what is committed is stored').toBe(true);
    }
  }

  crash(): void {
    this.crashes++;
    this.assembly = new PartitionAssembly(LIMITS, this.committed);
  }

  finish(): void {
    while (this.assembly.position < this.log.length) this.read();
    this.assembly.drain(this.nowMs);
    while (this.assembly.hasWork) this.pass('nothing');
    expect(this.assembly.commitOffset).toBe(this.log.length);
    const appended = this.log.flat().flatMap(({ payload }) => spanKeysOf(payload));
    expect(new Set(this.stored)).toEqual(new Set(appended));
    if (this.crashes === 0) expect(this.stored).toHaveLength(appended.length);
    for (const [traceId, metadata] of this.feed) {
      const spans = appended.filter((key) => key.startsWith(traceId));
      expect(metadataCounts(metadata).spanCount, 'a span counts once').toBe(spans.length);
    }
    expect(this.feed.size).toBe(new Set(this.log.flat().map(({ traceId }) => traceId)).size);
    expect(this.assembly.open.count).toBe(0);
    expect(this.assembly.open.bytes).toBe(0);
    expect(this.assembly.unpublishedBytes).toBe(0);
  }
}

describe('partition assembly', () => {
  test('any order of records, time-outs, passes and crashes loses nothing, and every claim is true', () => {
    let crashed = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const world = new World();
        for (const one of steps) world.run(one);
        world.finish();
        crashed += world.crashes;
      }),
      { numRuns: 400 },
    );
    expect(crashed).toBeGreaterThan(100);
  });

  test('a block is cut at its segments, its bytes and its time, not before', () => {
    const cutAt = (limits: Partial<AssemblyLimits>, traces: number, waitMs: number) => {
      const assembly = new PartitionAssembly(
        { ...LIMITS, segmentBytesMax: 1e6, blockBytesMax: 1e6, blockSegmentsMax: 99, ...limits },
        0,
      );
      const fragments = recordOf(
        0,
        Array.from({ length: traces }, (_, i) => ({ trace: i + 1, spans: 1, kind: 'root' })),
      );
      assembly.read(0, fragments, 0);
      assembly.tick(LIMITS.settleMs);
      const bytes = fragments[0]!.payload.length;
      return {
        blocks: assembly.beginPass(LIMITS.settleMs + waitMs).blocks.map((block) => block.segments.length),
        bytes,
      };
    };
    const { bytes } = cutAt({}, 1, 0);
    expect(cutAt({ blockSegmentsMax: 3 }, 2, 0).blocks).toEqual([]);
    expect(cutAt({ blockSegmentsMax: 3 }, 3, 0).blocks).toEqual([3]);
    expect(cutAt({ blockBytesMax: 3 * bytes + 1 }, 3, 0).blocks).toEqual([]);
    expect(cutAt({ blockBytesMax: 3 * bytes }, 3, 0).blocks).toEqual([3]);
    expect(cutAt({ blockBytesMax: 3 * bytes + 1 }, 4, 0).blocks).toEqual([3]);
    expect(cutAt({}, 2, LIMITS.blockMs - 1).blocks).toEqual([]);
    expect(cutAt({}, 2, LIMITS.blockMs).blocks).toEqual([2]);
  });

  test('a pass takes no more blocks and announcements than its limits, and the watermark waits for the rest', () => {
    const assembly = new PartitionAssembly(LIMITS, 0);
    assembly.mark.sample(7n, 1, 0);
    assembly.read(
      0,
      recordOf(
        0,
        Array.from({ length: 5 }, (_, i) => ({ trace: i + 1, spans: 1, kind: 'child' })),
      ),
      0,
    );
    const first = assembly.beginPass(10);
    expect(first.announcements).toHaveLength(LIMITS.passAnnouncementsMax);
    expect(first.watermarkUnixNano).toBeNull();
    assembly.finishPass();
    expect(assembly.isPassDue(10)).toBe(true);
    const second = assembly.beginPass(10);
    expect(second.announcements).toHaveLength(1);
    expect(second.watermarkUnixNano).toBe(7n);
  });
});
