import { setMaxListeners } from 'node:events';
import { mirroredTopic } from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { HealthCheck, PartHealth, Service } from '../../global/runtime/service.js';
import { blockNumbers } from '../segments/block-id.js';
import { NameTable } from '../segments/summarize.js';
import { CatalogueWindow } from './catalogue-window.js';
import { HeldSegments } from './held-segments.js';
import { HeldAndOpenSegments } from './live-segments.js';
import { assemblerMetrics } from './metrics.js';
import type { LivePartition, LiveSegments } from './open-traces-reader.js';
import { ASSEMBLER_DEFAULTS, type AssemblerLimits, type AssemblerOptions } from './options.js';
import { type PartitionReach, PartitionWorker } from './partition-worker.js';
import type { AssemblerShared } from './shared.js';
import { Takeover } from './takeover.js';

/**
 * Reads `spans`, makes segments and blocks of them, and tells the feed; see pipeline.ts for the order. `start` resolves when the group is
 * joined, and the blocks are readable again that the store does not have yet of the partitions that it was given at once; `live.partitions` tells
 * of which partitions it has everything. Several processes of a region share the group (docs/decisions/0014). `stop` closes all open traces, publishes and
 * commits, so that nothing is read again by the next start.
 */
export interface Assembler extends Service {
  readonly live: LiveSegments;
  health(): HealthCheck;
}

const NAMES_MAX = 20_000;
/** Block numbers that begin with one millisecond (`blockNumbers`). */
const NUMBERS_PER_MS = 4096;
/** Trouble with the log is shown for this long after it was met last. */
const TROUBLE_MS = 10_000;
/** A partition whose watermark is older than this is reported. */
const LAG_DEGRADED_MS = 30_000;
/** A mark that waits for longer than this makes the assembler ask whether its records are still in the log. */
const STUCK_SAMPLES = 10;

export function createAssembler(options: AssemblerOptions): Assembler {
  return new LogAssembler(options);
}

class LogAssembler implements Assembler {
  readonly live: LiveSegments;
  readonly #options: AssemblerOptions;
  readonly #limits: AssemblerLimits;
  readonly #shared: AssemblerShared;
  readonly #spansTopic: string;
  readonly #stopping = new AbortController();
  readonly #workers = new Set<PartitionWorker>();
  /** What stays visible of ownerships that were given up, by partition. */
  readonly #left = new Map<number, PartitionReach>();
  #loops: Promise<void>[] = [];
  #subscription: { stop(): Promise<void> } | null = null;
  #stopped: Promise<void> | null = null;
  #state: 'new' | 'running' | 'stopped' = 'new';
  #startedMs = 0;
  #trouble: { detail: string; atMs: number } | null = null;
  #waitingSamples = new Map<PartitionWorker, number>();

  constructor(options: AssemblerOptions) {
    const { source, home, log, clock, registry } = options;
    this.#options = options;
    this.#limits = { ...ASSEMBLER_DEFAULTS, ...options.limits };
    this.#spansTopic = source === home ? TOPICS.spans : mirroredTopic(source, TOPICS.spans);
    // Each loop and each waiting partition listens.
    setMaxListeners(0, this.#stopping.signal);
    const limits = this.#limits;
    // A later ownership, in whatever process, begins later by the clock, so its blocks get other numbers. Where clocks differ by just the time
    // between two ownerships, chance keeps them apart.
    let incarnation = options.incarnation - 1;
    const newBlockNumbers = () => {
      incarnation = Math.max(incarnation + 1, clock.nowMs());
      const number = blockNumbers(incarnation);
      const apart = Math.floor((options.random?.() ?? 0) * NUMBERS_PER_MS);
      return () => number() + apart;
    };
    const troubled = (detail: string) => {
      this.#trouble = { detail, atMs: clock.monotonicMs() };
    };
    const onFatal = options.onFatal ?? throwLater;
    const held = new HeldSegments({
      blockCacheBytesMax: limits.blockCacheBytesMax,
      segmentsMax: limits.heldSegmentsMax,
      storeRefreshMs: limits.storeRefreshMs,
    });
    this.#shared = {
      source,
      log,
      partitions: options.partitions,
      limits,
      policy: options.policy,
      clock,
      logger: options.logger,
      crash: options.crash,
      metrics: assemblerMetrics(registry),
      held,
      catalogue: new CatalogueWindow({
        refreshMs: limits.catalogueRefreshMs,
        operationsPerServiceMax: limits.catalogueOperationsPerServiceMax,
        operationsMax: limits.catalogueOperationsMax,
      }),
      names: new NameTable(NAMES_MAX),
      newBlockNumbers,
      takeover: new Takeover({
        log,
        source,
        held,
        clock,
        logger: options.logger,
        retryMs: limits.retryMs,
        retryMsMax: limits.retryMsMax,
        tickMs: limits.tickMs,
        stopping: this.#stopping.signal,
        troubled,
        onFatal,
      }),
      stopping: this.#stopping.signal,
      relieve: () => this.#relieve(),
      troubled,
      onFatal,
    };
    const workers = this.#workers;
    this.live = new HeldAndOpenSegments({
      source,
      open: function* () {
        for (const worker of workers) yield worker.assembly.open;
      },
      held,
      log,
      segmentsTopic: TOPICS.segments,
      partitions: () => this.#livePartitions(),
    });
  }

  async start(): Promise<void> {
    const { log, clock } = this.#options;
    if (this.#state !== 'new') throw new Error('broken invariant: an assembler is started once');
    this.#state = 'running';
    this.#startedMs = clock.monotonicMs();
    this.#subscription = await log.subscribe({
      group: GROUPS.assembler,
      topics: [this.#spansTopic],
      from: 'earliest',
      batchBytesMax: this.#limits.batchBytesMax,
      assigned: (assignment) => {
        const worker = new PartitionWorker(assignment, this.#shared, () => {
          this.#workers.delete(worker);
          if (worker.reach) this.#left.set(worker.partition, worker.reach);
          else this.#left.delete(worker.partition);
        });
        this.#workers.add(worker);
        return worker;
      },
    });
    await this.#shared.takeover.settled();
    this.#loops = [
      this.#every(this.#limits.tickMs, 'tick', () => this.#tick()),
      this.#every(this.#limits.watermarkMs, 'watermark', () => this.#sampleEnds()),
      this.#every(this.#limits.writerPollMs, 'writer', () => this.#pollWriter()),
    ];
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#state = 'stopped';
    this.#stopping.abort();
    await this.#subscription?.stop();
    await Promise.all(this.#loops);
  }

  health(): HealthCheck {
    return { part: 'assembler', check: () => Promise.resolve(this.#health()) };
  }

  #health(): PartHealth {
    const part = 'assembler';
    if (this.#state !== 'running') return { part, state: 'down', detail: this.#state };
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#shared.held.isFull) {
      return { part, state: 'degraded', detail: `${this.#shared.held.segmentCount} segments wait for the store` };
    }
    if (this.#trouble && nowMs - this.#trouble.atMs < TROUBLE_MS) {
      return { part, state: 'degraded', detail: this.#trouble.detail };
    }
    const lagMs = this.#watermarkLagMs();
    if (lagMs > LAG_DEGRADED_MS && nowMs - this.#startedMs > LAG_DEGRADED_MS) {
      return { part, state: 'degraded', detail: `reads ${Math.round(lagMs / 1000)} s behind` };
    }
    let open = 0;
    for (const worker of this.#workers) open += worker.assembly.open.count;
    return { part, state: 'ok', detail: `${this.#workers.size} partitions, ${open} open traces` };
  }

  /** Runs until the stop; a foreign failure is shown and tried again. */
  async #every(ms: number, what: string, work: () => void | Promise<void>): Promise<void> {
    const { clock, logger } = this.#options;
    while (!this.#stopping.signal.aborted) {
      try {
        await work();
      } catch (error) {
        if (!(error instanceof MeridianError)) {
          this.#shared.onFatal(error);
          return;
        }
        this.#shared.troubled(`${what}: ${messageOf(error)}`);
        logger.warn({ err: error }, `${what} failed and is tried again`);
      }
      await clock.sleep(ms, this.#stopping.signal);
    }
  }

  /** Of two ownerships of a partition, the one that reaches farther. */
  #livePartitions(): LivePartition[] {
    const nowMs = this.#options.clock.monotonicMs();
    const farthest = new Map(this.#left);
    for (const { reach } of this.#workers) {
      if (!reach) continue;
      const left = farthest.get(reach.partition);
      if (reach.readUpToMs !== null || !left) farthest.set(reach.partition, reach);
    }
    return [...farthest.values()]
      .sort((a, b) => a.partition - b.partition)
      .map(({ partition, owned, readUpToMs, searchableFromMs }) => ({
        partition,
        owned,
        ageMs: readUpToMs === null ? null : nowMs - readUpToMs,
        searchable: nowMs >= searchableFromMs,
      }));
  }

  #tick(): void {
    for (const worker of this.#workers) worker.tick();
    this.#measure();
  }

  /** Takes the time, then asks for the ends: what was acknowledged before that time lies before them. */
  async #sampleEnds(): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#workers.size === 0) return;
    const takenMs = clock.monotonicMs();
    const unixNano = clock.nowUnixNano();
    const ends = await log.ends(this.#spansTopic);
    const stuck: PartitionWorker[] = [];
    for (const worker of this.#workers) {
      const { mark, position } = worker.assembly;
      const end = ends[worker.partition];
      if (end === undefined) continue;
      worker.progress.sample(takenMs, end, position);
      const isWaiting = mark.awaitedEnd(position) !== null;
      const samples = isWaiting ? (this.#waitingSamples.get(worker) ?? 0) + 1 : 0;
      this.#waitingSamples.set(worker, samples);
      if (samples >= STUCK_SAMPLES) stuck.push(worker);
      mark.sample(unixNano, end, position);
    }
    for (const worker of this.#waitingSamples.keys())
      if (!this.#workers.has(worker)) this.#waitingSamples.delete(worker);
    if (stuck.length > 0) await this.#skipExpired(stuck);
  }

  /** Records that the log has dropped by age are never delivered; the position may pass them. */
  async #skipExpired(stuck: readonly PartitionWorker[]): Promise<void> {
    const starts = await this.#options.log.starts(this.#spansTopic);
    for (const worker of stuck) {
      const start = starts[worker.partition];
      if (start !== undefined) worker.assembly.skipTo(start);
    }
  }

  async #pollWriter(): Promise<void> {
    const { log, clock } = this.#options;
    const { held } = this.#shared;
    const waiting = held.waitingPartitions();
    if (waiting.length === 0) return;
    const committed = await log.committed(GROUPS.writer, TOPICS.segments);
    const nowMs = clock.monotonicMs();
    for (const partition of waiting) {
      const nextOffset = committed[partition];
      if (nextOffset !== null && nextOffset !== undefined) held.stored(partition, nextOffset, nowMs);
    }
  }

  #relieve(): void {
    const { openBytesMax, openTracesMax } = this.#limits;
    for (;;) {
      let bytes = 0;
      let traces = 0;
      let oldest: PartitionWorker | null = null;
      let oldestMs = Number.POSITIVE_INFINITY;
      for (const worker of this.#workers) {
        const { open } = worker.assembly;
        bytes += open.bytes;
        traces += open.count;
        if (open.oldestMs !== null && open.oldestMs < oldestMs) {
          oldestMs = open.oldestMs;
          oldest = worker;
        }
      }
      if ((bytes <= openBytesMax && traces <= openTracesMax) || !oldest?.relieve()) return;
    }
  }

  #watermarkLagMs(): number {
    const nowMs = this.#options.clock.nowMs();
    let lagMs = 0;
    for (const { assembly } of this.#workers) {
      lagMs = Math.max(lagMs, nowMs - unixNanoToMs(assembly.mark.publishedUnixNano));
    }
    return lagMs;
  }

  #measure(): void {
    const { metrics, source, held, catalogue } = this.#shared;
    let bytes = 0;
    let traces = 0;
    for (const { assembly } of this.#workers) {
      bytes += assembly.open.bytes;
      traces += assembly.open.count;
    }
    metrics.openTraces.set({ source }, traces);
    metrics.openBytes.set({ source }, bytes);
    metrics.heldSegments.set({ source }, held.segmentCount + held.pendingCount);
    metrics.heldBytes.set({ source }, held.cachedBytes);
    metrics.catalogueDropped.set({ source }, catalogue.dropped);
    metrics.watermarkLag.set({ source }, this.#watermarkLagMs() / 1000);
  }
}

function throwLater(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
