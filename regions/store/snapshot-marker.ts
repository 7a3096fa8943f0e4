import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { isSnapshotName } from './snapshot-record.js';

/** Remembers across processes that a restore has begun and not ended: the store is incomplete meanwhile. A file with the snapshot's name. */
export class RestoreMarker {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** Name of the snapshot whose restore was interrupted; null where none was. */
  async read(): Promise<string | null> {
    try {
      const name = (await readFile(this.#file, 'utf8')).trim();
      return isSnapshotName(name) ? name : 'of an unknown snapshot';
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw this.#unavailable('read', error);
    }
  }

  async set(name: string): Promise<void> {
    try {
      await mkdir(dirname(this.#file), { recursive: true });
      const file = await open(this.#file, 'w');
      try {
        await file.writeFile(`${name}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      throw this.#unavailable('write', error);
    }
  }

  async clear(): Promise<void> {
    await rm(this.#file, { force: true });
  }

  #unavailable(did: string, error: unknown): MeridianError {
    return new MeridianError('unavailable', `${did} ${this.#file}: ${messageOf(error)}`, 'later', { cause: error });
  }
}
