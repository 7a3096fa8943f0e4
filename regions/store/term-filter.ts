/**
 * A Bloom filter over terms that are known by a 32-bit hash; the places follow from it and a second one that is mixed out of it (Kirsch
 * and Mitzenmacher: the i-th place is `h1 + i * h2`), reduced to the filter's size by multiplication (Lemire). The stored form is
 * the bits and nothing else; the figures below belong to the store's format version.
 */
const HASHES = 7;
/** False positives: about 0.8 in 100. */
const BITS_PER_TERM = 10;
const FILTER_BYTES_MIN = 8;

export function buildTermFilter(terms: TermSet): Uint8Array {
  const filter = new Uint8Array(Math.max(FILTER_BYTES_MIN, Math.ceil((terms.size * BITS_PER_TERM) / 8)));
  const bits = filter.length * 8;
  terms.forEach((term) => {
    const step = secondHash(term);
    for (let i = 0, h = term; i < HASHES; i++, h = (h + step) | 0) {
      const bit = Math.floor(((h >>> 0) * bits) / 0x1_0000_0000);
      filter[bit >>> 3]! |= 1 << (bit & 7);
    }
  });
  return filter;
}

/** Whether the term may be in the filter; false is a proof that it is not. */
export function mayHoldTerm(filter: Uint8Array, term: number): boolean {
  const bits = filter.length * 8;
  const step = secondHash(term);
  for (let i = 0, h = term; i < HASHES; i++, h = (h + step) | 0) {
    const bit = Math.floor(((h >>> 0) * bits) / 0x1_0000_0000);
    if ((filter[bit >>> 3]! & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

function secondHash(term: number): number {
  let h = Math.imul(term ^ 0x7feb352d, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) | 1;
}

/** A set of 32-bit integers: open addressing, no object per entry. */
export class TermSet {
  #slots: Int32Array;
  #mask: number;
  #used = 0;
  /** Zero marks a free slot. */
  #hasZero = false;

  constructor(capacity = 1024) {
    let slots = 16;
    while (slots < capacity * 2) slots *= 2;
    this.#slots = new Int32Array(slots);
    this.#mask = slots - 1;
  }

  get size(): number {
    return this.#used + (this.#hasZero ? 1 : 0);
  }

  add(term: number): void {
    const wanted = term | 0;
    if (wanted === 0) {
      this.#hasZero = true;
      return;
    }
    const slots = this.#slots;
    let at = wanted & this.#mask;
    for (let held = slots[at]!; held !== 0; held = slots[at]!) {
      if (held === wanted) return;
      at = (at + 1) & this.#mask;
    }
    slots[at] = wanted;
    if (++this.#used * 2 > this.#mask) this.#grow();
  }

  forEach(visit: (term: number) => void): void {
    if (this.#hasZero) visit(0);
    for (const term of this.#slots) if (term !== 0) visit(term);
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    this.#mask = this.#slots.length - 1;
    this.#used = 0;
    for (const term of old) if (term !== 0) this.add(term);
  }
}
