import type { LogRecord, LogSubscription, PartitionHandler } from '../../global/log/span-log.js';
import { invariant, MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Logger } from '../../global/runtime/logger.js';

/** What the consumer of a partition needs of the log. */
export interface ConsumerLog {
  read(topic: string, partition: number, fromOffset: number, bytesMax: number): Promise<readonly LogRecord[]>;
  waitForEnd(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<void>;
  commit(group: string, topic: string, partition: number, nextOffset: number): Promise<void>;
}

export type CloseReason = 'revoked' | 'stopped' | 'lost';

/** One ownership of one partition by one member, from `assigned` to `close`. */
export class PartitionConsumer {
  readonly #stopping = new AbortController();
  #mayCommit = true;
  #handler: PartitionHandler | null = null;
  #running: Promise<void> = Promise.resolve();

  constructor(
    private readonly log: ConsumerLog,
    readonly subscription: LogSubscription,
    readonly topic: string,
    readonly partition: number,
    private readonly logger: Logger,
  ) {}

  /** Throws what `assigned` throws. `failed` is called at most once, when the handler or the log has rejected. */
  start(startOffset: number, failed: () => void): void {
    this.#handler = this.subscription.assigned({
      topic: this.topic,
      partition: this.partition,
      startOffset,
      commit: (nextOffset) => this.#commit(nextOffset),
    });
    this.#running = this.#run(startOffset, this.#handler, failed);
  }

  /** Waits for the batch that is being handled, then closes the handler. Nothing is delivered or committed after it has resolved. */
  async end(reason: CloseReason): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    if (reason === 'lost') this.#mayCommit = false;
    try {
      await this.#handler?.close(reason);
    } catch (error) {
      this.logger.error({ ...this.#place(), reason, error: messageOf(error) }, 'closing a partition handler failed');
    }
    this.#mayCommit = false;
  }

  #place() {
    return { group: this.subscription.group, topic: this.topic, partition: this.partition };
  }

  async #commit(nextOffset: number): Promise<void> {
    const { group } = this.subscription;
    if (!this.#mayCommit) {
      throw new MeridianError(
        'refused',
        `committing ${nextOffset} of ${this.topic}/${this.partition} for group ${group}: the partition is no longer owned`,
        'never',
      );
    }
    await this.log.commit(group, this.topic, this.partition, nextOffset);
  }

  async #run(startOffset: number, handler: PartitionHandler, failed: () => void): Promise<void> {
    const { signal } = this.#stopping;
    const { topic, partition } = this;
    let position = startOffset;
    try {
      while (!signal.aborted) {
        await this.log.waitForEnd(topic, partition, position, signal);
        if (signal.aborted) return;
        const records = await this.log.read(topic, partition, position, this.subscription.batchBytesMax);
        if (signal.aborted) return;
        const last = records.at(-1);
        invariant(last, `${topic}/${partition} goes on after offset ${position}, but nothing can be read there`);
        await handler.records({ topic, partition, records });
        position = last.offset + 1;
      }
    } catch (error) {
      this.logger.warn({ ...this.#place(), position, error: messageOf(error) }, 'a batch was not taken');
      failed();
    }
  }
}
