import type { LogEntry } from '../../../global/log/span-log.js';
import { asBuffer } from '../../../global/runtime/bytes.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { Logger } from '../../../global/runtime/logger.js';
import { planRoom } from './room.js';
import { type ClassPiece, ROUTINE, SPOOL_CLASSES, type SpoolClass, splitByClass, VITAL } from './spool-class.js';
import type { ReachSpoolCrashPoint } from './spool-crash-points.js';
import type { SegmentFile, SpoolDisk } from './spool-disk.js';
import { encodeFrame, type Frame, readFrame } from './spool-frame.js';
import { asideBytesMax, type SpoolLimits } from './spool-limits.js';
import type { Place, SpoolObserver, SpoolRecord, SpoolState } from './spool-types.js';

interface Segment {
  readonly file: SegmentFile;
  /** Not yet replayed. */
  frames: number;
  spans: number;
  pins: number;
  readonly oldestMs: number;
}

interface Piece {
  readonly class: SpoolClass;
  readonly spanCount: number;
  readonly frame: Buffer;
  readonly valueBytes: number;
}

interface Put {
  readonly record: SpoolRecord;
  readonly bytes: number;
  /** Of the record: those that are kept, and those that find no room. */
  readonly pieces: Piece[];
  readonly left: Piece[];
  resolve(): void;
  reject(error: MeridianError): void;
}

/**
 * A bounded store of records on disk, in the order of their sequence. All that is put while a write is under way goes with the next: one write and
 * one sync per class for all of it. Which record finds room, and what is given up for it, is `planRoom`'s rule.
 */
export class Spool {
  readonly #segments = new Map<number, Segment>();
  readonly #cache = new Map<number, Buffer>();
  readonly #spans: [number, number, number] = [0, 0, 0];
  #bytes = 0;
  #records = 0;
  #queue: Put[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | null = null;
  #diskFailure: string | null = null;
  #isFull = false;
  #isClosed = false;

  constructor(
    private readonly disk: SpoolDisk,
    private readonly limits: SpoolLimits,
    private readonly observer: SpoolObserver,
    private readonly reach: ReachSpoolCrashPoint,
    private readonly logger: Logger,
  ) {}

  /** Tells the observer all that is there, in order; resolves with the replayed position. Rejects as `SpoolDisk.open`. */
  async open(): Promise<ReadonlyMap<number, number>> {
    const { segments, position } = await this.disk.open();
    const places: Place[] = [];
    for (const { file, frames } of segments) {
      const left = frames.filter(({ partition, sequence }) => sequence >= (position.next.get(partition) ?? 0));
      if (left.length === 0) {
        await this.disk.remove(file);
        continue;
      }
      for (const { partition, sequence, at, spanCount, valueBytes } of left) {
        places.push({ partition, sequence, segment: file.id, at, spanCount, valueBytes });
      }
      this.#bytes += file.bytes;
      this.#add(file, left[0]!.arrivedMs, left);
    }
    this.observer.stored(places.sort((a, b) => a.sequence - b.sequence));
    return position.next;
  }

  state(): SpoolState {
    let oldestMs: number | null = null;
    for (const segment of this.#segments.values()) oldestMs = Math.min(oldestMs ?? segment.oldestMs, segment.oldestMs);
    return {
      bytes: this.#bytes + this.disk.asideBytes,
      records: this.#records,
      spans: [...this.#spans],
      oldestMs,
      diskFailure: this.#diskFailure,
      isFull: this.#isFull,
    };
  }

  /** Resolves when the record is durable. Rejects with `unavailable` (later): no room, no disk; it may then be in the spool in part. */
  put(record: SpoolRecord): Promise<void> {
    const { entry } = record;
    const bytes = entry.value.length + (entry.key?.length ?? 0);
    if (bytes > this.limits.entryBytesMax) {
      this.observer.refused('too-large');
      return Promise.reject(
        unavailable(`a record of ${bytes} bytes is more than it takes (${this.limits.entryBytesMax})`),
      );
    }
    if (this.#isClosed || this.#queuedBytes + bytes > this.limits.queuedBytesMax) {
      this.observer.refused('queue');
      const what = this.#isClosed ? 'it is closed' : `${this.#queuedBytes} bytes wait for the disk already`;
      return Promise.reject(unavailable(what));
    }
    this.#queuedBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ record, bytes, pieces: [], left: [], resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  async #write(): Promise<void> {
    // What is put in the same turn goes together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      let bytes = 0;
      let count = 0;
      while (
        count < this.#queue.length &&
        (count === 0 || bytes + this.#queue[count]!.bytes <= this.limits.groupBytesMax)
      ) {
        bytes += this.#queue[count++]!.bytes;
      }
      await this.#writeGroup(this.#queue.splice(0, count));
      this.#queuedBytes -= bytes;
    }
    this.#writing = null;
    await this.#sweep();
  }

  async #writeGroup(group: readonly Put[]): Promise<void> {
    const taken: Put[] = [];
    for (const put of group) if (await this.#makeRoom(put)) taken.push(put);
    if (taken.length === 0) return;
    this.reach('spool.before-write');
    const written = await Promise.all(SPOOL_CLASSES.map((_, i) => this.#writeClass(i as SpoolClass, taken)));
    // All at once and in order: a piece that is known too early would be replayed before what belongs before it.
    const places = written.flatMap((own) => own.places).sort((a, b) => a.sequence - b.sequence);
    this.observer.stored(places);
    const failures = written.map((own) => own.error);
    const failure = failures.find((error) => error !== null) ?? null;
    this.#diskFailure = failure && messageOf(failure);
    if (failure === null) this.reach('spool.after-sync');
    else this.logger.error({ detail: messageOf(failure) }, 'spool: the disk takes nothing');
    for (const put of taken) {
      if (failures.some((error, i) => error !== null && put.pieces.some((piece) => piece.class === i))) {
        this.observer.refused('disk');
        put.reject(unavailable(`its disk failed: ${messageOf(failure)}`));
        continue;
      }
      for (const piece of put.left) this.observer.dropped(piece.class, piece.spanCount);
      put.resolve();
    }
  }

  /** Cuts the record into its pieces and reserves room for those that are kept; false where it was refused. */
  async #makeRoom(put: Put): Promise<boolean> {
    const { record } = put;
    const pieces = classPieces(record.entry.value).map(({ class: spoolClass, bytes, spanCount }) => {
      const frame: Frame = { ...record, class: spoolClass, spanCount, entry: { ...record.entry, value: bytes } };
      return { class: spoolClass, spanCount, valueBytes: bytes.length, frame: encodeFrame(frame) };
    });
    const { evict, keep } = planRoom(
      this.limits.bytesMax,
      this.#bytes + this.disk.asideBytes,
      [...this.#segments.values()].map(({ file, pins }) => ({ ...file, isPinned: pins > 0 })),
      pieces.map((piece) => ({ class: piece.class, bytes: piece.frame.length })),
    );
    this.#isFull = keep.every((kept) => !kept);
    if (this.#isFull) {
      this.observer.refused('full');
      put.reject(unavailable(`it is full (${this.#bytes} of ${this.limits.bytesMax} bytes)`));
      return false;
    }
    // Taken before anything is awaited: a segment is not pinned, nor a place of it read, once it is given up.
    const given = evict.map((id) => this.#forget(id));
    for (const { file, spans } of given) {
      this.observer.evicted(file.id);
      this.observer.dropped(file.class, spans);
      await this.disk.remove(file);
      this.reach('spool.after-evict');
    }
    for (const [i, piece] of pieces.entries()) {
      if (!keep[i]) {
        put.left.push(piece);
        continue;
      }
      this.#bytes += piece.frame.length;
      put.pieces.push(piece);
    }
    return true;
  }

  async #writeClass(
    spoolClass: SpoolClass,
    puts: readonly Put[],
  ): Promise<{ readonly places: readonly Place[]; readonly error: unknown }> {
    const pieces = puts.flatMap((put) =>
      put.pieces.filter((piece) => piece.class === spoolClass).map((piece) => ({ put, piece })),
    );
    if (pieces.length === 0) return { places: [], error: null };
    const bytes = Buffer.concat(pieces.map(({ piece }) => piece.frame));
    try {
      const { file, at } = await this.disk.append(spoolClass, bytes);
      let next = at;
      const places = pieces.map(({ put, piece: { spanCount, valueBytes, frame } }): Place => {
        const { partition, sequence } = put.record;
        const place = { partition, sequence, segment: file.id, at: next, spanCount, valueBytes };
        next += frame.length;
        return place;
      });
      this.#add(file, pieces[0]!.put.record.arrivedMs, places);
      return { places, error: null };
    } catch (error) {
      this.#bytes -= bytes.length;
      return { places: [], error };
    }
  }

  #add(file: SegmentFile, oldestMs: number, frames: readonly { readonly spanCount: number }[]): void {
    let segment = this.#segments.get(file.id);
    if (!segment) {
      segment = { file, frames: 0, spans: 0, pins: 0, oldestMs };
      this.#segments.set(file.id, segment);
    }
    const spans = frames.reduce((sum, frame) => sum + frame.spanCount, 0);
    segment.frames += frames.length;
    segment.spans += spans;
    this.#records += frames.length;
    this.#spans[file.class] += spans;
  }

  #forget(id: number): Segment {
    const segment = this.#segments.get(id)!;
    this.#segments.delete(id);
    this.#cache.delete(id);
    this.#bytes -= segment.file.bytes;
    this.#records -= segment.frames;
    this.#spans[segment.file.class] -= segment.spans;
    return segment;
  }

  /** Keeps the segments of these places from being given up until `release` or `done`. Call it in the turn in which they were chosen. */
  pin(places: readonly Place[]): void {
    for (const { segment } of places) this.#segments.get(segment)!.pins++;
  }

  release(places: readonly Place[]): void {
    for (const { segment } of places) this.#segments.get(segment)!.pins--;
  }

  /**
   * The record whose pieces stand at these (pinned) places, joined; null where all of them are damaged. A file that cannot be read rejects with the
   * disk's error, or counts as damaged where it is given up.
   */
  async read(places: readonly Place[], isLastTry: boolean): Promise<LogEntry | null> {
    const entries: LogEntry[] = [];
    for (const place of places) {
      try {
        entries.push(readFrame(await this.#bytesOf(place), place.at).entry);
      } catch (error) {
        if (!isLastTry && !(error instanceof MeridianError)) throw error;
        this.observer.damaged(place.spanCount);
        const { path } = this.#segments.get(place.segment)!.file;
        this.logger.error({ path, at: place.at, detail: messageOf(error) }, 'spool: a record is damaged');
      }
    }
    const [first] = entries;
    if (!first || entries.length === 1) return first ?? null;
    // Messages one after the other are one message.
    return { ...first, value: Buffer.concat(entries.map((entry) => entry.value)) };
  }

  async #bytesOf({ segment: id, at }: Place): Promise<Buffer> {
    const known = this.#cache.get(id);
    this.#cache.delete(id);
    const { file } = this.#segments.get(id)!;
    // A segment that is still written to grows; what stands behind its whole frames now may be half of one.
    const wholeBytes = file.bytes;
    const bytes = known && at < known.length ? known : (await this.disk.read(file)).subarray(0, wholeBytes);
    this.#cache.set(id, bytes);
    let cached = 0;
    for (const buffer of this.#cache.values()) cached += buffer.length;
    for (const [oldest, buffer] of this.#cache) {
      if (cached <= this.limits.cacheBytesMax || this.#cache.size === 1) break;
      this.#cache.delete(oldest);
      cached -= buffer.length;
    }
    return bytes;
  }

  /** Durably: everything of the partitions before these sequences is in the log, and these (pinned) places with it. Rejects with the disk's error. */
  async done(next: ReadonlyMap<number, number>, places: readonly Place[]): Promise<void> {
    try {
      await this.disk.writePosition(next);
      this.reach('spool.after-position');
    } finally {
      // Where the position could not be written they are replayed again after a crash, which is allowed.
      await this.#removeDone(places);
    }
  }

  async #removeDone(places: readonly Place[]): Promise<void> {
    for (const { segment: id, spanCount } of places) {
      const segment = this.#segments.get(id)!;
      segment.pins--;
      segment.frames--;
      segment.spans -= spanCount;
      this.#records--;
      this.#spans[segment.file.class] -= spanCount;
    }
    await this.#sweep();
  }

  /** Removes the segments of which all was replayed; not while something is written, which may go into one of them. */
  async #sweep(): Promise<void> {
    if (this.#writing !== null) return;
    const empty = [...this.#segments.values()].filter((segment) => segment.frames === 0 && segment.pins === 0);
    for (const { file } of empty) this.#forget(file.id);
    if (empty.length > 0) this.#isFull = false;
    // All are closed for appends in this turn: one that waited for its removal would be written to, and then removed.
    await Promise.all(empty.map(({ file }) => this.disk.remove(file).then(() => this.reach('spool.after-delete'))));
  }

  /** Keeps a record that the log refuses for good; the path, or null where there is no room for it. */
  async setAside(record: SpoolRecord, spanCount: number): Promise<string | null> {
    const frame = encodeFrame({ ...record, class: VITAL, spanCount });
    if (this.disk.asideBytes + frame.length > asideBytesMax(this.limits.bytesMax)) return null;
    return this.disk.setAside(frame, `${record.partition}-${record.sequence}`);
  }

  /** Finishes what was put and closes the files, which stay. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.disk.close();
  }
}

function classPieces(value: Uint8Array): readonly ClassPiece[] {
  try {
    const pieces = splitByClass(asBuffer(value));
    if (pieces.length > 0) return pieces;
  } catch (error) {
    if (!(error instanceof MeridianError)) throw error;
  }
  // Nothing that the collector makes; the log is to judge it.
  return [{ class: ROUTINE, bytes: asBuffer(value), spanCount: 0 }];
}

function unavailable(what: string): MeridianError {
  return new MeridianError('unavailable', `the spool does not take it: ${what}`, 'later');
}
