import type { Place } from './spool-types.js';

/**
 * The places of one partition in order of their sequence; the pieces of one record stand side by side. Numbers in arrays, as a full spool may have
 * some hundred thousand of them: 32 bytes a place.
 */
export class LaneQueue {
  readonly #partition: number;
  #sequences: number[] = [];
  /** Segment and offset in one number. */
  #spots: number[] = [];
  #spans: number[] = [];
  #bytes: number[] = [];
  #head = 0;
  #valueBytes = 0;

  constructor(partition: number) {
    this.#partition = partition;
  }

  get length(): number {
    return this.#sequences.length - this.#head;
  }

  /** Bytes of values in memory, of all that is queued. */
  get valueBytes(): number {
    return this.#valueBytes;
  }

  /** Of the first; infinite for none. */
  get firstSequence(): number {
    return this.#sequences[this.#head] ?? Number.POSITIVE_INFINITY;
  }

  /** Mostly at the end: an append that failed takes the place that it had when it came. */
  add({ sequence, segment, at, spanCount, valueBytes }: Place): void {
    let to = this.#sequences.length;
    while (to > this.#head && this.#sequences[to - 1]! > sequence) to--;
    const spot = segment * OFFSETS + at;
    if (to === this.#sequences.length) {
      this.#sequences.push(sequence);
      this.#spots.push(spot);
      this.#spans.push(spanCount);
      this.#bytes.push(valueBytes);
    } else {
      this.#sequences.splice(to, 0, sequence);
      this.#spots.splice(to, 0, spot);
      this.#spans.splice(to, 0, spanCount);
      this.#bytes.splice(to, 0, valueBytes);
    }
    this.#valueBytes += valueBytes;
  }

  /** Takes whole records from the front: at least one, then as long as their values fit into `bytesMax`, and `recordsMax` at most. */
  take(bytesMax: number, recordsMax: number): Place[][] {
    const records: Place[][] = [];
    let bytes = 0;
    while (this.length > 0 && records.length < recordsMax) {
      const sequence = this.firstSequence;
      let end = this.#head;
      let ofRecord = 0;
      while (this.#sequences[end] === sequence) ofRecord += this.#bytes[end++]!;
      if (records.length > 0 && bytes + ofRecord > bytesMax) break;
      bytes += ofRecord;
      const record: Place[] = [];
      for (; this.#head < end; this.#head++) record.push(this.#placeAt(this.#head));
      this.#valueBytes -= ofRecord;
      records.push(record);
    }
    if (this.#head >= COMPACT_FROM && this.#head * 2 > this.#sequences.length) this.#keep((i) => i >= this.#head);
    return records;
  }

  /** Puts back what `take` gave, as it was. */
  putBack(records: readonly (readonly Place[])[]): void {
    const places = records.flat();
    this.#keep((i) => i >= this.#head);
    this.#sequences = [...places.map(({ sequence }) => sequence), ...this.#sequences];
    this.#spots = [...places.map(({ segment, at }) => segment * OFFSETS + at), ...this.#spots];
    this.#spans = [...places.map(({ spanCount }) => spanCount), ...this.#spans];
    this.#bytes = [...places.map(({ valueBytes }) => valueBytes), ...this.#bytes];
    this.#valueBytes += places.reduce((sum, { valueBytes }) => sum + valueBytes, 0);
  }

  /** Forgets what stood in a segment that was given up. */
  forget(segment: number): void {
    const from = segment * OFFSETS;
    const isIn = (i: number) => this.#spots[i]! >= from && this.#spots[i]! < from + OFFSETS;
    for (let i = this.#head; i < this.#spots.length; i++) {
      if (!isIn(i)) continue;
      this.#keep((j) => j >= this.#head && !isIn(j));
      this.#valueBytes = this.#bytes.reduce((sum, bytes) => sum + bytes, 0);
      break;
    }
  }

  #keep(isKept: (i: number) => boolean): void {
    const kept = <T>(values: readonly T[]) => values.filter((_, i) => isKept(i));
    const [sequences, spans, bytes, spots] = [
      kept(this.#sequences),
      kept(this.#spans),
      kept(this.#bytes),
      kept(this.#spots),
    ];
    this.#sequences = sequences;
    this.#spans = spans;
    this.#bytes = bytes;
    this.#spots = spots;
    this.#head = 0;
  }

  #placeAt(i: number): Place {
    const spot = this.#spots[i]!;
    const segment = Math.floor(spot / OFFSETS);
    return {
      partition: this.#partition,
      sequence: this.#sequences[i]!,
      segment,
      at: spot - segment * OFFSETS,
      spanCount: this.#spans[i]!,
      valueBytes: this.#bytes[i]!,
    };
  }
}

/** A segment is far shorter: it is closed at 4 MiB, after the write that reached that. */
const OFFSETS = 2 ** 32;
const COMPACT_FROM = 1024;
