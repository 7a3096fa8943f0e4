import { Registry } from 'prom-client';
import { decodeFeedRecord } from '../../../global/index/feed-codec.js';
import { tracePartition } from '../../../global/log/partition.js';
import type { LogHeaders, SpanLog } from '../../../global/log/span-log.js';
import { MemoryLog } from '../../../global/log/testing/memory-log.js';
import { MemoryLogSession } from '../../../global/log/testing/memory-log-session.js';
import { type PartitionCounts, regionTopics, TOPICS } from '../../../global/log/topics.js';
import type { RegionId } from '../../../global/model/ids.js';
import type { FeedRecord } from '../../../global/model/metadata.js';
import { ManualClock } from '../../../global/runtime/clock.js';
import { noCrash, type ReachCrashPoint } from '../../../global/runtime/crash-points.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { keepAll, type SamplingPolicy } from '../../../global/sampling/sampling-policy.js';
import { spansRecordHeaders } from '../../log/spans-record.js';
import { decodeBlock, readEncodedBlock } from '../../segments/block-codec.js';
import type { Block, Segment } from '../../segments/segment.js';
import { deflateFrame } from '../../segments/zstd-frame.js';
import { type Assembler, createAssembler } from '../assembler.js';
import type { AssemblerLimits } from '../options.js';
import { type TestSpan, tracesDataOf } from './spans.js';

export const HOME = 'eu-west-1' as RegionId;
const HOUR_MS = 3_600_000;

export interface RigOptions {
  readonly partitions?: PartitionCounts;
  readonly limits?: Partial<AssemblerLimits>;
  readonly policy?: SamplingPolicy;
}

/** A region's log in memory, a clock that is moved by hand, and assemblers on them. */
export class Rig {
  readonly clock = new ManualClock();
  readonly partitions: PartitionCounts;
  readonly memory: MemoryLog;
  readonly registry = new Registry();
  readonly fatal: unknown[] = [];
  readonly #options: RigOptions;
  #sequence = 0;
  #incarnation = this.clock.nowMs();
  #randoms = 0;

  constructor(options: RigOptions = {}) {
    this.#options = options;
    this.partitions = options.partitions ?? { spans: 2, segments: 2, traceMetadata: 1 };
    this.memory = new MemoryLog(() => this.clock.nowMs());
    this.memory.ensure(regionTopics(this.partitions, { spans: HOUR_MS, views: HOUR_MS }));
  }

  /** The log as one process has it. */
  session(): MemoryLogSession {
    return new MemoryLogSession(this.memory);
  }

  /** A fresh assembler; its incarnation is larger than those of the ones before. */
  assembler(over: { log?: SpanLog; crash?: ReachCrashPoint; source?: RegionId } = {}): Assembler {
    return createAssembler({
      source: over.source ?? HOME,
      home: HOME,
      log: over.log ?? this.session(),
      partitions: this.partitions,
      policy: this.#options.policy ?? keepAll,
      clock: this.clock,
      logger: silentLogger,
      registry: this.registry,
      crash: over.crash ?? noCrash,
      incarnation: ++this.#incarnation,
      random: () => (++this.#randoms * 0.618) % 1,
      ...(this.#options.limits ? { limits: this.#options.limits } : {}),
      onFatal: (error) => this.fatal.push(error),
    });
  }

  /** Appends one record per partition that the spans touch, as a collector does. */
  append(spans: readonly TestSpan[]): void {
    for (let partition = 0; partition < this.partitions.spans; partition++) {
      const own = spans.filter((span) => this.partitionOf(span.traceId) === partition);
      if (own.length > 0) this.appendRecord(partition, tracesDataOf(own), this.stamp());
    }
  }

  /** Also while the log is down for its sessions. */
  appendRecord(partition: number, value: Buffer, headers: LogHeaders, topic: string = TOPICS.spans): void {
    this.memory.append(topic, partition, [{ key: null, value, headers }]);
  }

  /** Headers with a new stamp. */
  stamp(): LogHeaders {
    const stamp = { instance: 7_000_000, sequence: ++this.#sequence };
    return spansRecordHeaders({ stamp, receivedMs: this.clock.nowMs(), collectorId: 'c' });
  }

  partitionOf(traceId: string): number {
    return tracePartition(Buffer.from(traceId, 'hex'), 0, this.partitions.spans);
  }

  async blocks(): Promise<Block[]> {
    return Promise.all(
      this.memory.all(TOPICS.segments).map(({ value }) => decodeBlock(readEncodedBlock(Buffer.from(value)))),
    );
  }

  /** Segments in the log, without decoding them. */
  segmentCount(): number {
    const records = this.memory.all(TOPICS.segments);
    return records.reduce((sum, { value }) => sum + readEncodedBlock(Buffer.from(value)).segmentCount, 0);
  }

  async segments(): Promise<Segment[]> {
    return (await this.blocks()).flatMap((block) => block.segments);
  }

  feed(): FeedRecord[] {
    return this.memory.all(TOPICS.traceMetadata).map(({ value }) => decodeFeedRecord(Buffer.from(value)));
  }

  /** Moves time in small steps, letting everything happen on the way. */
  async pass(ms: number, stepMs = 50): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      await this.clock.advance(Math.min(stepMs, ms - passed));
      await turns();
    }
  }

  /** Moves time until the condition holds. */
  async until(condition: () => boolean, what: string): Promise<void> {
    for (let i = 0; i < 2_000; i++) {
      if (condition()) return;
      await this.clock.advance(25);
      await turns();
    }
    throw new Error(`it never came to this: ${what}`);
  }
}

const SENTINEL = Buffer.from([1]);

/**
 * Lets promises get on, and what waits for the thread pool: a small job goes through the pool behind it. A slow machine may still leave
 * compression behind the clock, so what must have happened is waited for with `Rig.until`.
 */
export async function turns(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
  await deflateFrame(SENTINEL);
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
