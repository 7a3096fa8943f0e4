import { closeSync, fsyncSync, openSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { DatabaseSync } from '@photostructure/sqlite';

/** A thread that copies one database consistently, as it is in one moment, while others write it; then it ends. */
const { from, to } = workerData as { readonly from: string; readonly to: string };
const db = new DatabaseSync(from, { timeout: 30_000 });
try {
  db.prepare('VACUUM INTO ?').run(to);
} finally {
  db.close();
}
const file = openSync(to, 'r+');
fsyncSync(file);
closeSync(file);
