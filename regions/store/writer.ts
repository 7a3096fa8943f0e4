import type { Counter, Gauge, Registry } from 'prom-client';
import { deadLetterEntry } from '../../global/log/dead-letter.js';
import {
  type LogAppender,
  type LogBatch,
  type LogConsumers,
  type LogRecord,
  mirroredTopic,
  type PartitionAssignment,
  type PartitionHandler,
} from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import { untilDone } from '../../global/runtime/backoff.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { ReachCrashPoint } from '../../global/runtime/crash-points.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { StateMemory } from '../../global/runtime/health.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { HealthCheck, Service } from '../../global/runtime/service.js';
import { sharedCounter, sharedGauge } from '../../global/runtime/shared-metrics.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { EncodedBlock } from '../segments/segment.js';
import type { SegmentStoreWriter } from './segment-store.js';

export interface WriterOptions {
  /** The region whose segments these are. */
  readonly source: RegionId;
  /** The region that this runs in; another one reads the mirrored topic. */
  readonly home: RegionId;
  readonly log: LogConsumers & LogAppender;
  readonly store: SegmentStoreWriter;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
  /** Encoded bytes that one batch brings at most (but for a single block that is larger). Default 8 MiB. */
  readonly batchBytesMax?: number;
  /** Blocks of one call to the store. Default 64. */
  readonly writeBlocksMax?: number;
  /** Waits between attempts while the store is unavailable: doubling from the first to the longest. */
  readonly retryFirstMs?: number;
  readonly retryLongestMs?: number;
}

export const WRITER_DEFAULTS = {
  batchBytesMax: 8 * 1024 * 1024,
  writeBlocksMax: 64,
  retryFirstMs: 100,
  retryLongestMs: 10_000,
} as const;

/** The group in which a region's writer of a source reads: `writer`, or `writer.{source}` for another region's segments. */
export function writerGroup(source: RegionId, home: RegionId): string {
  return source === home ? GROUPS.writer : `${GROUPS.writer}.${source}`;
}

/**
 * `segments` > `store.write` > commit. While the store is unavailable the log buffers: a batch is tried again, never skipped. A block that
 * cannot be read goes to `segments.dlq` with the reason, and the others go on. After a crash blocks are written again, which changes nothing.
 */
export function createWriter(options: WriterOptions): Service & { health(): HealthCheck } {
  return new Writer(options);
}

class Writer implements Service {
  readonly #options: WriterOptions;
  readonly #topic: string;
  readonly #state: StateMemory;
  readonly #metrics: WriterMetrics;
  readonly #stopped = new AbortController();
  #subscription: { stop(): Promise<void> } | null = null;

  constructor(options: WriterOptions) {
    const { source, home, clock, registry } = options;
    this.#options = options;
    this.#topic = source === home ? TOPICS.segments : mirroredTopic(source, TOPICS.segments);
    this.#state = new StateMemory(source === home ? 'store' : `store of ${source}`, clock);
    this.#metrics = writerMetrics(registry);
  }

  async start(): Promise<void> {
    const { source, home, log, batchBytesMax } = this.#options;
    this.#subscription = await log.subscribe({
      group: writerGroup(source, home),
      topics: [this.#topic],
      from: 'earliest',
      batchBytesMax: batchBytesMax ?? WRITER_DEFAULTS.batchBytesMax,
      assigned: (assignment) => this.#handler(assignment),
    });
  }

  async stop(): Promise<void> {
    // Ends waits only: a write that is on its way finishes and is committed.
    this.#stopped.abort();
    await this.#subscription?.stop();
  }

  health(): HealthCheck {
    return { part: this.#state.part, check: async () => this.#state.health() };
  }

  #handler(assignment: PartitionAssignment): PartitionHandler {
    return {
      records: (batch) => this.#records(assignment, batch),
      close: async () => {},
    };
  }

  async #records(assignment: PartitionAssignment, batch: LogBatch): Promise<void> {
    const { crash, source, writeBlocksMax } = this.#options;
    const last = batch.records.at(-1);
    if (!last) return;
    const blocks = await this.#readable(batch);
    crash('writer.before-store');
    const step = writeBlocksMax ?? WRITER_DEFAULTS.writeBlocksMax;
    for (let i = 0; i < blocks.length; i += step) await this.#store(batch, blocks.slice(i, i + step));
    crash('writer.after-store');
    await assignment.commit(last.offset + 1);
    this.#metrics.committed.set({ source, partition: String(batch.partition) }, last.offset + 1);
    crash('writer.after-commit');
  }

  async #readable(batch: LogBatch): Promise<ReadBlock[]> {
    const blocks: ReadBlock[] = [];
    for (const record of batch.records) {
      try {
        const block = readEncodedBlock(asBuffer(record.value));
        if (block.source !== this.#options.source) {
          throw new MeridianError('invalid', `block ${block.id} is not of ${this.#options.source}`, 'never');
        }
        blocks.push({ record, block });
      } catch (error) {
        await this.#refused(batch, record, error);
      }
    }
    return blocks;
  }

  async #store(batch: LogBatch, blocks: readonly ReadBlock[]): Promise<void> {
    const { store, source } = this.#options;
    try {
      await this.#untilDone('store', () => store.write(blocks.map(({ block }) => block)));
      this.#metrics.blocks.inc({ source }, blocks.length);
    } catch (error) {
      if (!isPoison(error)) throw error;
      if (blocks.length === 1) return this.#refused(batch, blocks[0]!.record, error);
      // One of them cannot be read; which one shows when they are written one by one.
      for (const one of blocks) await this.#store(batch, [one]);
    }
  }

  async #refused({ topic, partition }: LogBatch, record: LogRecord, error: unknown): Promise<void> {
    if (!isPoison(error)) throw error;
    const { log, logger, source } = this.#options;
    const { code, message } = error;
    const place = { topic, partition, offset: record.offset };
    const letter = deadLetterEntry({ ...place, state: 'poison', code, message }, record);
    await this.#untilDone('log', () => log.append(TOPICS.segmentsDlq, 0, [letter]));
    this.#metrics.deadLetters.inc({ source });
    logger.error(
      { ...place, code, detail: message },
      `writer: a block cannot be read and went to ${TOPICS.segmentsDlq}`,
    );
  }

  async #untilDone<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const { clock, logger, source, retryFirstMs, retryLongestMs } = this.#options;
    try {
      const result = await untilDone(attempt, {
        clock,
        firstMs: retryFirstMs ?? WRITER_DEFAULTS.retryFirstMs,
        maxMs: retryLongestMs ?? WRITER_DEFAULTS.retryLongestMs,
        signal: this.#stopped.signal,
        onRetry: ({ message }, waitMs) => {
          this.#state.failed(message);
          this.#metrics.retries.inc({ source, what });
          logger.warn({ error: message, waitMs }, `writer: the ${what} is not available, tried again`);
        },
      });
      this.#state.succeeded();
      return result;
    } catch (error) {
      if (!isPoison(error)) this.#state.failed(messageOf(error));
      throw error;
    }
  }
}

interface ReadBlock {
  readonly record: LogRecord;
  readonly block: EncodedBlock;
}

/** Whether the fault is the block's: trying again cannot help, going on can. */
function isPoison(error: unknown): error is MeridianError {
  if (!(error instanceof MeridianError)) return false;
  return ['malformed', 'unknown-version', 'too-large', 'invalid'].includes(error.code);
}

interface WriterMetrics {
  readonly blocks: Counter<'source'>;
  readonly deadLetters: Counter<'source'>;
  readonly retries: Counter<'source' | 'what'>;
  readonly committed: Gauge<'source' | 'partition'>;
}

/** Several writers share them, told apart by the label `source`. */
function writerMetrics(registry: Registry): WriterMetrics {
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    sharedCounter(registry, `meridian_writer_${name}`, help, labelNames);
  return {
    blocks: counter('blocks_total', 'Blocks taken from the log and stored', ['source']),
    deadLetters: counter('dead_letters_total', 'Blocks that could not be read', ['source']),
    retries: counter('retries_total', 'Attempts that had to be repeated', ['source', 'what']),
    committed: sharedGauge(
      registry,
      'meridian_writer_committed_offset',
      'Offset of segments up to which everything is stored',
      ['source', 'partition'],
    ),
  };
}
