import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TopicSpec } from '../../global/log/span-log.js';
import { invariant } from '../../global/runtime/errors.js';
import type { LogLimits } from './log-limits.js';
import { sqliteCodeName } from './sqlite-errors.js';
import { removeSliceFiles, Slice, type SliceEntry, type StoredRecord, sliceFilesBytes } from './sqlite-slice.js';

/** A slice that takes no more appends; opened when somebody reads it. */
interface SealedSlice {
  readonly path: string;
  readonly firstOffsets: readonly number[];
  readonly newestMs: number;
  readonly fileBytes: number;
}

/** Sealed slices that a topic keeps open for reading. */
const OPEN_SEALED_MAX = 3;
/** Of its retention, the time after which a slice is sealed: what retention may keep too long. */
const SLICE_OF_RETENTION = 1 / 4;

/** A topic on disk: a folder of slices, the last of which takes the appends. Synchronous; lives on the log's thread. */
export class SqliteTopic {
  readonly #sealed: SealedSlice[] = [];
  /** In order of use, the last used last. */
  readonly #openSealed = new Map<SealedSlice, Slice>();
  #current: Slice | null = null;
  /** What was the current slice until its disk failed; opened again before the next append. */
  #failedPath: string | null = null;
  #nextNumber = 1;
  /** Where the next slice begins, while there is no current one. */
  #ends: readonly number[];

  constructor(
    public spec: TopicSpec,
    private readonly folder: string,
    private readonly limits: LogLimits,
  ) {
    this.#ends = new Array<number>(spec.partitions).fill(0);
    mkdirSync(folder, { recursive: true });
    const names = readdirSync(folder).filter((name) => /^\d{8}\.db$/.test(name));
    names.sort();
    for (const [index, name] of names.entries()) this.#load(name, index === names.length - 1);
  }

  #load(name: string, last: boolean): void {
    const path = join(this.folder, name);
    this.#nextNumber = Number.parseInt(name, 10) + 1;
    const slice = Slice.open(path);
    if (!slice) return;
    invariant(slice.places.length === this.spec.partitions, `${path} has ${slice.places.length} partitions`);
    this.#ends = slice.places.map((p) => p.endOffset);
    if (last && !slice.sealed) {
      this.#current = slice;
      return;
    }
    if (slice.sealed) slice.close();
    else slice.seal();
    this.#sealed.push(sealedSlice(slice));
  }

  ends(): number[] {
    return this.#current ? this.#current.places.map((p) => p.endOffset) : [...this.#ends];
  }

  starts(): number[] {
    const ends = this.ends();
    return ends.map((end, partition) => {
      for (const [index, slice] of this.#sealed.entries()) {
        const first = slice.firstOffsets[partition]!;
        const next = this.#sealed[index + 1]?.firstOffsets ?? this.#current?.places.map((p) => p.firstOffset);
        if (first < (next?.[partition] ?? end)) return first;
      }
      const places = this.#current?.places[partition];
      return places ? places.nextPresent(places.firstOffset) : end;
    });
  }

  fileBytes(): number {
    return this.#sealed.reduce((sum, slice) => sum + slice.fileBytes, this.#current?.fileBytes() ?? 0);
  }

  /** One durable commit; see `Slice.append`. `otherBytes`: the rest of the log on disk. */
  append(entries: readonly SliceEntry[], nowMs: number, otherBytes: number): number[] {
    const current = this.#writable();
    if (this.limits.bytesMax < Number.MAX_SAFE_INTEGER) {
      const sealedBytes = this.#sealed.reduce((sum, slice) => sum + slice.fileBytes, 0);
      current.limitBytes(this.limits.bytesMax - otherBytes - sealedBytes);
    }
    try {
      return current.append(entries, nowMs);
    } catch (error) {
      if (sqliteCodeName(error) !== 'SQLITE_FULL') this.#closeFailed(current);
      throw error;
    }
  }

  /** After a failure in the middle of a commit only the file knows what it holds. */
  #closeFailed(current: Slice): void {
    this.#ends = current.places.map((p) => p.endOffset);
    this.#current = null;
    this.#failedPath = current.path;
    current.close();
  }

  #writable(): Slice {
    if (this.#failedPath) {
      this.#current = Slice.open(this.#failedPath);
      this.#failedPath = null;
    }
    const { sliceBytesMax, sliceRecordsMax } = this.limits;
    const full = this.#current && (this.#current.bytes >= sliceBytesMax || this.#current.records >= sliceRecordsMax);
    if (full && !this.spec.compacted) this.#sealCurrent();
    this.#current ??= this.#createSlice();
    return this.#current;
  }

  #createSlice(): Slice {
    const path = join(this.folder, `${String(this.#nextNumber).padStart(8, '0')}.db`);
    this.#nextNumber++;
    try {
      return Slice.create(path, this.#ends);
    } catch (error) {
      removeSliceFiles(path);
      throw error;
    }
  }

  #sealCurrent(): void {
    const slice = this.#current!;
    this.#ends = slice.places.map((p) => p.endOffset);
    slice.seal();
    this.#current = null;
    this.#sealed.push(sealedSlice(slice));
  }

  checkpointIfDue(): void {
    this.#current?.checkpointIfDue();
  }

  /**
   * The records from `fromOffset` on: up to `bytesMax` of values and `recordsMax`, at least one; none at the end. The sizes are known before
   * anything is read.
   */
  read(partition: number, fromOffset: number, bytesMax: number, recordsMax: number): StoredRecord[] {
    const records: StoredRecord[] = [];
    let bytes = 0;
    let from = fromOffset;
    for (let index = this.#sliceIndexOf(partition, from); index <= this.#sealed.length; index++) {
      const slice = this.#sliceAt(index);
      const places = slice?.places[partition];
      if (!slice || !places) break;
      for (let at = places.nextPresent(from); at < places.endOffset; at = places.nextPresent(at + 1)) {
        bytes += places.bytesAt(at);
        if (records.length > 0 && (bytes > bytesMax || records.length >= recordsMax)) return records;
        records.push(slice.read(partition, at));
      }
      from = Math.max(from, places.endOffset);
    }
    return records;
  }

  offsetAt(partition: number, timeMs: number): number {
    for (let index = 0; index <= this.#sealed.length; index++) {
      const sealed = this.#sealed[index];
      if (sealed && sealed.newestMs < timeMs) continue;
      const places = this.#sliceAt(index)?.places[partition];
      if (!places) break;
      for (let at = places.nextPresent(places.firstOffset); at < places.endOffset; at = places.nextPresent(at + 1)) {
        if (places.timeAt(at) >= timeMs) return at;
      }
    }
    return this.ends()[partition]!;
  }

  /** Drops what is older than the retention, a slice at a time; compacts a compacted topic instead. */
  expire(nowMs: number): void {
    if (this.spec.compacted) {
      this.#current?.compact();
      return;
    }
    const { retentionMs } = this.spec;
    // What goes first: on a full disk the rest needs the room.
    while (this.#sealed[0] && this.#sealed[0].newestMs < nowMs - retentionMs) this.#dropOldestSealed();
    const current = this.#current;
    if (!current) return;
    if (current.newestMs < nowMs - retentionMs) {
      this.#ends = current.places.map((p) => p.endOffset);
      this.#current = this.#createSlice();
      current.close();
      removeSliceFiles(current.path);
    } else if (current.oldestMs < nowMs - retentionMs * SLICE_OF_RETENTION) {
      this.#sealCurrent();
    }
  }

  #dropOldestSealed(): void {
    // Some slice has to keep the ends.
    if (this.#sealed.length === 1) this.#current ??= this.#createSlice();
    const slice = this.#sealed.shift()!;
    this.#openSealed.get(slice)?.close();
    this.#openSealed.delete(slice);
    removeSliceFiles(slice.path);
  }

  close(): void {
    for (const slice of this.#openSealed.values()) slice.close();
    this.#openSealed.clear();
    this.#current?.close();
    this.#current = null;
  }

  /** The slice that holds the offset, or the oldest one. */
  #sliceIndexOf(partition: number, offset: number): number {
    let index = this.#sealed.length;
    if (this.#current && this.#current.places[partition]!.firstOffset <= offset) return index;
    while (index > 0 && this.#sealed[index - 1]!.firstOffsets[partition]! > offset) index--;
    return Math.max(0, index - 1);
  }

  #sliceAt(index: number): Slice | null {
    const sealed = this.#sealed[index];
    if (!sealed) return this.#current;
    const slice = this.#openSealed.get(sealed) ?? Slice.open(sealed.path);
    invariant(slice, `${sealed.path} was sealed and is empty`);
    this.#openSealed.delete(sealed);
    this.#openSealed.set(sealed, slice);
    for (const [oldest, open] of this.#openSealed) {
      if (this.#openSealed.size <= OPEN_SEALED_MAX) break;
      open.close();
      this.#openSealed.delete(oldest);
    }
    return slice;
  }
}

function sealedSlice(slice: Slice): SealedSlice {
  return {
    path: slice.path,
    firstOffsets: slice.places.map((p) => p.firstOffset),
    newestMs: slice.newestMs,
    fileBytes: sliceFilesBytes(slice.path),
  };
}
