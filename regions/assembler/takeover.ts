import type { LogOffsets, LogReads } from '../../global/log/span-log.js';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import { backoffMs } from '../../global/runtime/backoff.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';
import { decodeBlock, readEncodedBlock } from '../segments/block-codec.js';
import { parseBlockId } from '../segments/block-id.js';
import type { HeldSegments } from './held-segments.js';

const PAGE_BYTES = 4 * 1024 * 1024;

export interface TakeoverOptions {
  readonly log: LogOffsets & LogReads;
  readonly source: RegionId;
  readonly held: HeldSegments;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** How often room is looked for while too much waits for the store. */
  readonly tickMs: number;
  /** Ends all waiting. */
  readonly stopping: AbortSignal;
  readonly troubled: (detail: string) => void;
  readonly onFatal: (error: unknown) => void;
}

/** A partition of `spans` that was just assigned. */
export interface TakenOver {
  readonly partition: number;
  /** Where its blocks are: a partition of `segments`. */
  readonly segmentsPartition: number;
  isOwned(): boolean;
  /** Its blocks are readable here. */
  recovered(): void;
}

/**
 * Makes the blocks readable that earlier owners of a partition appended and the writer has not committed: their process may be gone, and the
 * store has yet to catch up. Every span before an ownership's start lies in a block that was appended before that start was committed, so the
 * blocks up to the end of `segments` as of now, less those that the writer's commit has passed, are all there are. Partitions that are assigned in
 * one turn are read together, each partition of `segments` once.
 */
export class Takeover {
  readonly #options: TakeoverOptions;
  #waiting: TakenOver[] = [];
  readonly #running = new Set<Promise<void>>();

  constructor(options: TakeoverOptions) {
    this.#options = options;
  }

  add(taken: TakenOver): void {
    this.#waiting.push(taken);
    if (this.#waiting.length > 1) return;
    const running: Promise<void> = new Promise<void>((resolve) => {
      void Promise.resolve()
        .then(() => this.#run(this.#waiting.splice(0), resolve))
        .then(resolve, this.#options.onFatal);
    }).then(() => {
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  /** Resolves when nothing can be done at once: what was added is recovered, or waits for room or for the log. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** `onWaiting` is called when it has to wait. */
  async #run(taken: readonly TakenOver[], onWaiting: () => void): Promise<void> {
    const { clock, logger, stopping, troubled, retryMs, retryMsMax } = this.#options;
    for (let failures = 0; !stopping.aborted; ) {
      try {
        await this.#recover(taken, onWaiting);
        return;
      } catch (error) {
        if (!(error instanceof MeridianError)) throw error;
        onWaiting();
        failures++;
        troubled(`taking over partitions: ${messageOf(error)}`);
        logger.warn({ err: error }, 'reading back the blocks of partitions that were taken over failed; tried again');
        await clock.sleep(backoffMs({ firstMs: retryMs, maxMs: retryMsMax }, failures), stopping);
      }
    }
  }

  async #recover(all: readonly TakenOver[], onWaiting: () => void): Promise<void> {
    const { log } = this.#options;
    const taken = all.filter((one) => one.isOwned());
    const [ends, starts, committed] = await Promise.all([
      log.ends(TOPICS.segments),
      log.starts(TOPICS.segments),
      log.committed(GROUPS.writer, TOPICS.segments),
    ]);
    for (const segmentsPartition of new Set(taken.map((one) => one.segmentsPartition))) {
      const here = taken.filter((one) => one.segmentsPartition === segmentsPartition);
      const from = Math.max(committed[segmentsPartition] ?? 0, starts[segmentsPartition] ?? 0);
      const isComplete = await this.#read(segmentsPartition, from, ends[segmentsPartition] ?? 0, here, onWaiting);
      if (isComplete) for (const one of here) one.recovered();
    }
  }

  /** Resolves with false where it was given up. */
  async #read(
    segmentsPartition: number,
    from: number,
    end: number,
    taken: readonly TakenOver[],
    onWaiting: () => void,
  ): Promise<boolean> {
    const { log, held } = this.#options;
    const partitions = new Set(taken.map(({ partition }) => partition));
    for (let next = from; next < end; ) {
      const records = await log.read(TOPICS.segments, segmentsPartition, next, PAGE_BYTES);
      if (records.length === 0) break;
      for (const { offset, value } of records) {
        next = offset + 1;
        if (offset >= end) break;
        while (held.isFull) {
          if (!(await this.#room(taken, onWaiting))) return false;
        }
        await this.#hold(segmentsPartition, offset, asBuffer(value), partitions);
      }
    }
    return true;
  }

  /** Waits a little; false where there is no point in it any more. */
  async #room(taken: readonly TakenOver[], onWaiting: () => void): Promise<boolean> {
    const { clock, tickMs, stopping } = this.#options;
    onWaiting();
    await clock.sleep(tickMs, stopping);
    return !stopping.aborted && taken.some((one) => one.isOwned());
  }

  /** Blocks that cannot be read are the writer's to report. */
  async #hold(partition: number, offset: number, value: Buffer, partitions: ReadonlySet<number>): Promise<void> {
    const { source, held, logger } = this.#options;
    try {
      const encoded = readEncodedBlock(value);
      const name = parseBlockId(encoded.id);
      if (name?.source !== source || !partitions.has(name.partition) || held.hasBlock(encoded.id)) return;
      const { id, segments } = await decodeBlock(encoded);
      held.recovered({ id, partition, offset, segments });
    } catch (error) {
      if (!(error instanceof MeridianError)) throw error;
      logger.warn({ err: error, partition, offset }, 'a record of segments cannot be read');
    }
  }
}
