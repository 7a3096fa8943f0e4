import { Registry } from 'prom-client';
import { encodeFeedRecord } from '../index/feed-codec.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { FeedPosition, FeedPositions, ReceivedRecord, TraceIndexWriter } from '../index/trace-index.js';
import type { LogHeaders } from '../log/span-log.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { FeedRecord, TraceMetadata, Watermark } from '../model/metadata.js';
import { ManualClock } from '../runtime/clock.js';
import { noCrash, type ReachCrashPoint } from '../runtime/crash-points.js';
import { MeridianError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/logger.js';
import { type Applier, type ApplierLimits, createApplier } from './applier.js';
import { MemoryLog, settle } from './memory-log.testing.js';

export const home = 'us-east-1' as RegionId;
export const west = 'us-west-2' as RegionId;
export const OWN = 'trace-metadata';
export const MIRROR = 'us-west-2.trace-metadata';
export const DLQ = 'trace-metadata.dlq';

const traceId = (n: number) => n.toString(16).padStart(32, '0') as TraceId;

/** Metadata of trace number `n`. */
export function trace(n: number, region: RegionId): TraceMetadata {
  return {
    traceId: traceId(n),
    region,
    startUnixNano: 1_000n,
    endUnixNano: 2_000n,
    root: null,
    coverage: [{ key: n, service: 'a', spanCount: 1, errorCount: 0 }],
    flags: 1,
    blocks: [],
  };
}

/** A watermark at a time in ms. */
export function watermark(region: RegionId, ms: number, partition = 0): Watermark {
  return { region, partition, partitionCount: 1, watermarkUnixNano: BigInt(ms) * 1_000_000n };
}

/** An index that fails where it is told to, and notes what it was given. */
class FailingIndex implements TraceIndexWriter, FeedPositions {
  readonly inner = new MemoryTraceIndex(home);
  readonly calls: FeedRecord[][] = [];
  fails: (records: readonly FeedRecord[]) => boolean = () => false;

  async apply(records: readonly ReceivedRecord[], position?: FeedPosition): Promise<void> {
    if (this.fails(records)) throw new MeridianError('unavailable', 'the index is away', 'later');
    this.calls.push([...records]);
    await this.inner.apply(records, position);
  }

  feedPosition(topic: string, partition: number): Promise<FeedPosition | null> {
    return this.inner.feedPosition(topic, partition);
  }
}

/** Appliers that the test has started, to be stopped after it. */
export const running: Applier[] = [];

/** A log, an index that fails when told to, and appliers over them. */
export function setUp() {
  const clock = new ManualClock();
  const log = new MemoryLog(clock, { [OWN]: 2, [MIRROR]: 1, [DLQ]: 1 });
  const index = new FailingIndex();
  const registry = new Registry();
  const start = async (
    over: { crash?: ReachCrashPoint; limits?: Partial<ApplierLimits>; mirrorsNeverSkip?: boolean } = {},
  ) => {
    const applier = createApplier({
      home,
      sources: [home, west],
      log,
      index,
      clock,
      logger: silentLogger,
      registry,
      crash: over.crash ?? noCrash,
      limits: { gatherMs: 0, ...over.limits },
      mirrorsNeverSkip: over.mirrorsNeverSkip ?? false,
    });
    running.push(applier);
    await applier.start();
    await settle();
    return applier;
  };
  const feed = (topic: string, partition: number, ...records: (Partial<FeedRecord> & { region: RegionId })[]) =>
    log.append(
      topic,
      partition,
      records.map((record) => ({
        key: null,
        value: encodeFeedRecord({ traces: [], watermark: null, catalogue: [], ...record }),
        headers: {},
      })),
    );
  const raw = (topic: string, partition: number, value: Buffer) =>
    log.append(topic, partition, [{ key: null, value, headers: {} }]);
  const known = async (n: number) => (await index.inner.locate([traceId(n)]))[0]!.records.map((r) => r.region);
  const marks = async () => (await index.inner.watermarks()).map((w) => Number(w.watermarkUnixNano / 1_000_000n));
  /** A watermark as the link mirrors it, with or without its headers. */
  const mirror = (ms: number, headers: LogHeaders) => {
    const value = encodeFeedRecord({ region: west, traces: [], watermark: watermark(west, ms), catalogue: [] });
    return log.append(MIRROR, 0, [{ key: null, value, headers }]);
  };
  /** Region, watermark and what it vouches for, in ms. */
  const vouched = async () =>
    (await index.inner.watermarks()).map((w) => [
      w.region,
      Number(w.watermarkUnixNano / 1_000_000n),
      w.vouchedFromUnixNano === undefined ? null : Number(w.vouchedFromUnixNano / 1_000_000n),
    ]);
  return { clock, log, index, registry, start, feed, raw, known, marks, mirror, vouched };
}
