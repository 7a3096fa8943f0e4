import { deadLetterEntry } from '../../global/log/dead-letter.js';
import type { LogBatch, LogRecord, PartitionAssignment, PartitionHandler } from '../../global/log/span-log.js';
import { TOPICS } from '../../global/log/topics.js';
import { untilDone } from '../../global/runtime/backoff.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { PartitionCatalogue } from './catalogue-window.js';
import type { ClosedTrace, Fragment } from './open-traces.js';
import { PartitionAssembly } from './partition-assembly.js';
import { assemblePass, type PipelinePorts } from './pipeline.js';
import { readFragments } from './read-fragments.js';
import { ReadProgress } from './read-progress.js';
import type { AssemblerShared } from './shared.js';
import { StampWindow } from './stamp-window.js';

/** Up to where a partition of `spans` is visible in this process; milliseconds are monotonic. */
export interface PartitionReach {
  readonly partition: number;
  readonly owned: boolean;
  /** What was acknowledged before is here or in the store; null where that is not known. */
  readonly readUpToMs: number | null;
  /** From here on the store's search shows what the writer had stored when the partition was taken over. */
  readonly searchableFromMs: number;
}

/**
 * One owned partition of `spans`: feeds what comes into the assembly, and runs passes of the pipeline one after the other beside
 * it. Does the I/O; decisions are the assembly's.
 */
export class PartitionWorker implements PartitionHandler {
  readonly assembly: PartitionAssembly;
  readonly partition: number;
  readonly progress = new ReadProgress();
  readonly #assignment: PartitionAssignment;
  readonly #shared: AssemblerShared;
  readonly #onClosed: () => void;
  readonly #stamps: StampWindow;
  readonly #catalogue: PartitionCatalogue;
  readonly #assignedMs: number;
  readonly #ports: PipelinePorts;
  /** Ends waiting and retrying: the partition is lost, or a stop took too long. */
  readonly #abandon = new AbortController();
  #committed: number;
  #committedMs: number;
  #pass: Promise<void> | null = null;
  #failure: { error: unknown } | null = null;
  #closed = false;
  #recovered = false;
  /** Whether everything that was read is visible: not where the partition was lost, or left before all was in blocks. */
  #isWhole = true;

  /** `onClosed`: called once, when it counts no more; `reach` is then what stays visible of it. */
  constructor(assignment: PartitionAssignment, shared: AssemblerShared, onClosed: () => void) {
    const { limits, source, partitions, clock } = shared;
    this.partition = assignment.partition;
    this.#assignment = assignment;
    this.#shared = shared;
    this.#onClosed = onClosed;
    this.#committed = assignment.startOffset;
    this.#assignedMs = clock.monotonicMs();
    this.#committedMs = this.#assignedMs;
    this.assembly = new PartitionAssembly(limits, assignment.startOffset);
    this.#stamps = new StampWindow({
      sequencesMax: limits.stampSequencesMax,
      instancesMax: limits.stampInstancesMax,
    });
    const metadataPartition = this.partition % partitions.traceMetadata;
    this.#catalogue = shared.catalogue.partition(metadataPartition);
    const segmentsPartition = this.partition % partitions.segments;
    this.#ports = {
      source,
      partition: this.partition,
      partitionCount: partitions.spans,
      segmentsPartition,
      metadataPartition,
      log: shared.log,
      commit: (nextOffset) => this.#commit(nextOffset, false),
      policy: shared.policy,
      held: shared.held,
      nextBlockNumber: shared.newBlockNumbers(),
      catalogue: this.#catalogue,
      catalogueEntriesMax: limits.catalogueEntriesPerPassMax,
      clock,
      crash: shared.crash,
      metrics: shared.metrics,
      untilDone: (what, attempt) => this.#untilDone(what, attempt),
    };
    shared.takeover.add({
      partition: this.partition,
      segmentsPartition,
      isOwned: () => !this.#closed,
      recovered: () => {
        this.#recovered = true;
      },
    });
  }

  /** What is visible of the partition here; null where it was lost, or left before all was in blocks. */
  get reach(): PartitionReach | null {
    if (!this.#isWhole) return null;
    return {
      partition: this.partition,
      owned: !this.#closed,
      readUpToMs: this.#recovered ? this.progress.readUpToMs(this.assembly.position) : null,
      searchableFromMs: this.#assignedMs + this.#shared.limits.storeRefreshMs,
    };
  }

  async records(batch: LogBatch): Promise<void> {
    await this.#room();
    for (const record of batch.records) {
      this.#throwFailure();
      if (record.offset < this.assembly.position) continue;
      this.#add(record.offset, await this.#fragmentsOf(record));
    }
    this.#throwFailure();
    this.#runIfDue();
  }

  async close(reason: 'revoked' | 'stopped' | 'lost'): Promise<void> {
    this.#closed = true;
    if (reason === 'lost') {
      this.#isWhole = false;
      this.#abandon.abort();
      await this.#pass?.catch(() => {});
    } else {
      await this.#drain();
    }
    const undone = this.assembly.abandon();
    if (undone.length > 0 || this.assembly.open.count > 0) this.#isWhole = false;
    this.#onClosed();
    this.#shared.held.dropped(undone);
  }

  /** Looks at time-outs; called often. */
  tick(): void {
    if (this.#closed || this.#failure) return;
    this.#register(this.assembly.tick(this.#shared.clock.monotonicMs()));
    this.#runIfDue();
  }

  /** Closes the oldest trace for want of memory; false where none is open. */
  relieve(): boolean {
    const closed = this.assembly.relieve(this.#shared.clock.monotonicMs());
    this.#register(closed);
    return closed.length > 0;
  }

  async #fragmentsOf(record: LogRecord): Promise<readonly Fragment[]> {
    const { source, metrics, log } = this.#shared;
    try {
      const fragments = readFragments(record, this.partition, this.#shared, this.#stamps, this.#catalogue);
      metrics.records.inc({ source, result: fragments ? 'assembled' : 'repeated' });
      return fragments ?? [];
    } catch (error) {
      if (!(error instanceof MeridianError)) throw error;
      metrics.records.inc({ source, result: 'malformed' });
      metrics.deadLetters.inc({ source });
      const where = `offset ${record.offset} of ${this.#assignment.topic}/${this.partition}`;
      this.#shared.logger.error({ err: error, where }, 'a record of spans cannot be read; it goes to the dead letters');
      const { topic } = this.#assignment;
      const { code, message } = error;
      const place = { topic, partition: this.partition, offset: record.offset };
      const letter = deadLetterEntry({ ...place, state: 'poison', code, message }, record);
      await this.#untilDone('append to the dead letters', () => log.append(TOPICS.spansDlq, 0, [letter]));
      return [];
    }
  }

  #add(offset: number, fragments: readonly Fragment[]): void {
    const { clock, metrics, source, held } = this.#shared;
    let spans = 0;
    for (const { spanCount, traceId } of fragments) {
      spans += spanCount;
      if (held.has(traceId) && !this.assembly.open.get(traceId)) metrics.lateSegments.inc({ source });
    }
    metrics.spans.inc({ source }, spans);
    this.#register(this.assembly.read(offset, fragments, clock.monotonicMs()));
    this.#shared.relieve();
  }

  #register(closed: readonly ClosedTrace[]): void {
    const { held, metrics, source } = this.#shared;
    for (const trace of closed) {
      held.closed(trace);
      metrics.closes.inc({ source, reason: trace.closeReason });
    }
  }

  #isCommitDue(): boolean {
    const { clock, limits } = this.#shared;
    return this.assembly.commitOffset > this.#committed && clock.monotonicMs() - this.#committedMs >= limits.commitMs;
  }

  /** Starts a pass where one is due and none runs; goes on until none is due. */
  #runIfDue(): void {
    if (this.#pass || this.#failure || this.#closed) return;
    if (!this.assembly.isPassDue(this.#shared.clock.monotonicMs()) && !this.#isCommitDue()) return;
    this.#pass = assemblePass(this.assembly, this.#ports).then(
      () => {
        this.#pass = null;
        this.#runIfDue();
      },
      (error: unknown) => {
        this.#pass = null;
        this.#fail(error);
      },
    );
  }

  /** A pass that failed for good leaves its work undone: this ownership is over, and its records are delivered again. */
  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    const isForeign = error instanceof MeridianError;
    if (isForeign && (this.#closed || error.code === 'refused')) return;
    this.#shared.troubled(`partition ${this.partition}: ${messageOf(error)}`);
    this.#shared.logger.error({ err: error, partition: this.partition }, 'assembling a partition failed');
    if (!isForeign) this.#shared.onFatal(error);
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  async #commit(nextOffset: number, atOnce: boolean): Promise<void> {
    const { clock, limits, crash } = this.#shared;
    if (nextOffset <= this.#committed) return;
    if (!atOnce && clock.monotonicMs() - this.#committedMs < limits.commitMs) return;
    await this.#untilDone('commit', () => this.#assignment.commit(nextOffset));
    this.#committed = nextOffset;
    this.#committedMs = clock.monotonicMs();
    crash('assembler.after-commit');
  }

  /** Waits while too much is on its way into the log or the store. */
  async #room(): Promise<void> {
    const { limits, held, clock, stopping } = this.#shared;
    while (this.assembly.unpublishedBytes > limits.unpublishedBytesMax || held.isFull) {
      if (this.#failure || stopping.aborted) return;
      await clock.sleep(limits.tickMs, stopping);
    }
  }

  async #drain(): Promise<void> {
    const { clock, limits, logger } = this.#shared;
    const timer = new AbortController();
    void clock.sleep(limits.drainMs, timer.signal).then(() => this.#abandon.abort());
    try {
      await this.#pass;
      this.#throwFailure();
      this.#register(this.assembly.drain(clock.monotonicMs()));
      while (this.assembly.hasWork || this.#catalogue.pendingCount > 0) {
        await assemblePass(this.assembly, this.#ports);
      }
      await this.#commit(this.assembly.commitOffset, true);
    } catch (error) {
      logger.warn(
        { err: error, partition: this.partition },
        'a partition was left before it was flushed; its spans are read again',
      );
      if (!(error instanceof MeridianError)) this.#fail(error);
    } finally {
      timer.abort();
    }
  }

  #untilDone<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const { clock, limits, metrics, source, logger } = this.#shared;
    return untilDone(attempt, {
      clock,
      firstMs: limits.retryMs,
      maxMs: limits.retryMsMax,
      signal: this.#abandon.signal,
      onRetry: (error) => {
        metrics.retries.inc({ source, what });
        this.#shared.troubled(`${what}: ${messageOf(error)}`);
        logger.warn({ err: error, partition: this.partition }, `${what} failed and is tried again`);
      },
    });
  }
}
