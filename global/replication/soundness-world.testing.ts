import { Registry } from 'prom-client';
import { encodeFeedRecord } from '../index/feed-codec.js';
import { MemoryTraceIndex } from '../index/memory-index.js';
import type { FeedPositions, TraceIndexWriter } from '../index/trace-index.js';
import { tracePartition } from '../log/partition.js';
import { GROUPS } from '../log/topics.js';
import type { RegionId, TraceId } from '../model/ids.js';
import type { FeedRecord, TraceMetadata } from '../model/metadata.js';
import { msToUnixNano, unixNanoToMs } from '../model/time.js';
import { ManualClock } from '../runtime/clock.js';
import { noCrash } from '../runtime/crash-points.js';
import { MeridianError } from '../runtime/errors.js';
import { silentLogger } from '../runtime/logger.js';
import { type Applier, createApplier } from './applier.js';
import { createLink, type Link } from './link.js';
import { MemoryFeed, MemoryLog, settle } from './memory-log.testing.js';

export const source = 'us-west-2' as RegionId;
export const observer = 'us-east-1' as RegionId;
export const SPANS_PARTITIONS = 3;
export const FEED_PARTITIONS = 2;

export interface AppendedSpan {
  readonly traceId: TraceId;
  readonly key: number;
  /** By the clock of the assembler. */
  readonly appendedMs: number;
  /** By the clock of the logs. */
  readonly loggedMs: number;
}

/** A region that writes a feed by the rules of docs/decisions/0001. */
export class SourceRegion {
  readonly spans: AppendedSpan[] = [];
  readonly #partitions: { span: AppendedSpan; startMs: number }[][] = Array.from(
    { length: SPANS_PARTITIONS },
    () => [],
  );
  readonly #read = Array.from({ length: SPANS_PARTITIONS }, () => 0);
  readonly #committed = Array.from({ length: SPANS_PARTITIONS }, () => 0);

  constructor(
    private readonly log: MemoryLog,
    private readonly clock: ManualClock,
    private readonly skewMs: number,
  ) {}

  #now(): number {
    return this.clock.nowMs() + this.skewMs;
  }

  append(traceNumber: number, lateMs: number): void {
    const traceId = (traceNumber + 1).toString(16).padStart(32, 'ab') as TraceId;
    const partition = tracePartition(Buffer.from(traceId, 'hex'), 0, SPANS_PARTITIONS);
    const span = { traceId, key: this.spans.length, appendedMs: this.#now(), loggedMs: this.clock.nowMs() };
    this.spans.push(span);
    this.#partitions[partition]!.push({ span, startMs: span.appendedMs - lateMs });
  }

  /** Asks for the end, reads up to `readMax` further, announces, and publishes the watermark if it got to that end. */
  async assemble(partition: number, readMax: number, between: () => void): Promise<void> {
    const askedAtMs = this.#now();
    const records = this.#partitions[partition]!;
    const end = records.length;
    between();
    const from = this.#read[partition]!;
    const read = records.slice(from, from + readMax);
    const traces = read.map(
      ({ span, startMs }): TraceMetadata => ({
        traceId: span.traceId,
        region: source,
        startUnixNano: msToUnixNano(startMs),
        endUnixNano: msToUnixNano(startMs + 5),
        root: null,
        coverage: [{ key: span.key, service: 'a', spanCount: 1, errorCount: 0 }],
        flags: 0,
        blocks: [],
      }),
    );
    this.#read[partition] = from + read.length;
    // Several records, so that a batch may end between a trace and the watermark that vouches for it.
    for (const trace of traces) await this.#publish(partition, { traces: [trace] });
    if (this.#read[partition]! < end) return;
    const watermarkUnixNano = msToUnixNano(askedAtMs);
    await this.#publish(partition, {
      watermark: { region: source, partition, partitionCount: SPANS_PARTITIONS, watermarkUnixNano },
    });
  }

  async #publish(partition: number, record: Partial<FeedRecord>): Promise<void> {
    const value = encodeFeedRecord({ region: source, traces: [], watermark: null, catalogue: [], ...record });
    await this.log.append('trace-metadata', partition % FEED_PARTITIONS, [{ key: null, value, headers: {} }]);
  }

  commit(partition: number): void {
    this.#committed[partition] = this.#read[partition]!;
  }

  /** The assembler goes on from its last commit. */
  crash(): void {
    for (let p = 0; p < SPANS_PARTITIONS; p++) this.#read[p] = this.#committed[p]!;
  }
}

const MIRROR = `${source}.trace-metadata`;
const LIMITS = { gatherMs: 0, batchBytesMax: 400, tracesPerApplyMax: 0 };

/** What happens in a simulated world. */
export type WorldStep =
  | { do: 'append'; trace: number; late: number }
  | { do: 'assemble'; partition: number; readMax: number; between: boolean }
  | { do: 'wait' | 'delay'; ms: number }
  | { do: 'commit' | 'crash' | 'cut' | 'heal' | 'index-away' | 'index-back' | 'lose-index' | 'mirror-fails' }
  /** Retention takes a share of the source's feed, or of the mirrored one. */
  | { do: 'source-forgets' | 'mirror-forgets'; partition: number; share: number }
  /** The index is lost and nobody rebuilds it, or from a place in the middle, or it is read again without being lost. */
  | { do: 'index-empty' | 'rebuild-from' | 'read-again'; share: number }
  /** The far applier is held up, its feed grows, and before it goes on retention takes a share of that, or somebody moves its group ahead. */
  | { do: 'fall-behind'; share: number; moved: boolean }
  /** The link is cut for longer than the source keeps its feed. */
  | { do: 'cut-long'; share: number };

/** The source region, its own copy of the index, and another region's copy behind a link; the feeds of both logs. */
export class World {
  readonly clock = new ManualClock();
  readonly there = new MemoryLog(this.clock, { 'trace-metadata': FEED_PARTITIONS, 'trace-metadata.dlq': 1 });
  readonly here = new MemoryLog(this.clock, { [MIRROR]: FEED_PARTITIONS, 'trace-metadata.dlq': 1 });
  readonly region: SourceRegion;
  readonly ownCopy = new MemoryTraceIndex(source);
  readonly farCopy = new MemoryTraceIndex(observer);
  readonly link: Link;
  away = false;
  /** Watermarks that were past a span and vouched for it, so that they were held to their word. */
  claims = 0;
  readonly #own: Applier;
  #far: Applier;

  constructor(skewMs: number) {
    const { clock, there, here } = this;
    this.region = new SourceRegion(there, clock, skewMs);
    const parts = { clock, logger: silentLogger, crash: noCrash, random: () => 0.5 };
    const [home, sources, registry] = [source, [source], new Registry()];
    this.#own = createApplier({ ...parts, home, sources, log: there, index: this.ownCopy, registry, limits: LIMITS });
    this.#far = this.#openFar();
    this.link = createLink({
      ...parts,
      source,
      client: new MemoryFeed(there, 100),
      log: here,
      topics: [{ name: 'trace-metadata', partitions: FEED_PARTITIONS }],
      registry: new Registry(),
    });
  }

  #openFar(): Applier {
    const index: TraceIndexWriter & FeedPositions = {
      feedPosition: (topic, partition) => this.farCopy.feedPosition(topic, partition),
      apply: async (records, position) => {
        // Takes its time, so that a batch is seen half applied.
        await settle(1);
        if (this.away) throw new MeridianError('unavailable', 'away', 'later');
        await this.farCopy.apply(records, position);
      },
    };
    return createApplier({
      home: observer,
      sources: [source],
      log: this.here,
      index,
      clock: this.clock,
      logger: silentLogger,
      registry: new Registry(),
      crash: noCrash,
      limits: LIMITS,
    });
  }

  async start(): Promise<void> {
    await Promise.all([this.#own.start(), this.#far.start(), this.link.start()]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#own.stop(), this.#far.stop(), this.link.stop()]);
  }

  async step(step: WorldStep): Promise<void> {
    const { region, clock, link, here } = this;
    switch (step.do) {
      case 'append':
        region.append(step.trace, step.late);
        break;
      case 'assemble':
        await region.assemble(step.partition, step.readMax, () => {
          if (step.between) region.append(step.partition, 0);
        });
        break;
      case 'wait':
        await clock.advance(step.ms);
        break;
      case 'delay':
        link.setDelayMs(step.ms);
        break;
      case 'commit':
        for (let p = 0; p < SPANS_PARTITIONS; p++) region.commit(p);
        break;
      case 'crash':
        region.crash();
        break;
      case 'cut':
        link.cut();
        break;
      case 'heal':
        link.heal();
        break;
      case 'index-away':
      case 'index-back':
        this.away = step.do === 'index-away';
        break;
      case 'mirror-fails':
        here.onAppend = (when) => {
          here.onAppend = () => {};
          if (when === 'before') throw new Error('disk full for a moment');
        };
        break;
      case 'lose-index':
        // A lost index is rebuilt from the log: the consumer stops, the group goes back, a new one starts.
        await this.#reopen(true, () => 0);
        break;
      case 'index-empty':
        await this.#reopen(true, null);
        break;
      case 'rebuild-from':
      case 'read-again':
        await this.#reopen(step.do === 'rebuild-from', (start, end) => start + Math.floor((end - start) * step.share));
        break;
      case 'fall-behind':
        await this.#fallBehind(step.share, step.moved);
        break;
      case 'cut-long':
        link.cut();
        await this.#grow();
        for (let p = 0; p < FEED_PARTITIONS; p++) await forget(this.there, 'trace-metadata', p, step.share);
        link.heal();
        break;
      case 'source-forgets':
        await forget(this.there, 'trace-metadata', step.partition, step.share);
        break;
      case 'mirror-forgets':
        await forget(here, MIRROR, step.partition, step.share);
        break;
    }
  }

  async #fallBehind(share: number, moved: boolean): Promise<void> {
    this.away = true;
    await this.#grow();
    if (moved) await this.#reopen(false, (start, end) => start + Math.floor((end - start) * share));
    else for (let p = 0; p < FEED_PARTITIONS; p++) await forget(this.here, MIRROR, p, share);
    this.away = false;
  }

  async #grow(): Promise<void> {
    for (let n = 0; n < 12; n++) this.region.append(n % 8, 0);
    for (let p = 0; p < SPANS_PARTITIONS; p++) await this.region.assemble(p, 1000, () => {});
    await this.clock.advance(400);
    await settle(10);
  }

  async #reopen(lost: boolean, from: ((start: number, end: number) => number) | null): Promise<void> {
    await this.#far.stop();
    if (lost) await this.farCopy.clear();
    if (from) {
      const [starts, ends] = await Promise.all([this.here.starts(MIRROR), this.here.ends(MIRROR)]);
      for (let p = 0; p < FEED_PARTITIONS; p++) {
        await this.here.rewind(GROUPS.applier, MIRROR, p, from(starts[p]!, ends[p]!));
      }
    }
    this.#far = this.#openFar();
    await this.#far.start();
  }

  /** Spans that a copy's watermark vouches for, and of which it has no record. */
  async lies(): Promise<AppendedSpan[]> {
    const lies: AppendedSpan[] = [];
    for (const copy of [this.ownCopy, this.farCopy]) {
      for (const span of this.region.spans) {
        const [found] = await copy.locate([span.traceId]);
        const mark = found!.watermarks[0];
        if (!mark || unixNanoToMs(mark.watermarkUnixNano) <= span.appendedMs) continue;
        const { vouchedFromUnixNano: from } = mark;
        if (from === undefined || msToUnixNano(span.loggedMs) < from) continue;
        this.claims++;
        if (!found!.records[0]?.coverage.some((c) => c.key === span.key)) lies.push(span);
      }
    }
    return lies;
  }

  /** Heals everything and lets all that is on its way arrive. */
  async calm(): Promise<void> {
    this.link.heal();
    this.away = false;
    for (let round = 0; round < 6; round++) {
      await this.clock.advance(2_000);
      for (let p = 0; p < SPANS_PARTITIONS; p++) await this.region.assemble(p, 1000, () => {});
      await settle(10);
    }
    for (let i = 0; i < 10; i++) {
      await this.clock.advance(1_000);
      await settle(10);
    }
  }
}

async function forget(log: MemoryLog, topic: string, partition: number, share: number): Promise<void> {
  const [start, end] = [(await log.starts(topic))[partition]!, (await log.ends(topic))[partition]!];
  log.forget(topic, partition, start + Math.floor((end - start) * share));
}
