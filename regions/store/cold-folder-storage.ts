import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { invariant, MeridianError, messageOf } from '../../global/runtime/errors.js';
import { isObjectName, LIST_OBJECTS_MAX, type ObjectStorage, type StoredObject } from './cold-object-storage.js';

/** Not an object's name: a file that was being written when the process ended. */
const PARTIAL = '~';

/**
 * Objects as files below a folder, which is made where it is missing. A file is written under another name, flushed and then renamed, so that
 * a crash leaves no half object; what crashes leave behind is removed here. For one process.
 */
export async function openFolderStorage(folder: string): Promise<ObjectStorage> {
  const storage = new FolderStorage(folder);
  await storage.prepare();
  return storage;
}

class FolderStorage implements ObjectStorage {
  readonly #folder: string;
  #partials = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async prepare(): Promise<void> {
    await doing(`open object folder ${this.#folder}`, async () => {
      await mkdir(this.#folder, { recursive: true });
      for (const name of await readdir(this.#folder)) {
        // Not what another storage of this very process is writing.
        if (name.startsWith(PARTIAL) && !name.startsWith(`${PARTIAL}${process.pid}-`))
          await rm(join(this.#folder, name), { force: true });
      }
    });
  }

  read(name: string, from: number, length: number): Promise<Buffer> {
    const what = `read ${length} bytes at ${from} of object ${this.#path(name)}`;
    const work = async () => {
      const file = await open(this.#path(name), 'r');
      try {
        return await readFully(file, from, length, what);
      } finally {
        await file.close();
      }
    };
    return doing(what, work, true);
  }

  list(prefix: string, after: string | null): Promise<readonly StoredObject[]> {
    return doing(`list objects "${prefix}" in ${this.#folder}`, async () => {
      const objects: StoredObject[] = [];
      for await (const name of this.#names('', prefix, after)) {
        const found = await stat(this.#path(name)).catch(() => null);
        if (found) objects.push({ name, bytes: found.size });
        if (objects.length === LIST_OBJECTS_MAX) break;
      }
      return objects;
    });
  }

  put(name: string, bytes: Buffer): Promise<void> {
    const path = this.#path(name);
    return doing(`write object ${path} of ${bytes.length} bytes`, async () => {
      const partial = join(this.#folder, `${PARTIAL}${process.pid}-${this.#partials++}`);
      try {
        const file = await open(partial, 'w');
        try {
          await file.writeFile(bytes);
          await file.sync();
        } finally {
          await file.close();
        }
        await this.#makeFolders(dirname(path));
        await rename(partial, path);
        await syncFolder(dirname(path));
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
    });
  }

  remove(name: string): Promise<void> {
    return doing(`remove object ${this.#path(name)}`, () => rm(this.#path(name), { force: true }));
  }

  async close(): Promise<void> {}

  /** Each new folder is durable in its parent before something is put into it. */
  async #makeFolders(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true });
    if (first === undefined) return;
    for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
  }

  /** In order of the whole names: a folder stands where its name with a slash does. */
  async *#names(within: string, prefix: string, after: string | null): AsyncGenerator<string> {
    const entries = await readdir(join(this.#folder, within), { withFileTypes: true }).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    });
    const names = entries
      .filter((entry) => !entry.name.startsWith(PARTIAL))
      .map((entry) => `${within}${entry.name}${entry.isDirectory() ? '/' : ''}`)
      .sort();
    for (const name of names) {
      if (name.endsWith('/')) {
        const wanted = name.startsWith(prefix) || prefix.startsWith(name);
        // Everything in it begins with its name.
        const passed = after !== null && name < after && !after.startsWith(name);
        if (wanted && !passed) yield* this.#names(name, prefix, after);
      } else if (name.startsWith(prefix) && (after === null || name > after)) {
        yield name;
      }
    }
  }

  #path(name: string): string {
    invariant(isObjectName(name), `object name "${name}"`);
    return join(this.#folder, name);
  }
}

async function readFully(file: FileHandle, from: number, length: number, what: string): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, length - at, from + at);
    if (bytesRead === 0) throw new MeridianError('malformed', `${what}: it ends after ${from + at} bytes`, 'never');
    at += bytesRead;
  }
  return bytes;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function doing<T>(what: string, work: () => Promise<T>, reading = false): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MeridianError) throw error;
    const missing = reading && codeOf(error) === 'ENOENT';
    throw new MeridianError(
      missing ? 'not-found' : 'unavailable',
      `${what}: ${messageOf(error)}`,
      missing ? 'never' : 'later',
      {
        cause: error,
      },
    );
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
