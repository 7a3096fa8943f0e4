import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';

/**
 * Keeps a second process away from a folder: the exclusive lock of an empty SQLite file, which the kernel takes back however the process ends.
 * Nothing is written, so a full disk does not stand in the way. Throws `configuration` where another holds it.
 */
export function lockFolder(folder: string, path: string): { release(): void } {
  let db: DatabaseSyncInstance | null = null;
  try {
    db = new DatabaseSync(path);
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT');
    const held = db;
    return { release: () => held.close() };
  } catch (error) {
    db?.close();
    throw new MeridianError(
      'configuration',
      `spoolDir: cannot lock ${folder} (${messageOf(error)}); each collector needs a folder of its own`,
      'never',
      { cause: error },
    );
  }
}
