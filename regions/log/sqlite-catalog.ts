import { join } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import type { TopicSpec } from '../../global/log/span-log.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { CommitRow } from './log-protocol.js';
import { sqliteCodeName } from './sqlite-errors.js';

const CATALOG_VERSION = 1;

/** The topics and the groups' commits, in `log.db`. Its exclusive lock keeps a second process away from the folder. */
export class SqliteCatalog {
  readonly #db: DatabaseSyncInstance;
  readonly #putCommit;

  constructor(folder: string) {
    const path = join(folder, 'log.db');
    this.#db = new DatabaseSync(path);
    try {
      this.#db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL');
      this.#prepare(path);
      this.#putCommit = this.#db.prepare('INSERT OR REPLACE INTO commits VALUES(?, ?, ?, ?)');
    } catch (error) {
      this.#db.close();
      if (sqliteCodeName(error) !== 'SQLITE_BUSY') throw error;
      throw new MeridianError('refused', `opening the log in ${folder}: another process has it open`, 'later');
    }
  }

  #prepare(path: string): void {
    this.#db.exec('BEGIN IMMEDIATE');
    const { user_version: version }: { user_version: number } = this.#db.prepare('PRAGMA user_version').get();
    if (version !== 0 && version !== CATALOG_VERSION) {
      this.#db.exec('ROLLBACK');
      throw new MeridianError('unknown-version', `opening ${path}: version ${version} is not known`, 'never');
    }
    this.#db.exec(`
      CREATE TABLE IF NOT EXISTS topics(
        name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention_ms INTEGER NOT NULL, compacted INTEGER NOT NULL
      ) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS commits(
        consumer_group TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
        PRIMARY KEY(consumer_group, topic, partition)
      ) WITHOUT ROWID;
      PRAGMA user_version = ${CATALOG_VERSION};
      COMMIT;
    `);
  }

  topics(): TopicSpec[] {
    const rows: { name: string; partitions: number; retention_ms: number; compacted: number }[] = this.#db
      .prepare('SELECT name, partitions, retention_ms, compacted FROM topics ORDER BY name')
      .all();
    return rows.map((row) => ({
      name: row.name,
      partitions: row.partitions,
      retentionMs: row.retention_ms,
      compacted: row.compacted === 1,
    }));
  }

  putTopics(topics: readonly TopicSpec[]): void {
    const put = this.#db.prepare('INSERT OR REPLACE INTO topics VALUES(?, ?, ?, ?)');
    this.#transaction(() => {
      for (const t of topics) put.run(t.name, t.partitions, t.retentionMs, t.compacted ? 1 : 0);
    });
  }

  commits(): CommitRow[] {
    const rows: { consumer_group: string; topic: string; partition: number; next_offset: number }[] = this.#db
      .prepare('SELECT consumer_group, topic, partition, next_offset FROM commits')
      .all();
    return rows.map((row) => [row.consumer_group, row.topic, row.partition, row.next_offset]);
  }

  putCommits(commits: readonly CommitRow[]): void {
    this.#transaction(() => {
      for (const row of commits) this.#putCommit.run(...row);
    });
  }

  #transaction(work: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      work();
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }
}
