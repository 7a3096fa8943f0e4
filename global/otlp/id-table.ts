/**
 * A hash table from ids (8 or 16 bytes) in buffers to small integers, without an object or a string per id: open addressing with
 * linear probing, at most half full. Ids come from outside and may be chosen to collide: what is not placed within
 * `PROBES_MAX` slots goes into a Map, whose hash cannot be foreseen, so every operation takes bounded time.
 */
export class IdTable {
  readonly #words: number;
  /** Per slot: the id's 32-bit words, then value + 1 (0: free). */
  #slots: Int32Array;
  #capacity = CAPACITY_MIN;
  #size = 0;
  readonly #overflow = new Map<string, number>();

  constructor(idBytes: 8 | 16) {
    this.#words = idBytes / 4;
    this.#slots = new Int32Array(this.#capacity * (this.#words + 1));
  }

  /** Ids that did not find a slot near their own. */
  get overflowSize(): number {
    return this.#overflow.size;
  }

  clear(): void {
    if (this.#capacity > CAPACITY_KEPT_MAX) {
      this.#capacity = CAPACITY_MIN;
      this.#slots = new Int32Array(this.#capacity * (this.#words + 1));
    } else this.#slots.fill(0);
    this.#size = 0;
    this.#overflow.clear();
  }

  /** The value of the id at `at`; where it has none yet it gets `value` (0 to 2^31 - 2), which is then returned. */
  add(buffer: Buffer, at: number, value: number): number {
    const words = this.#words;
    const slots = this.#slots;
    const slot = this.#find(buffer, at);
    if (slot >= 0 && slots[slot + words] !== 0) return slots[slot + words]! - 1;
    if (slot < 0 || this.#overflow.size > 0) {
      const key = buffer.toString('latin1', at, at + 4 * words);
      const known = this.#overflow.get(key);
      if (known !== undefined) return known;
      if (slot < 0) {
        this.#overflow.set(key, value);
        return value;
      }
    }
    for (let w = 0; w < words; w++) slots[slot + w] = int32At(buffer, at + 4 * w);
    slots[slot + words] = value + 1;
    if (++this.#size * 2 > this.#capacity) this.#grow();
    return value;
  }

  /** The slot that holds the id, or the free one where it belongs; -1 where there is neither within `PROBES_MAX`. */
  #find(buffer: Buffer, at: number): number {
    const words = this.#words;
    const mask = this.#capacity - 1;
    const slots = this.#slots;
    let hash = 0;
    for (let w = 0; w < words; w++) hash = mix(hash, int32At(buffer, at + 4 * w));
    for (let i = 0, probe = finish(hash) & mask; i < PROBES_MAX; i++, probe = (probe + 1) & mask) {
      const slot = probe * (words + 1);
      if (slots[slot + words] === 0) return slot;
      let w = 0;
      while (w < words && slots[slot + w] === int32At(buffer, at + 4 * w)) w++;
      if (w === words) return slot;
    }
    return -1;
  }

  #grow(): void {
    const old = this.#slots;
    const stride = this.#words + 1;
    this.#capacity *= 2;
    this.#slots = new Int32Array(this.#capacity * stride);
    this.#size = 0;
    const id = Buffer.alloc(4 * this.#words);
    for (let o = 0; o < old.length; o += stride) {
      if (old[o + this.#words] === 0) continue;
      for (let w = 0; w < this.#words; w++) id.writeInt32LE(old[o + w]!, 4 * w);
      this.add(id, 0, old[o + this.#words]! - 1);
    }
  }
}

const CAPACITY_MIN = 256;
/** A larger table is given back by `clear`. */
const CAPACITY_KEPT_MAX = 8192;
const PROBES_MAX = 32;

function int32At(b: Buffer, at: number): number {
  return b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);
}

/** Steps of murmur3 (A. Appleby, public domain). */
function mix(hash: number, word: number): number {
  const k = Math.imul(word, 0xcc9e2d51);
  const h = hash ^ Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
