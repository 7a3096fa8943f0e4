/**
 * A Bloom filter over terms that are known by two 32-bit hashes (Kirsch and Mitzenmacher: the i-th place is `h1 + i * h2`), reduced to the
 * filter's size by multiplication (Lemire). The stored form is the bits and nothing else; the figures below belong to the
 * store's format version.
 */
const HASHES = 7;
/** False positives: about 0.8 in 100. */
const BITS_PER_TERM = 10;

export function buildTermFilter(terms: TermSet): Uint8Array {
  const filter = new Uint8Array(Math.max(8, Math.ceil((terms.size * BITS_PER_TERM) / 8)));
  const bits = filter.length * 8;
  terms.forEach((h1, h2) => {
    const step = h2 | 1;
    for (let i = 0, h = h1; i < HASHES; i++, h = (h + step) | 0) {
      const bit = Math.floor(((h >>> 0) * bits) / 0x1_0000_0000);
      filter[bit >>> 3]! |= 1 << (bit & 7);
    }
  });
  return filter;
}

/** Whether the term may be in the filter; false is a proof that it is not. */
export function mayHoldTerm(filter: Uint8Array, term: TermHash): boolean {
  const bits = filter.length * 8;
  const step = term.h2 | 1;
  for (let i = 0, h = term.h1; i < HASHES; i++, h = (h + step) | 0) {
    const bit = Math.floor(((h >>> 0) * bits) / 0x1_0000_0000);
    if ((filter[bit >>> 3]! & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

export interface TermHash {
  readonly h1: number;
  readonly h2: number;
}

/** A set of hash pairs: open addressing, no object per entry. */
export class TermSet {
  #slots: Int32Array;
  #used = 0;
  #mask: number;

  constructor(capacity = 1024) {
    let slots = 16;
    while (slots < capacity * 2) slots *= 2;
    this.#slots = new Int32Array(slots * 2);
    this.#mask = slots - 1;
  }

  get size(): number {
    return this.#used;
  }

  add(h1: number, h2: number): void {
    // The pair (0, 0) marks a free slot.
    const second = h1 === 0 && h2 === 0 ? 1 : h2;
    let at = (h1 ^ (h1 >>> 15)) & this.#mask;
    for (;;) {
      const a = this.#slots[at * 2]!;
      const b = this.#slots[at * 2 + 1]!;
      if (a === h1 && b === second) return;
      if (a === 0 && b === 0) break;
      at = (at + 1) & this.#mask;
    }
    this.#slots[at * 2] = h1;
    this.#slots[at * 2 + 1] = second;
    if (++this.#used * 2 > this.#mask) this.#grow();
  }

  forEach(visit: (h1: number, h2: number) => void): void {
    for (let i = 0; i < this.#slots.length; i += 2) {
      const h1 = this.#slots[i]!;
      const h2 = this.#slots[i + 1]!;
      if (h1 !== 0 || h2 !== 0) visit(h1, h2);
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    this.#mask = this.#slots.length / 2 - 1;
    this.#used = 0;
    for (let i = 0; i < old.length; i += 2) {
      if (old[i] !== 0 || old[i + 1] !== 0) this.add(old[i]!, old[i + 1]!);
    }
  }
}
