import type { Block } from '../segments/segment.js';

/** A segment's metadata, beside its payload. */
const SEGMENT_BYTES = 512;

/**
 * Inflated packs (blocks, where a store keeps those as they are), least recently used first out, bounded in bytes. Callers that ask for the same pack at once share
 * one load; a load that fails or finds nothing is not remembered.
 */
export class BlockCache<K extends number | string = number> {
  readonly #bytesMax: number;
  readonly #blocks = new Map<K, { block: Block; bytes: number }>();
  readonly #loading = new Map<K, Promise<Block | null>>();
  #bytes = 0;
  hits = 0;
  misses = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(pack: K, load: () => Promise<Block | null>): Block | Promise<Block | null> {
    const known = this.#blocks.get(pack);
    if (known) {
      this.hits++;
      this.#blocks.delete(pack);
      this.#blocks.set(pack, known);
      return known.block;
    }
    const loading = this.#loading.get(pack);
    if (loading) return loading;
    this.misses++;
    const loaded = load()
      .then((block) => {
        if (block) this.#keep(pack, block);
        return block;
      })
      .finally(() => this.#loading.delete(pack));
    this.#loading.set(pack, loaded);
    return loaded;
  }

  clear(): void {
    this.#blocks.clear();
    this.#bytes = 0;
  }

  #keep(pack: K, block: Block): void {
    const bytes = block.segments.reduce((sum, { payload }) => sum + payload.length + SEGMENT_BYTES, 0);
    if (bytes > this.#bytesMax) return;
    this.#blocks.set(pack, { block, bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#blocks) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#blocks.delete(oldest);
      this.#bytes -= entry.bytes;
    }
  }
}
