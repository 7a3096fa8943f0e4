import { type FileHandle, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import type { Logger } from '../../../global/runtime/logger.js';
import { SPOOL_CLASSES, type SpoolClass } from './spool-class.js';
import type { ReachSpoolCrashPoint } from './spool-crash-points.js';
import { type ScannedFrame, scanFrames } from './spool-frame.js';
import { lockFolder } from './spool-lock.js';
import { decodePosition, encodePosition, type ReplayPosition } from './spool-position.js';

/** What the spool needs of the file system; tests give one that fails. */
export interface SpoolFiles {
  open(path: string, flags: string): Promise<FileHandle>;
  readFile(path: string): Promise<Buffer>;
  remove(path: string): Promise<void>;
}

export const realSpoolFiles: SpoolFiles = { open, readFile: (path) => readFile(path), remove: (path) => rm(path) };

export interface SegmentFile {
  /** Grows with age: the order of arrival within a class. */
  readonly id: number;
  readonly class: SpoolClass;
  readonly path: string;
  /** Of whole frames. */
  bytes: number;
}

export interface FoundSegment {
  readonly file: SegmentFile;
  readonly frames: readonly ScannedFrame[];
}

const POSITION_FILES = ['position-a', 'position-b'] as const;
const ASIDE_SUFFIX = '.aside';
const SEGMENT = /^(\d{10})-(routine|notable|vital)\.spool$/;

export interface SpoolDiskOptions {
  readonly folder: string;
  readonly segmentBytesMax: number;
  readonly files: SpoolFiles;
  readonly logger: Logger;
  readonly reach: ReachSpoolCrashPoint;
}

/**
 * The files of a spool: per class the frames in order of arrival, cut into segments (`0000000042-vital.spool`), two files for the position, and
 * what was set aside. It does what it is told, one writer at a time, and knows no policy. Rejections are the file system's own errors.
 */
export class SpoolDisk {
  readonly #active = new Map<SpoolClass, { readonly file: SegmentFile; readonly handle: FileHandle }>();
  #nextId = 1;
  #folder: FileHandle | null = null;
  #lock: { release(): void } | null = null;
  #generation = 0;
  #asideBytes = 0;

  constructor(private readonly options: SpoolDiskOptions) {}

  get asideBytes(): number {
    return this.#asideBytes;
  }

  /**
   * Takes the folder (made where it is not there) and finds what is in it, oldest first. A torn end of a file is cut. Throws `configuration` where
   * the folder cannot be used or another process has it, and `unknown-version`.
   */
  async open(): Promise<{ readonly segments: readonly FoundSegment[]; readonly position: ReplayPosition }> {
    const { folder, files } = this.options;
    try {
      await mkdir(folder, { recursive: true });
      this.#lock = lockFolder(folder, join(folder, 'lock.db'));
      this.#folder = await files.open(folder, 'r');
      const names = (await readdir(folder)).sort();
      const segments: FoundSegment[] = [];
      for (const name of names) {
        const match = SEGMENT.exec(name);
        if (match) {
          const found = await this.#scan(Number(match[1]), classNamed(match[2]!), name);
          if (found) segments.push(found);
        } else if (name.endsWith(ASIDE_SUFFIX)) this.#asideBytes += (await files.readFile(join(folder, name))).length;
      }
      return { segments, position: await this.#readPosition(names) };
    } catch (error) {
      await this.close();
      if (error instanceof MeridianError) throw error;
      const what = `spoolDir: cannot use ${folder}: ${messageOf(error)} (spoolBytesMax 0 goes without a spool)`;
      throw new MeridianError('configuration', what, 'never', { cause: error });
    }
  }

  async #scan(id: number, spoolClass: SpoolClass, name: string): Promise<FoundSegment | null> {
    const { folder, files, logger } = this.options;
    this.#nextId = Math.max(this.#nextId, id + 1);
    const path = join(folder, name);
    const bytes = await files.readFile(path);
    const { frames, wholeBytes } = scanFrames(bytes);
    if (wholeBytes < bytes.length) {
      const cutBytes = bytes.length - wholeBytes;
      logger.warn(
        { path, wholeBytes, cutBytes },
        'spool: a file ends in a write that was never finished; it is cut there',
      );
    }
    const file: SegmentFile = { id, class: spoolClass, path, bytes: bytes.length };
    if (frames.length > 0) return { file, frames };
    await this.remove(file);
    return null;
  }

  async #readPosition(names: readonly string[]): Promise<ReplayPosition> {
    let latest: ReplayPosition = { generation: 0, next: new Map() };
    for (const name of POSITION_FILES) {
      if (!names.includes(name)) continue;
      const position = decodePosition(await this.options.files.readFile(join(this.options.folder, name)));
      if (position && position.generation > latest.generation) latest = position;
    }
    this.#generation = latest.generation;
    return latest;
  }

  /**
   * Appends to the class's youngest segment, or to a new one where that is full, and resolves with where when the bytes are durable. After a
   * rejection none of them are in a file that is still written to, though they may be found after a restart.
   */
  async append(spoolClass: SpoolClass, bytes: Buffer): Promise<{ readonly file: SegmentFile; readonly at: number }> {
    const active = await this.#activeOf(spoolClass);
    const { file, handle } = active;
    const at = file.bytes;
    try {
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, at);
      if (bytesWritten < bytes.length)
        throw new Error(`${file.path}: ${bytesWritten} of ${bytes.length} bytes written`);
      this.options.reach('spool.after-write');
      await handle.datasync();
    } catch (error) {
      // What a file system keeps of a write that it could not sync is not known: nothing is written behind it.
      this.#active.delete(spoolClass);
      await handle.truncate(at).catch(() => {});
      await handle.close().catch(() => {});
      if (at === 0) await this.remove(file);
      throw error;
    }
    file.bytes += bytes.length;
    return { file, at };
  }

  async #activeOf(spoolClass: SpoolClass): Promise<{ readonly file: SegmentFile; readonly handle: FileHandle }> {
    const { folder, files, segmentBytesMax } = this.options;
    const known = this.#active.get(spoolClass);
    if (known && known.file.bytes < segmentBytesMax) return known;
    await this.#seal(spoolClass);
    const id = this.#nextId++;
    const path = join(folder, `${String(id).padStart(10, '0')}-${SPOOL_CLASSES[spoolClass]}.spool`);
    const file: SegmentFile = { id, class: spoolClass, path, bytes: 0 };
    const active = { file, handle: await files.open(path, 'wx') };
    this.#active.set(spoolClass, active);
    try {
      // The name too must be durable before what is in the file is acknowledged.
      await this.#folder?.sync();
    } catch (error) {
      await this.remove(file);
      throw error;
    }
    return active;
  }

  async #seal(spoolClass: SpoolClass): Promise<void> {
    const active = this.#active.get(spoolClass);
    this.#active.delete(spoolClass);
    await active?.handle.close().catch(() => {});
  }

  /** The whole file. */
  read(file: SegmentFile): Promise<Buffer> {
    return this.options.files.readFile(file.path);
  }

  /** Gives a segment up. One that cannot be removed is only logged: it will be replayed after the next start. */
  async remove(file: SegmentFile): Promise<void> {
    if (this.#active.get(file.class)?.file === file) await this.#seal(file.class);
    await this.options.files.remove(file.path).catch((error: unknown) => {
      this.options.logger.warn({ path: file.path, detail: messageOf(error) }, 'spool: cannot remove a file');
    });
  }

  /** Durable when it resolves. */
  async writePosition(next: ReadonlyMap<number, number>): Promise<void> {
    const generation = this.#generation + 1;
    const handle = await this.options.files.open(join(this.options.folder, POSITION_FILES[generation % 2]!), 'w');
    try {
      await handle.write(encodePosition({ generation, next }));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    // The names are durable once: both files stay.
    if (generation <= 2) await this.#folder?.sync();
    this.#generation = generation;
  }

  /** Keeps a frame that the log refused for good in a file of its own, for a person. Durable when it resolves with its path. */
  async setAside(frame: Buffer, name: string): Promise<string> {
    const path = join(this.options.folder, `${name}${ASIDE_SUFFIX}`);
    const handle = await this.options.files.open(path, 'w');
    try {
      await handle.write(frame);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await this.#folder?.sync();
    this.#asideBytes += frame.length;
    return path;
  }

  /** Closes what is open; the files stay. */
  async close(): Promise<void> {
    for (const spoolClass of [...this.#active.keys()]) await this.#seal(spoolClass);
    await this.#folder?.close();
    this.#folder = null;
    this.#lock?.release();
    this.#lock = null;
  }
}

function classNamed(name: string): SpoolClass {
  return (SPOOL_CLASSES as readonly string[]).indexOf(name) as SpoolClass;
}
