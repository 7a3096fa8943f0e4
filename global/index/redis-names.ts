import type { Day } from './redis-layout.js';
import type { ShardView } from './redis-view.js';

/** Names in memory over all days; beyond it the memory starts anew (Redis keeps them). */
const CACHED_MAX = 500_000;
/** Names in one day's dictionary; records that would need more go to ODD_DAY, which needs none. */
export const NAMES_PER_DAY_MAX = 200_000;

/** What is known of one day's dictionary: numbers from 0 on without gaps. */
export class DayNames {
  readonly #texts: string[] = [];
  readonly #numbers = new Map<string, number>();
  /** See RedisShard.currentNames. */
  currentEpoch = -1;

  get size(): number {
    return this.#texts.length;
  }

  text(number: number): string | undefined {
    return this.#texts[number];
  }

  number(text: string): number | undefined {
    return this.#numbers.get(text);
  }

  /** Takes the next name; its number is the size before. */
  push(text: string): void {
    this.#numbers.set(text, this.#texts.length);
    this.#texts.push(text);
  }
}

/** The dictionaries of one shard's days in memory. A number never changes its text within a generation, so what is known stays true. */
export class NameMemory {
  readonly #days = new Map<string, DayNames>();
  #generation = '';

  /** Those of the day; of one that is not begun yet, those it would have if the next write began it. */
  of({ generation, begun, writes }: ShardView, day: Day): DayNames {
    if (generation !== this.#generation) {
      this.#days.clear();
      this.#generation = generation;
    }
    const key = `${day} ${begun.get(day) ?? writes}`;
    let names = this.#days.get(key);
    if (!names) {
      names = new DayNames();
      this.#days.set(key, names);
    }
    return names;
  }

  /** Drops what may be wrong: after a write whose outcome is not known. */
  forget(): void {
    this.#days.clear();
  }

  /** Keeps the memory bounded; to be called where nothing of it is held. */
  trim(): void {
    let size = 0;
    for (const names of this.#days.values()) size += names.size;
    if (size > CACHED_MAX) this.forget();
  }
}

/** A day's names with those that a write would add. */
export class NewNames {
  readonly added: string[] = [];
  readonly #numbers = new Map<string, number>();

  constructor(readonly known: DayNames) {}

  readonly number = (text: string): number => {
    const number = this.known.number(text) ?? this.#numbers.get(text);
    if (number !== undefined) return number;
    const next = this.known.size + this.added.length;
    this.added.push(text);
    this.#numbers.set(text, next);
    return next;
  };

  get isFull(): boolean {
    return this.known.size + this.added.length >= NAMES_PER_DAY_MAX;
  }

  /** The write succeeded. */
  keep(): void {
    for (const text of this.added) this.known.push(text);
  }
}
