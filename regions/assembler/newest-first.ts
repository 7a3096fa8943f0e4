import { compareSearchPositions, type SearchPosition } from '../../global/model/query.js';

/**
 * Gives out items in search order (newest start, then trace id), one at a time: a binary heap, so that a page costs the building of the
 * heap and the items that it looks at, not the order of all.
 */
export class NewestFirst<T extends { readonly position: SearchPosition }> {
  readonly #heap: T[];

  /** Takes the array over. */
  constructor(items: T[]) {
    this.#heap = items;
    for (let i = (items.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  get size(): number {
    return this.#heap.length;
  }

  pop(): T | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (last !== undefined && this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink(0);
    }
    return first;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const item = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, item)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = item;
  }
}

function isBefore(a: { position: SearchPosition }, b: { position: SearchPosition }): boolean {
  return compareSearchPositions(a.position, b.position) < 0;
}
