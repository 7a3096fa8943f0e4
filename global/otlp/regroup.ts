import { Tag } from './scan.js';
import { cursor, readTag, skipValue, varintSize, writeVarint } from './wire.js';

/** One `TracesData` that `Regrouping.write` made. */
export interface GroupBytes {
  readonly group: number;
  /** Its own memory, exactly as long as the message. */
  readonly bytes: Buffer;
  readonly spanCount: number;
}

const EMPTY = Buffer.alloc(0);
const WHOLE_RESOURCE_SPANS = 0;
const WHOLE_SCOPE_SPANS = 1;
const SPAN = 2;
/** Fields of an item in `#items`: kind, group, from, to (with tag and length), container, rewritten content (-1: none), spans. */
const ITEM = 7;

/** What stands around spans: a ResourceSpans or a ScopeSpans without the messages that are dealt out to groups. */
interface Container {
  readonly from: number;
  readonly to: number;
  readonly inner: number;
  /** Index of the enclosing ResourceSpans' container; -1 for a ResourceSpans itself. */
  readonly outer: number;
  /** Its other fields with a message rewritten; null while nothing was. */
  header: Buffer | null;
}

/**
 * Deals the spans of one `TracesData` out to groups (partitions, traces) and writes a `TracesData` per group, in which each span
 * stands under copies of its resource, scope, schema urls and the unknown fields beside them. What belongs to one group as a whole is
 * copied as a whole, a span that was not rewritten byte for byte. Unknown fields of `TracesData` itself are not carried over.
 *
 * Use: `begin`, then per ResourceSpans `openResourceSpans`, per ScopeSpans `openScopeSpans`, `addSpan` and `closeScopeSpans`,
 * then `closeResourceSpans`; at last `write`. Its arrays are kept for the next batch. Not re-entrant.
 */
export class Regrouping {
  #buffer: Buffer = EMPTY;
  #items = new Int32Array(ITEM * 1024);
  #itemCount = 0;
  #containers: Container[] = [];
  #rewritten: Buffer[] = [];
  #resourceSpans = -1;
  #scopeSpans = -1;
  #firstItemOfResource = 0;
  #firstItemOfScope = 0;
  #resourceWhole = true;
  #scopeWhole = true;
  /** Spans dealt out since `begin`. */
  spanCount = 0;

  begin(buffer: Buffer): void {
    this.#buffer = buffer;
    this.#itemCount = 0;
    this.#containers = [];
    this.#rewritten = [];
    this.spanCount = 0;
  }

  /** Lets go of the batch: the next one may be long in coming. Also after an error. */
  release(): void {
    this.begin(EMPTY);
  }

  /** `from` and `to` are the message with its tag and length; its content begins at `inner`. */
  openResourceSpans(from: number, inner: number, to: number): void {
    this.#resourceSpans = this.#containers.push({ from, to, inner, outer: -1, header: null }) - 1;
    this.#firstItemOfResource = this.#itemCount;
    this.#resourceWhole = true;
  }

  openScopeSpans(from: number, inner: number, to: number): void {
    this.#scopeSpans = this.#containers.push({ from, to, inner, outer: this.#resourceSpans, header: null }) - 1;
    this.#firstItemOfScope = this.#itemCount;
    this.#scopeWhole = true;
  }

  /** The fields beside the scope_spans, rewritten (with their tags). */
  rewriteResourceHeader(header: Buffer): void {
    this.#containers[this.#resourceSpans]!.header = header;
    this.#resourceWhole = false;
  }

  /** The fields beside the spans, rewritten (with their tags). */
  rewriteScopeHeader(header: Buffer): void {
    this.#containers[this.#scopeSpans]!.header = header;
    this.#scopeWhole = false;
  }

  /** A span of the group: its bytes with tag and length, or `rewritten`, the new content of its message. */
  addSpan(group: number, from: number, to: number, rewritten: Buffer | null): void {
    let replacement = -1;
    if (rewritten !== null) {
      replacement = this.#rewritten.push(rewritten) - 1;
      this.#scopeWhole = false;
    }
    this.#push(SPAN, group, from, to, this.#scopeSpans, replacement, 1);
    this.spanCount++;
  }

  /** A span that goes nowhere. */
  dropSpan(): void {
    this.#scopeWhole = false;
  }

  closeScopeSpans(): void {
    if (this.#scopeWhole) this.#foldInto(WHOLE_SCOPE_SPANS, this.#firstItemOfScope, this.#scopeSpans);
    else this.#resourceWhole = false;
  }

  closeResourceSpans(): void {
    if (this.#resourceWhole) this.#foldInto(WHOLE_RESOURCE_SPANS, this.#firstItemOfResource, this.#resourceSpans);
  }

  /** Replaces the items from `first` on by one for their whole container, if they all go to one group. */
  #foldInto(kind: number, first: number, containerIndex: number): void {
    const count = this.#itemCount;
    if (first === count) return;
    const items = this.#items;
    const group = items[first * ITEM + 1]!;
    let spans = 0;
    for (let i = first * ITEM; i < count * ITEM; i += ITEM) {
      if (items[i + 1] !== group) return;
      spans += items[i + 6]!;
    }
    const container = this.#containers[containerIndex]!;
    this.#itemCount = first;
    this.#push(kind, group, container.from, container.to, container.outer, -1, spans);
  }

  #push(
    kind: number,
    group: number,
    from: number,
    to: number,
    container: number,
    replacement: number,
    spans: number,
  ): void {
    const at = this.#itemCount * ITEM;
    if (at === this.#items.length) {
      const grown = new Int32Array(at * 2);
      grown.set(this.#items);
      this.#items = grown;
    }
    const items = this.#items;
    items[at] = kind;
    items[at + 1] = group;
    items[at + 2] = from;
    items[at + 3] = to;
    items[at + 4] = container;
    items[at + 5] = replacement;
    items[at + 6] = spans;
    this.#itemCount++;
  }

  /** One message for each of the groups 0 to `groupCount - 1` that has spans, in order of the group. */
  write(groupCount: number): GroupBytes[] {
    const count = this.#itemCount;
    const items = this.#items;
    // A stable counting sort of the items by group.
    const starts = new Int32Array(groupCount + 1);
    for (let i = 0; i < count; i++) starts[items[i * ITEM + 1]! + 1]!++;
    for (let g = 0; g < groupCount; g++) starts[g + 1]! += starts[g]!;
    const next = starts.slice();
    const order = new Int32Array(count);
    for (let i = 0; i < count; i++) order[next[items[i * ITEM + 1]!]!++] = i * ITEM;
    const sizes = new Int32Array(count * 2);
    const groups: GroupBytes[] = [];
    for (let group = 0; group < groupCount; group++) {
      const first = starts[group]!;
      const last = starts[group + 1]!;
      if (first === last) continue;
      let spanCount = 0;
      for (let i = first; i < last; i++) spanCount += items[order[i]! + 6]!;
      const size = this.#measure(order, first, last, sizes);
      const bytes = Buffer.allocUnsafeSlow(size);
      this.#writeGroup(bytes, order, first, last, sizes);
      groups.push({ group, bytes, spanCount });
    }
    this.release();
    return groups;
  }

  /**
   * The size of a group's message. Leaves in `sizes[2 * i]` the content size of the ResourceSpans that opens at the i-th item, in
   * `sizes[2 * i + 1]` that of the ScopeSpans that opens there; zero where none opens.
   */
  #measure(order: Int32Array, first: number, last: number, sizes: Int32Array): number {
    const items = this.#items;
    let total = 0;
    let openResource = -1;
    let openScope = -1;
    let resourceAt = first;
    let scopeAt = first;
    let resourceSize = 0;
    let scopeSize = 0;
    for (let i = first; i < last; i++) {
      const item = order[i]!;
      const kind = items[item]!;
      const scope = kind === SPAN ? items[item + 4]! : -1;
      const resource = this.#resourceOf(item, kind);
      sizes[2 * i] = sizes[2 * i + 1] = 0;
      if (scope !== openScope || resource !== openResource) {
        if (openScope >= 0) {
          sizes[2 * scopeAt + 1] = scopeSize;
          resourceSize += 1 + varintSize(scopeSize) + scopeSize;
        }
        openScope = scope;
        scopeAt = i;
        scopeSize = scope >= 0 ? this.#header(scope).length : 0;
        if (resource !== openResource) {
          if (openResource >= 0) {
            sizes[2 * resourceAt] = resourceSize;
            total += 1 + varintSize(resourceSize) + resourceSize;
          }
          openResource = resource;
          resourceAt = i;
          resourceSize = resource >= 0 ? this.#header(resource).length : 0;
        }
      }
      const size = this.#itemSize(item);
      if (kind === SPAN) scopeSize += size;
      else if (kind === WHOLE_SCOPE_SPANS) resourceSize += size;
      else total += size;
    }
    if (openScope >= 0) {
      sizes[2 * scopeAt + 1] = scopeSize;
      resourceSize += 1 + varintSize(scopeSize) + scopeSize;
    }
    if (openResource >= 0) {
      sizes[2 * resourceAt] = resourceSize;
      total += 1 + varintSize(resourceSize) + resourceSize;
    }
    return total;
  }

  #writeGroup(target: Buffer, order: Int32Array, first: number, last: number, sizes: Int32Array): void {
    const items = this.#items;
    const source = this.#buffer;
    let at = 0;
    // Neighbours in the source are copied together.
    let runFrom = 0;
    let runTo = 0;
    for (let i = first; i < last; i++) {
      const item = order[i]!;
      const from = items[item + 2]!;
      const to = items[item + 3]!;
      const replacement = items[item + 5]!;
      const opens = sizes[2 * i] !== 0 || sizes[2 * i + 1] !== 0;
      if (!opens && replacement < 0 && from === runTo && runTo > runFrom) {
        runTo = to;
        continue;
      }
      at = copyRange(source, runFrom, runTo, target, at);
      runFrom = runTo = 0;
      if (opens) at = this.#writeOpening(target, at, item, sizes[2 * i]!, sizes[2 * i + 1]!);
      if (replacement < 0) {
        runFrom = from;
        runTo = to;
      } else {
        const content = this.#rewritten[replacement]!;
        target[at] = Tag.span;
        at = writeVarint(target, at + 1, content.length);
        target.set(content, at);
        at += content.length;
      }
    }
    copyRange(source, runFrom, runTo, target, at);
  }

  #writeOpening(target: Buffer, start: number, item: number, resourceSize: number, scopeSize: number): number {
    let at = start;
    if (resourceSize !== 0) {
      const header = this.#header(this.#resourceOf(item, this.#items[item]!));
      target[at] = Tag.resourceSpans;
      at = writeVarint(target, at + 1, resourceSize);
      target.set(header, at);
      at += header.length;
    }
    if (scopeSize !== 0) {
      const header = this.#header(this.#items[item + 4]!);
      target[at] = Tag.scopeSpans;
      at = writeVarint(target, at + 1, scopeSize);
      target.set(header, at);
      at += header.length;
    }
    return at;
  }

  /** The container of the ResourceSpans that an item has to stand in; -1 for one that is a ResourceSpans itself. */
  #resourceOf(item: number, kind: number): number {
    const container = this.#items[item + 4]!;
    return kind === SPAN ? this.#containers[container]!.outer : container;
  }

  #itemSize(item: number): number {
    const items = this.#items;
    const replacement = items[item + 5]!;
    if (replacement < 0) return items[item + 3]! - items[item + 2]!;
    const length = this.#rewritten[replacement]!.length;
    return 1 + varintSize(length) + length;
  }

  #header(index: number): Buffer {
    const container = this.#containers[index]!;
    container.header ??= headerOf(this.#buffer, container.inner, container.to);
    return container.header;
  }
}

/** The fields of a ResourceSpans or ScopeSpans but those of number 2 (its scope_spans or spans), in order, in one buffer. */
export function headerOf(buffer: Buffer, start: number, end: number): Buffer {
  const parts: Buffer[] = [];
  let from = start;
  for (let p = start; p < end; ) {
    const fieldAt = p;
    const tag = readTag(buffer, p, end);
    p = skipValue(buffer, tag, cursor.at, end);
    if (tag !== Tag.span) continue;
    if (fieldAt > from) parts.push(buffer.subarray(from, fieldAt));
    from = p;
  }
  if (end > from) parts.push(buffer.subarray(from, end));
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function copyRange(source: Buffer, from: number, to: number, target: Buffer, at: number): number {
  if (to > from) target.set(source.subarray(from, to), at);
  return at + to - from;
}
