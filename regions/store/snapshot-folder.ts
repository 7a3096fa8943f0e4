import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { UINT64_MAX } from '../../global/model/time.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { readEncodedBlock } from '../segments/block-codec.js';
import type { SegmentStoreRetention, SegmentStoreWriter } from './segment-store.js';
import {
  encodeSnapshotRecord,
  isSnapshotName,
  parseSnapshotRecord,
  type SnapshotEngine,
  type SnapshotRecord,
} from './snapshot-record.js';
import { databasePath, openForReading, unavailable } from './store-database.js';

export interface FolderSnapshotsOptions {
  /** Of the embedded store (`SqliteSegmentStoreOptions.folder`). */
  readonly storeFolder: string;
  /** That store, without its tiers. */
  readonly store: SegmentStoreWriter & SegmentStoreRetention;
  /** Snapshots go here, each in a folder of its name; made where it is missing. */
  readonly folder: string;
}

const RECORD_FILE = 'snapshot.json';
/** Of one write while restoring. */
const RESTORE_BYTES_MAX = 8 * 1024 * 1024;

/** Snapshots of the embedded store: whole copies of its database, made on a thread of their own while it is in use. */
export function createFolderSnapshots(options: FolderSnapshotsOptions): SnapshotEngine {
  return new FolderSnapshots(options);
}

class FolderSnapshots implements SnapshotEngine {
  readonly #options: FolderSnapshotsOptions;

  constructor(options: FolderSnapshotsOptions) {
    this.#options = options;
  }

  create(record: SnapshotRecord): Promise<void> {
    const folder = this.#path(record.name);
    return attempting(`write snapshot ${folder}`, async () => {
      await this.#clear();
      const partial = `${folder}.partial`;
      await mkdir(partial, { recursive: true });
      try {
        await copyDatabase(databasePath(this.#options.storeFolder), databasePath(partial));
        const file = await open(join(partial, RECORD_FILE), 'w');
        try {
          await file.writeFile(encodeSnapshotRecord(record));
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(partial, folder);
        await sync(this.#options.folder);
      } catch (error) {
        await rm(partial, { recursive: true, force: true });
        throw error;
      }
    });
  }

  list(): Promise<readonly SnapshotRecord[]> {
    return attempting(`list snapshots in ${this.#options.folder}`, async () => {
      const names = await readdir(this.#options.folder).catch(() => []);
      const records: SnapshotRecord[] = [];
      for (const name of names.filter(isSnapshotName)) {
        const file = join(this.#path(name), RECORD_FILE);
        records.push(parseSnapshotRecord(await readFile(file, 'utf8'), file));
      }
      return records;
    });
  }

  remove(name: string): Promise<void> {
    return attempting(`remove snapshot ${this.#path(name)}`, () =>
      rm(this.#path(name), { recursive: true, force: true }),
    );
  }

  restore(name: string): Promise<void> {
    return attempting(`restore snapshot ${this.#path(name)}`, async () => {
      const db = openForReading(this.#path(name));
      try {
        await this.#options.store.expire(UINT64_MAX);
        await this.#copyBlocks(db);
      } finally {
        db.close();
      }
    });
  }

  async #copyBlocks(db: DatabaseSyncInstance): Promise<void> {
    const rows = db.prepare('SELECT pack, length(bytes) AS length FROM packs WHERE pack > ? ORDER BY pack LIMIT 256');
    const bytesOf = db.prepare('SELECT bytes FROM packs WHERE pack = ?');
    for (let after = -1; ; ) {
      const some = rows.all(after) as { pack: number; length: number }[];
      if (some.length === 0) return;
      let total = 0;
      const blocks = [];
      for (const { pack, length } of some) {
        total += length;
        if (blocks.length > 0 && total > RESTORE_BYTES_MAX) break;
        blocks.push(readEncodedBlock(asBuffer((bytesOf.get(pack) as { bytes: Uint8Array }).bytes)));
        after = pack;
      }
      await this.#options.store.write(blocks);
    }
  }

  /** What a crash left half made. */
  async #clear(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true });
    for (const name of await readdir(this.#options.folder)) {
      if (name.endsWith('.partial')) await rm(join(this.#options.folder, name), { recursive: true, force: true });
    }
  }

  #path(name: string): string {
    if (!isSnapshotName(name)) throw new MeridianError('invalid', `"${name}" is no name of a snapshot`, 'never');
    return join(this.#options.folder, name);
  }
}

function copyDatabase(from: string, to: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(compiledModule('regions/store/snapshot-copy-worker'), { workerData: { from, to } });
    worker.once('error', reject);
    worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`its thread ended with ${code}`))));
  });
}

async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

async function attempting<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MeridianError)
      throw new MeridianError(error.code, `${what}: ${messageOf(error)}`, error.retry, { cause: error });
    throw unavailable(what, error);
  }
}
