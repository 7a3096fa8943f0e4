import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';

/** Texts kept in memory; beyond it the memory starts anew (the table stays). */
const CACHED_MAX = 100_000;

/**
 * Texts and their numbers in one table (`id`, `text`). A number never changes its text and is never given again, so what a
 * reader remembers stays true.
 */
export class SqliteDictionary {
  readonly #numbers = new Map<string, number>();
  readonly #texts = new Map<number, string>();
  readonly #find: StatementSyncInstance;
  readonly #get: StatementSyncInstance;
  readonly #insert: StatementSyncInstance | null;
  #handedOut: Set<number> | null = null;

  constructor(
    private readonly database: DatabaseSyncInstance,
    private readonly table: 'name' | 'block',
    writable: boolean,
  ) {
    this.#find = database.prepare(`SELECT id FROM ${table} WHERE text = ?`);
    this.#get = database.prepare(`SELECT text FROM ${table} WHERE id = ?`);
    this.#insert = writable ? database.prepare(`INSERT INTO ${table} (text) VALUES (?)`) : null;
  }

  /** The text's number; a new text gets one (in the caller's transaction). */
  readonly number = (text: string): number => {
    let number = this.#numbers.get(text);
    if (number === undefined) {
      const row = this.#find.get(text) as { id: number } | undefined;
      number = row ? row.id : Number(this.#insert!.run(text).lastInsertRowid);
      this.#remember(number, text);
    }
    this.#handedOut?.add(number);
    return number;
  };

  readonly text = (number: number): string | undefined => {
    let text = this.#texts.get(number);
    if (text === undefined) {
      text = (this.#get.get(number) as { text: string } | undefined)?.text;
      if (text !== undefined) this.#remember(number, text);
    }
    return text;
  };

  #remember(number: number, text: string): void {
    if (this.#texts.size >= CACHED_MAX) this.forget();
    this.#numbers.set(text, number);
    this.#texts.set(number, text);
  }

  /** Drops the memory: after a transaction that was rolled back, and after a sweep. */
  forget(): void {
    this.#numbers.clear();
    this.#texts.clear();
  }

  get size(): number {
    return (this.database.prepare(`SELECT count(*) AS n FROM ${this.table}`).get() as { n: number }).n;
  }

  /** From here until `endSweep`, remembers which numbers are handed out: they are in use although a scan has not met them. */
  beginSweep(): void {
    this.#handedOut = new Set();
  }

  /** Removes the texts that are neither in `used` nor were handed out since `beginSweep`. Returns how many are left. */
  endSweep(used: ReadonlySet<number>): number {
    const handedOut = this.#handedOut ?? new Set<number>();
    this.#handedOut = null;
    const remove = this.database.prepare(`DELETE FROM ${this.table} WHERE id = ?`);
    let left = 0;
    const all = this.database.prepare(`SELECT id FROM ${this.table}`).all() as { id: number }[];
    for (const { id } of all) {
      if (used.has(id) || handedOut.has(id)) left++;
      else remove.run(id);
    }
    this.forget();
    return left;
  }
}
