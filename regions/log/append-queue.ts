import type { LogEntry } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { encodeHeaders, headersBytes } from './headers-codec.js';
import type { LogLimits } from './log-limits.js';
import type { AppendRequest, AppendResult } from './log-protocol.js';
import { fromWireError } from './sqlite-errors.js';

interface QueuedAppend {
  readonly topic: string;
  readonly partition: number;
  readonly entries: readonly LogEntry[];
  readonly headers: readonly Buffer[];
  readonly bytes: number;
  resolve(offsets: readonly number[]): void;
  reject(error: Error): void;
}

/** What a round did to one partition; `offsets` has one per record. */
export interface RoundObserver {
  appended(topic: string, partition: number, offsets: readonly number[], bytes: number): void;
  round(bytes: number, records: number): void;
}

/**
 * Group commit: while one round of appends is being made durable the next gathers, so a round is as large as the disk is slow. The bytes
 * go to the thread through shared memory that is used again and again: fresh memory for each round would cost more CPU
 * than the rest of the append.
 */
export class AppendQueue {
  #queue: QueuedAppend[] = [];
  #queuedBytes = 0;
  #running: Promise<void> | null = null;
  readonly #buffer: SharedArrayBuffer;

  constructor(
    private readonly limits: LogLimits,
    private readonly commit: (
      topics: AppendRequest['topics'],
      buffer: SharedArrayBuffer,
    ) => Promise<readonly AppendResult[]>,
    private readonly observer: RoundObserver,
  ) {
    this.#buffer = new SharedArrayBuffer(limits.roundBytesMax);
  }

  /** Bytes that wait for their commit. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Resolves with an offset per entry. At least one entry. */
  append(topic: string, partition: number, entries: readonly LogEntry[]): Promise<readonly number[]> {
    const headers: Buffer[] = [];
    let bytes = 0;
    for (const entry of entries) {
      const entryBytes = this.#checkedBytes(topic, entry);
      bytes += entryBytes;
      headers.push(encodeHeaders(entry.headers));
    }
    if (this.#queuedBytes + bytes > this.limits.queuedBytesMax) {
      throw new MeridianError(
        'overloaded',
        `appending ${bytes} bytes to ${topic}/${partition}: ${this.#queuedBytes} bytes wait already, of ${this.limits.queuedBytesMax}`,
        'later',
      );
    }
    this.#queuedBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ topic, partition, entries, headers, bytes, resolve, reject });
      // In a microtask: what the caller appends in the same turn makes one round.
      this.#running ??= Promise.resolve().then(() => this.#run());
    });
  }

  /** Resolves when nothing waits any more. */
  async drained(): Promise<void> {
    while (this.#running) await this.#running;
  }

  #checkedBytes(topic: string, entry: LogEntry): number {
    const { entryBytesMax, headersMax, headersBytesMax } = this.limits;
    const names = Object.keys(entry.headers);
    if (names.length > headersMax) {
      throw tooLarge(topic, `${names.length} headers`, headersMax);
    }
    const ofHeaders = headersBytes(entry.headers);
    if (ofHeaders > headersBytesMax) throw tooLarge(topic, `headers of ${ofHeaders} bytes`, headersBytesMax);
    const bytes = entry.value.length + ofHeaders + (entry.key?.length ?? 0);
    if (bytes > entryBytesMax) throw tooLarge(topic, `an entry of ${bytes} bytes`, entryBytesMax);
    return bytes;
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) await this.#round(this.#takeRound());
    this.#running = null;
  }

  /** In the order of the calls: at least one, then as many as fit. */
  #takeRound(): QueuedAppend[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length) {
      bytes += this.#queue[count]!.bytes;
      if (count > 0 && bytes > this.limits.roundBytesMax) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #round(appends: readonly QueuedAppend[]): Promise<void> {
    const byTopic = groupByTopic(appends);
    const inOrder = [...byTopic.values()].flat();
    const bytes = appends.reduce((sum, a) => sum + a.bytes, 0);
    const buffer = bytes <= this.#buffer.byteLength ? this.#buffer : new SharedArrayBuffer(bytes);
    copyInto(new Uint8Array(buffer), inOrder);
    try {
      const topics = [...byTopic].map(([topic, of]) => ({ topic, entries: of.flatMap(entryNumbers) }));
      const results = await this.commit(topics, buffer);
      this.#queuedBytes -= bytes;
      this.observer.round(
        bytes,
        appends.reduce((sum, a) => sum + a.entries.length, 0),
      );
      for (const [index, of] of [...byTopic.values()].entries()) this.#settle(of, results[index]!);
    } catch (error) {
      this.#queuedBytes -= bytes;
      const failure = error instanceof Error ? error : new Error(String(error));
      for (const append of appends) append.reject(failure);
    }
  }

  #settle(appends: readonly QueuedAppend[], result: AppendResult): void {
    if ('error' in result) {
      for (const append of appends) append.reject(fromWireError(result.error));
      return;
    }
    let at = 0;
    for (const append of appends) {
      const offsets = result.offsets.slice(at, at + append.entries.length);
      at += append.entries.length;
      this.observer.appended(append.topic, append.partition, offsets, append.bytes);
      append.resolve(offsets);
    }
  }
}

function groupByTopic(appends: readonly QueuedAppend[]): Map<string, QueuedAppend[]> {
  const byTopic = new Map<string, QueuedAppend[]>();
  for (const append of appends) {
    const of = byTopic.get(append.topic);
    if (of) of.push(append);
    else byTopic.set(append.topic, [append]);
  }
  return byTopic;
}

function tooLarge(topic: string, what: string, most: number): MeridianError {
  return new MeridianError('too-large', `appending to topic ${topic}: ${what}, at most ${most} may be`, 'never');
}

function copyInto(bytes: Uint8Array, appends: readonly QueuedAppend[]): void {
  let at = 0;
  const put = (part: Uint8Array) => {
    bytes.set(part, at);
    at += part.length;
  };
  for (const { entries, headers } of appends) {
    for (const [index, entry] of entries.entries()) {
      if (entry.key) put(entry.key);
      put(headers[index]!);
      put(entry.value);
    }
  }
}

function entryNumbers({ partition, entries, headers }: QueuedAppend): number[] {
  return entries.flatMap((entry, index) => [
    partition,
    entry.key ? entry.key.length : -1,
    headers[index]!.length,
    entry.value.length,
  ]);
}
