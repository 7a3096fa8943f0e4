import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TopicSpec } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import {
  type AppendRequest,
  type AppendResult,
  type CommitRow,
  ENTRY_NUMBERS,
  type ExpiredTopic,
  type PartitionRead,
  type ReadRecords,
  type ReadResult,
  type TopicState,
  type WorkerOptions,
} from './log-protocol.js';
import { SqliteCatalog } from './sqlite-catalog.js';
import { toWireError } from './sqlite-errors.js';
import type { SliceEntry, StoredRecord } from './sqlite-slice.js';
import { SqliteTopic } from './sqlite-topic.js';

/** Everything of the log that is on disk: a catalog and a folder per topic. Synchronous; lives on the log's thread. */
export class DiskLog {
  readonly #catalog: SqliteCatalog;
  readonly #topics = new Map<string, SqliteTopic>();

  constructor(private readonly options: WorkerOptions) {
    mkdirSync(options.folder, { recursive: true });
    this.#catalog = new SqliteCatalog(options.folder);
    try {
      for (const spec of this.#catalog.topics()) this.#openTopic(spec);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #openTopic(spec: TopicSpec): void {
    this.#topics.set(spec.name, new SqliteTopic(spec, join(this.options.folder, spec.name), this.options.limits));
  }

  states(): TopicState[] {
    return [...this.#topics.values()].map((t) => ({ spec: t.spec, starts: t.starts(), ends: t.ends() }));
  }

  commits(): CommitRow[] {
    return this.#catalog.commits();
  }

  commit(commits: readonly CommitRow[]): void {
    this.#catalog.putCommits(commits);
  }

  ensure(specs: readonly TopicSpec[]): TopicState[] {
    for (const spec of specs) {
      const existing = this.#topics.get(spec.name);
      if (existing && existing.spec.partitions !== spec.partitions) {
        throw new MeridianError(
          'configuration',
          `ensuring topic ${spec.name} with ${spec.partitions} partitions: it has ${existing.spec.partitions}`,
          'never',
        );
      }
    }
    this.#catalog.putTopics(specs);
    for (const spec of specs) {
      const existing = this.#topics.get(spec.name);
      if (existing) existing.spec = spec;
      else this.#openTopic(spec);
    }
    return this.states();
  }

  /** One commit per topic: an error in one leaves the others. */
  append(request: AppendRequest): AppendResult[] {
    let at = 0;
    return request.topics.map(({ topic, entries }) => {
      const decoded: SliceEntry[] = [];
      for (let i = 0; i < entries.length; i += ENTRY_NUMBERS) {
        const keyBytes = entries[i + 1]!;
        const headersAt = at + Math.max(0, keyBytes);
        const valueAt = headersAt + entries[i + 2]!;
        const end = valueAt + entries[i + 3]!;
        decoded.push({
          partition: entries[i]!,
          key: keyBytes < 0 ? null : new Uint8Array(request.buffer, at, keyBytes),
          headers: new Uint8Array(request.buffer, headersAt, valueAt - headersAt),
          value: new Uint8Array(request.buffer, valueAt, end - valueAt),
        });
        at = end;
      }
      try {
        return { offsets: this.#topic(topic).append(decoded, request.nowMs, this.#bytesOutside(topic)) };
      } catch (error) {
        return { error: toWireError(error, `appending ${decoded.length} records to topic ${topic}`) };
      }
    });
  }

  #bytesOutside(topic: string): number {
    if (this.options.limits.bytesMax === Number.MAX_SAFE_INTEGER) return 0;
    let bytes = 0;
    for (const [name, other] of this.#topics) if (name !== topic) bytes += other.fileBytes();
    return bytes;
  }

  /** Work that nobody waits for; call it after the answer to an append has been sent. What fails here is tried again after later appends. */
  afterAppend(request: AppendRequest): void {
    for (const { topic } of request.topics) {
      try {
        this.#topics.get(topic)?.checkpointIfDue();
      } catch {
        // The records are durable in the WAL.
      }
    }
  }

  read(reads: readonly PartitionRead[]): ReadResult[] {
    let bytes = 0;
    return reads.map(({ topic, partition, fromOffset, bytesMax }) => {
      if (bytes >= this.options.limits.readBytesMax) return null;
      try {
        const most = Math.min(bytesMax, this.options.limits.readBytesMax - bytes);
        const records = this.#topic(topic).read(partition, fromOffset, most, this.options.limits.readRecordsMax);
        const result = encodeRecords(records);
        bytes += result.buffer.byteLength;
        return result;
      } catch (error) {
        return { error: toWireError(error, `reading ${topic}/${partition} from offset ${fromOffset}`) };
      }
    });
  }

  offsetAt(topic: string, partition: number, timeMs: number): number {
    return this.#topic(topic).offsetAt(partition, timeMs);
  }

  /** An error in one topic leaves the others. */
  expire(nowMs: number): ExpiredTopic[] {
    return [...this.#topics].map(([name, topic]) => {
      try {
        topic.expire(nowMs);
        return { topic: name, starts: topic.starts() };
      } catch (error) {
        return { topic: name, starts: topic.starts(), error: toWireError(error, `removing old records of ${name}`) };
      }
    });
  }

  close(): void {
    for (const topic of this.#topics.values()) topic.close();
    this.#topics.clear();
    this.#catalog.close();
  }

  #topic(name: string): SqliteTopic {
    const topic = this.#topics.get(name);
    if (!topic) throw new MeridianError('not-found', `there is no topic ${name}`, 'never');
    return topic;
  }
}

/** Copies the records into one buffer, which can then be handed over without another copy. */
function encodeRecords(records: readonly StoredRecord[]): ReadRecords {
  let length = 0;
  for (const r of records) {
    length += (r.key?.length ?? 0) + r.headers.length;
    for (const chunk of r.chunks) length += chunk.length;
  }
  const buffer = new ArrayBuffer(length);
  const bytes = new Uint8Array(buffer);
  const numbers: number[] = [];
  let at = 0;
  for (const { offset, appendedMs, key, headers, chunks } of records) {
    if (key) bytes.set(key, at);
    at += key?.length ?? 0;
    bytes.set(headers, at);
    at += headers.length;
    const valueAt = at;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    numbers.push(offset, appendedMs, key ? key.length : -1, headers.length, at - valueAt);
  }
  return { buffer, records: numbers };
}
