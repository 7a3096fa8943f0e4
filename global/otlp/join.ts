import { createHash } from 'node:crypto';
import { MeridianError } from '../runtime/errors.js';
import { IdTable } from './id-table.js';
import { Regrouping } from './regroup.js';
import { lastBytesField, MutableSpanRef, parseSpan, Tag } from './scan.js';
import { cursor, readTag, skipValue } from './wire.js';

/**
 * Merges `TracesData` messages: protobuf messages are merged by writing one after the other. One part comes back as it is, without a
 * copy. Throws MeridianError `too-large` for more than `bytesMax` bytes in all.
 */
export function joinTracesData(parts: readonly Buffer[], bytesMax = Number.POSITIVE_INFINITY): Buffer {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  if (bytes > bytesMax) {
    throw new MeridianError(
      'too-large',
      `joining ${parts.length} OTLP messages: ${bytes} bytes, at most ${bytesMax}`,
      'never',
    );
  }
  if (parts.length === 1) return parts[0]!;
  const joined = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** The number of Span messages in a `TracesData`, valid or not. Throws `malformed`. */
export function spanCountOf(tracesData: Buffer): number {
  let count = 0;
  forEachField(tracesData, 0, tracesData.length, Tag.resourceSpans, (from, to) => {
    forEachField(tracesData, from, to, Tag.scopeSpans, (start, end) => {
      for (let p = start; p < end; ) {
        const tag = readTag(tracesData, p, end);
        p = skipValue(tracesData, tag, cursor.at, end);
        if (tag === Tag.span) count++;
      }
    });
  });
  return count;
}

function forEachField(
  b: Buffer,
  start: number,
  end: number,
  wanted: number,
  visit: (from: number, to: number) => void,
): void {
  for (let p = start; p < end; ) {
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag === wanted) visit(cursor.at, p);
  }
}

export interface DedupeLimits {
  /** Spans kept at most. */
  readonly spanCountMax: number;
  /** Bytes of spans kept at most (the content of their messages). */
  readonly bytesMax: number;
}

export interface DedupedSpans {
  /** The parts that still hold spans, in order; one that lost no span is the very buffer that was passed in. */
  readonly parts: Buffer[];
  /** For each of `parts`, its place among the parts that were passed in. */
  readonly partIndices: readonly number[];
  readonly spanCount: number;
  /** Spans left out because an earlier one is the same: equal span bytes (and so equal ids) under an equal resource. */
  readonly duplicateCount: number;
  /** Spans kept although the first one with their span id is of the same trace: content or resource differ. */
  readonly conflictCount: number;
  /** Spans left out because a limit was reached; from the first of them on no span is kept. */
  readonly cutCount: number;
}

const NO_LIMITS: DedupeLimits = { spanCountMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY };

/**
 * Leaves out spans that are there already, as happens where a live copy and a stored one, or a region and its standby, both answer. The
 * same span id with other content stays (a client and a server that share an id, as Zipkin has it; ids given out twice), and is
 * counted as a conflict. Spans without valid ids are left out uncounted. The inputs are not changed. Throws MeridianError `malformed`.
 * Linear in the bytes.
 */
export function dedupeSpans(parts: readonly Buffer[], limits: DedupeLimits = NO_LIMITS): DedupedSpans {
  return new Deduping(parts, limits).run();
}

const groups = new Regrouping();

/** Where a span was first seen: part, content, trace id, and the number of its resource. */
interface Seen {
  readonly part: number;
  readonly start: number;
  readonly end: number;
  readonly traceIdAt: number;
  readonly resource: number;
}

class Deduping {
  readonly #ids = new IdTable(8);
  /** By the table's value: the first span with the id. */
  readonly #first: Seen[] = [];
  /** Contents of ids that came with more than one. Digests, so that nobody can make them collide. */
  readonly #others = new Set<string>();
  readonly #resources = new Map<string, number>();
  readonly #span = new MutableSpanRef();
  #spanCount = 0;
  #spanBytes = 0;
  #duplicates = 0;
  #conflicts = 0;
  #cut = 0;
  #dropped = false;

  constructor(
    readonly parts: readonly Buffer[],
    readonly limits: DedupeLimits,
  ) {}

  run(): DedupedSpans {
    const kept: Buffer[] = [];
    const partIndices: number[] = [];
    try {
      this.parts.forEach((part, index) => {
        const own = this.#part(part, index);
        if (own === null) return;
        kept.push(own);
        partIndices.push(index);
      });
    } finally {
      groups.release();
    }
    return {
      parts: kept,
      partIndices,
      spanCount: this.#spanCount,
      duplicateCount: this.#duplicates,
      conflictCount: this.#conflicts,
      cutCount: this.#cut,
    };
  }

  /** What is left of a part: itself, a shorter message, or null for nothing. */
  #part(part: Buffer, index: number): Buffer | null {
    groups.begin(part);
    this.#dropped = false;
    for (let p = 0; p < part.length; ) {
      const from = p;
      const tag = readTag(part, p, part.length);
      p = skipValue(part, tag, cursor.at, part.length);
      if (tag === Tag.resourceSpans) this.#resourceSpans(index, from, cursor.at, p);
    }
    if (groups.spanCount === 0) return null;
    return this.#dropped ? groups.write(1)[0]!.bytes : part;
  }

  #resourceSpans(part: number, from: number, start: number, end: number): void {
    const b = this.parts[part]!;
    groups.openResourceSpans(from, start, end);
    const resourceEnd = lastBytesField(b, start, end, Tag.resource);
    const resource = this.#resourceNumber(b.toString('latin1', cursor.at, resourceEnd));
    for (let p = start; p < end; ) {
      const at = p;
      const tag = readTag(b, p, end);
      p = skipValue(b, tag, cursor.at, end);
      if (tag !== Tag.scopeSpans) continue;
      groups.openScopeSpans(at, cursor.at, p);
      this.#scopeSpans(part, cursor.at, p, resource);
      groups.closeScopeSpans();
    }
    groups.closeResourceSpans();
  }

  #scopeSpans(part: number, start: number, end: number, resource: number): void {
    const b = this.parts[part]!;
    for (let p = start; p < end; ) {
      const at = p;
      const tag = readTag(b, p, end);
      p = skipValue(b, tag, cursor.at, end);
      if (tag !== Tag.span) continue;
      if (parseSpan(b, cursor.at, p, this.#span) && this.#isNew(part, resource)) {
        groups.addSpan(0, at, p, null);
        continue;
      }
      this.#dropped = true;
      groups.dropSpan();
    }
  }

  #isNew(part: number, resource: number): boolean {
    const { spanStart: start, spanEnd: end, spanIdAt, traceIdAt } = this.#span;
    const b = this.parts[part]!;
    if (
      this.#cut > 0 ||
      this.#spanCount >= this.limits.spanCountMax ||
      this.#spanBytes + end - start > this.limits.bytesMax
    ) {
      this.#cut++;
      return false;
    }
    const value = this.#ids.add(b, spanIdAt, this.#first.length);
    if (value === this.#first.length) this.#first.push({ part, start, end, traceIdAt, resource });
    else if (this.#isKnown(this.#first[value]!, part, start, end, resource)) {
      this.#duplicates++;
      return false;
    }
    this.#spanCount++;
    this.#spanBytes += end - start;
    return true;
  }

  #isKnown(first: Seen, part: number, start: number, end: number, resource: number): boolean {
    const b = this.parts[part]!;
    const other = this.parts[first.part]!;
    if (first.resource === resource && other.compare(b, start, end, first.start, first.end) === 0) return true;
    const digest = createHash('sha256').update(b.subarray(start, end)).digest('base64');
    const key = `${resource}/${digest}`;
    if (this.#others.has(key)) return true;
    this.#others.add(key);
    if (
      other.compare(b, this.#span.traceIdAt, this.#span.traceIdAt + 16, first.traceIdAt, first.traceIdAt + 16) === 0
    ) {
      this.#conflicts++;
    }
    return false;
  }

  #resourceNumber(bytes: string): number {
    const known = this.#resources.get(bytes);
    if (known !== undefined) return known;
    this.#resources.set(bytes, this.#resources.size);
    return this.#resources.size - 1;
  }
}
