export interface StampWindowLimits {
  /** Sequences remembered for an instance. */
  readonly sequencesMax: number;
  /** Instances remembered; the one that was heard least recently is forgotten first. */
  readonly instancesMax: number;
}

class Sequences {
  readonly #known = new Set<number>();
  readonly #ring: Uint32Array;
  #next = 0;

  constructor(size: number) {
    this.#ring = new Uint32Array(size);
  }

  isNew(sequence: number): boolean {
    if (this.#known.has(sequence)) return false;
    if (this.#known.size === this.#ring.length) this.#known.delete(this.#ring[this.#next]!);
    this.#ring[this.#next] = sequence;
    this.#next = (this.#next + 1) % this.#ring.length;
    this.#known.add(sequence);
    return true;
  }
}

/**
 * The stamps seen lately in one partition: a producer's retry and a spool's replay put a record into the log a second time. What is older
 * than the window is assembled again; it then counts once all the same, and readers drop the spans that they see twice.
 */
export class StampWindow {
  readonly #limits: StampWindowLimits;
  readonly #instances = new Map<number, Sequences>();

  constructor(limits: StampWindowLimits) {
    this.#limits = limits;
  }

  /** Whether the stamp is new; it is remembered then. */
  isNew(stamp: { readonly instance: number; readonly sequence: number }): boolean {
    let sequences = this.#instances.get(stamp.instance);
    if (sequences) {
      this.#instances.delete(stamp.instance);
    } else {
      sequences = new Sequences(this.#limits.sequencesMax);
      if (this.#instances.size >= this.#limits.instancesMax) {
        for (const oldest of this.#instances.keys()) {
          this.#instances.delete(oldest);
          break;
        }
      }
    }
    this.#instances.set(stamp.instance, sequences);
    return sequences.isNew(stamp.sequence);
  }
}
