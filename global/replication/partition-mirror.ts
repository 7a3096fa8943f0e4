import { setMaxListeners } from 'node:events';
import { type LogAppender, type LogOffsets, type LogReads, type LogRecord, mirroredTopic } from '../log/span-log.js';
import type { RegionId } from '../model/ids.js';
import type { RegionFeed } from '../region-api/region-client.js';
import { Backoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { ReachCrashPoint } from '../runtime/crash-points.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import type { LinkLimits } from './link-limits.js';
import {
  encodeMirrorGap,
  encodeMirrorOffset,
  MIRROR_GAP_HEADER,
  MIRROR_HEADER,
  mirrorPosition,
} from './mirror-position.js';

export interface PartitionMirrorOptions {
  readonly source: RegionId;
  readonly topic: string;
  readonly partition: number;
  readonly client: RegionFeed;
  readonly log: LogAppender & LogOffsets & LogReads;
  readonly limits: LinkLimits;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly crash: ReachCrashPoint;
  readonly appended: (records: number, bytes: number) => void;
  readonly reconnected: () => void;
  readonly gap: () => void;
}

interface Received {
  readonly records: readonly LogRecord[];
  readonly bytes: number;
  /** Monotonic time at which it is let through: that is the link's delay. */
  readonly dueMs: number;
}

/** Carries one partition of one topic: follows it at the source, appends to the mirrored topic, in order, at least once. */
export class PartitionMirror {
  /** Next offset wanted from the source; null: not known, to be read from the mirrored topic. */
  #position: number | null = null;
  /** The source's log is another one than what was mirrored: it is mirrored from its beginning, and something may be lost between the two. */
  #anew = false;
  #sourceEnd = 0;
  #connected = false;
  #lastHeardMs: number;
  #lastAppendedAtSourceMs: number | null = null;
  #queue: Received[] = [];
  #queuedBytes = 0;
  readonly #waiters = new Set<() => void>();
  #session: AbortController | null = null;
  #problem: string | null = null;
  delayMs = 0;

  constructor(private readonly options: PartitionMirrorOptions) {
    this.#lastHeardMs = options.clock.nowMs();
  }

  /** What went wrong last, while it is not connected. */
  get problem(): string | null {
    return this.#connected ? null : this.#problem;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Age of the oldest record that is known, or must be assumed, to be there and not here. */
  lagMs(): number {
    const now = this.options.clock.nowMs();
    const oldest = this.#queue[0]?.records[0];
    let since = now;
    if (oldest) since = oldest.appendedMs;
    else if (this.#sourceEnd > (this.#position ?? 0)) since = this.#lastAppendedAtSourceMs ?? this.#lastHeardMs;
    // Unheard of, it may have had news since.
    if (!this.#connected) since = Math.min(since, this.#lastHeardMs);
    return Math.max(0, now - since);
  }

  /** Ends the current connection, with what it has on the way. */
  disconnect(problem: string): void {
    this.#problem = problem;
    this.#connected = false;
    this.#session?.abort();
  }

  /** Works until the signal aborts; `mayConnect` holds it back while the link is cut. */
  async run(signal: AbortSignal, mayConnect: () => Promise<void>): Promise<void> {
    const { clock, random, limits, logger, source, topic, partition } = this.options;
    const backoff = new Backoff(clock, random, { firstMs: limits.backoffFirstMs, maxMs: limits.backoffMaxMs });
    while (!signal.aborted) {
      await mayConnect();
      if (signal.aborted) return;
      const session = new AbortController();
      setMaxListeners(0, session.signal);
      const end = () => session.abort();
      signal.addEventListener('abort', end, { once: true });
      this.#session = session;
      try {
        const outcome = await this.#follow(session, () => backoff.reset());
        if (outcome === 'idle') continue;
        this.#problem ??= `${source} ended the stream`;
      } catch (error) {
        this.#problem = messageOf(error);
        // Part of what was appended may be in the log: only the log knows.
        this.#position = null;
        logger.warn({ source, topic, partition, err: error }, 'mirror failed; connecting again');
      } finally {
        signal.removeEventListener('abort', end);
        this.#session = null;
      }
      this.#connected = false;
      this.options.reconnected();
      if (!signal.aborted) await backoff.wait(signal);
    }
  }

  /** One connection. Resolves when it ends; `idle`: it was quiet for so long that it is to be opened anew. */
  async #follow(session: AbortController, heard: () => void): Promise<'idle' | 'ended'> {
    const { client, log, source, topic, partition } = this.options;
    const { signal } = session;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#position ??= this.#anew ? 0 : await mirrorPosition(log, mirroredTopic(source, topic), partition);
    let wanted = this.#position;
    let failure: { error: unknown } | null = null;
    const fail = (error: unknown) => {
      failure ??= { error };
      session.abort();
    };
    const watch = { batches: 0, idle: false };
    const watching = this.#watch(session, watch, fail);
    const delivering = this.#deliver(signal).catch(fail);
    try {
      for await (const { records, endOffset } of client.followTopic(topic, partition, wanted, signal)) {
        watch.batches++;
        heard();
        const received = this.#checked(records, wanted);
        if (received.length === 0 && endOffset < wanted) throw this.#endsBefore(wanted, endOffset);
        wanted = (received.at(-1)?.offset ?? wanted - 1) + 1;
        this.#heard(endOffset);
        if (received.length > 0) await this.#enqueue(received, signal);
        if (signal.aborted) break;
      }
    } catch (error) {
      fail(error);
    } finally {
      // What came before the end of the stream is still delivered; an abort drops it, to be asked for again.
      while (!signal.aborted && this.#queue.length > 0) await this.#change(signal);
      session.abort();
      await Promise.all([delivering, watching]);
    }
    const { error } = (failure as { error: unknown } | null) ?? { error: null };
    if (error) throw error;
    return watch.idle ? 'idle' : 'ended';
  }

  #endsBefore(wanted: number, endOffset: number): MeridianError {
    this.#anew = true;
    this.options.gap();
    const { source, topic, partition } = this.options;
    return new MeridianError(
      'unavailable',
      `${topic}/${partition} of ${source} ends at ${endOffset} and was mirrored up to ${wanted}: it was made anew, and is mirrored from its beginning`,
      'later',
    );
  }

  #heard(endOffset: number): void {
    this.#connected = true;
    this.#problem = null;
    this.#sourceEnd = endOffset;
    this.#lastHeardMs = this.options.clock.nowMs();
  }

  /** What is new of a batch. Throws `malformed` where the offsets are out of order. */
  #checked(records: readonly LogRecord[], wanted: number): readonly LogRecord[] {
    const { source, topic, partition, logger } = this.options;
    let next = wanted;
    for (const { offset } of records) {
      if (!Number.isSafeInteger(offset) || offset < next) {
        throw new MeridianError(
          'malformed',
          `${source} sent offset ${offset} of ${topic}/${partition} where ${next} or more was due`,
          'later',
        );
      }
      if (offset > next && next > 0) {
        // Either a gap that means nothing, or records that the source forgot before they were mirrored.
        logger.warn({ source, topic, partition, from: next, to: offset }, 'offsets are missing at the source');
        this.options.gap();
      }
      next = offset + 1;
    }
    return records;
  }

  async #enqueue(records: readonly LogRecord[], signal: AbortSignal): Promise<void> {
    const bytes = records.reduce((sum, record) => sum + record.value.length, 0);
    this.#queue.push({ records, bytes, dueMs: this.options.clock.monotonicMs() + this.delayMs });
    this.#queuedBytes += bytes;
    this.#wake();
    while (this.#queuedBytes > this.options.limits.queuedBytesMax && !signal.aborted) await this.#change(signal);
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /** Resolves when the queue changes or the signal aborts. */
  #change(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#waiters.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiters.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Appends what is due, in order, until the signal aborts. An append that has begun is finished. */
  async #deliver(signal: AbortSignal): Promise<void> {
    const { clock, limits } = this.options;
    while (!signal.aborted) {
      const head = this.#queue[0];
      if (!head) {
        await this.#change(signal);
        continue;
      }
      const wait = head.dueMs - clock.monotonicMs();
      if (wait > 0) {
        await clock.sleep(wait, signal);
        continue;
      }
      let count = 0;
      let bytes = 0;
      for (const { dueMs, bytes: more } of this.#queue) {
        if (dueMs > clock.monotonicMs() || (count > 0 && bytes + more > limits.appendBytesMax)) break;
        bytes += more;
        count++;
      }
      await this.#append(
        this.#queue.slice(0, count).flatMap(({ records }) => records),
        bytes,
      );
      this.#queue.splice(0, count);
      this.#queuedBytes -= bytes;
      this.#wake();
    }
  }

  async #append(records: readonly LogRecord[], bytes: number): Promise<void> {
    const { log, source, topic, partition, crash } = this.options;
    let due = this.#position ?? 0;
    const entries = records.map(({ key, value, headers, offset, appendedMs }, i) => {
      // In the record itself: a crash between the append and a note of its own would lose the note.
      const gap = offset > due || (this.#anew && i === 0) ? { [MIRROR_GAP_HEADER]: encodeMirrorGap(appendedMs) } : {};
      due = offset + 1;
      return { key, value, headers: { ...headers, ...gap, [MIRROR_HEADER]: encodeMirrorOffset(offset) } };
    });
    crash('mirror.before-append');
    await log.append(mirroredTopic(source, topic), partition, entries);
    crash('mirror.after-append');
    this.#anew = false;
    const last = records.at(-1)!;
    this.#position = last.offset + 1;
    this.#lastAppendedAtSourceMs = last.appendedMs;
    this.options.appended(records.length, bytes);
  }

  /** Ends the connection when the first batch does not come in time, and opens it anew when nothing came for long. */
  async #watch(
    session: AbortController,
    watch: { batches: number; idle: boolean },
    fail: (error: unknown) => void,
  ): Promise<void> {
    const { clock, limits, source, topic, partition } = this.options;
    while (!session.signal.aborted) {
      const before = watch.batches;
      await clock.sleep(before === 0 ? limits.answerMs : limits.idleMs, session.signal);
      if (session.signal.aborted || watch.batches !== before || this.#queue.length > 0) continue;
      if (before === 0) {
        fail(
          new MeridianError(
            'timeout',
            `${source} did not answer for ${topic}/${partition} in ${limits.answerMs} ms`,
            'later',
          ),
        );
      } else {
        watch.idle = true;
        session.abort();
      }
    }
  }
}
