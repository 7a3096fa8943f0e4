import { compareCoverage } from '../../global/index/join.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import { LIMITS } from '../../global/model/limits.js';
import { type Coverage, MetadataFlag, type RootSpan, type TraceMetadata } from '../../global/model/metadata.js';
import { maxNano, msToUnixNano, nanosFromHalves } from '../../global/model/time.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import { type SpanRef, StatusCode } from '../../global/otlp/span-ref.js';
import { UNKNOWN_SERVICE } from '../../global/otlp/span-view.js';

export interface SummaryContext {
  readonly traceId: TraceId;
  readonly region: RegionId;
  readonly receivedMs: number;
  /** Gives equal names as the same string, so that many summaries share them. Default: none are shared. */
  readonly names?: NameTable;
  /** Told the operation of each span. */
  readonly onOperation?: (service: string, operation: string, kind: number) => void;
}

/**
 * The metadata of spans of one trace that came in one record, counted by the ResourceSpans that they came in: the least that can be joined into a segment's (`joinMetadata`), without
 * blocks and without the flag `closed`. The root is the earliest parentless span; ties go to the smaller service, then operation.
 * A span that ends before it starts counts as ending at its start. Names beyond `LIMITS.nameBytesMax` are cut. Throws
 * `malformed` where the payload is no OTLP, and an invariant where it holds no span.
 */
export function summarize(payload: Buffer, context: SummaryContext): TraceMetadata {
  const summary = new Summary(context);
  forEachSpan(payload, (span) => {
    summary.add(span);
    return undefined;
  });
  return summary.metadata();
}

/** The spans of one ResourceSpans message: what a client sent together, and sends together again. */
interface Group {
  readonly service: string;
  spanCount: number;
  errorCount: number;
  hash: number;
}

class Summary {
  readonly #context: SummaryContext;
  readonly #names: NameTable;
  readonly #groups: Group[] = [];
  #startHigh = 0xffff_ffff;
  #startLow = 0xffff_ffff;
  #latestStartHigh = 0;
  #latestStartLow = 0;
  #endHigh = 0;
  #endLow = 0;
  #root: RootSpan | null = null;
  #service = '';
  #group: Group | null = null;
  #resourceSpansStart = -1;

  constructor(context: SummaryContext) {
    this.#context = context;
    this.#names = context.names ?? new NameTable(0);
  }

  add(span: SpanRef): void {
    const group = this.#groupOf(span);
    const { startHigh, startLow } = span;
    group.spanCount++;
    if (span.statusCode === StatusCode.error) group.errorCount++;
    group.hash = mix(group.hash, span.buffer.readUInt32LE(span.spanIdAt), span.buffer.readUInt32LE(span.spanIdAt + 4));
    group.hash = mix(group.hash, startLow, span.endLow);
    if (isLess(startHigh, startLow, this.#startHigh, this.#startLow)) {
      this.#startHigh = startHigh;
      this.#startLow = startLow;
    }
    if (isLess(this.#latestStartHigh, this.#latestStartLow, startHigh, startLow)) {
      this.#latestStartHigh = startHigh;
      this.#latestStartLow = startLow;
    }
    if (isLess(this.#endHigh, this.#endLow, span.endHigh, span.endLow)) {
      this.#endHigh = span.endHigh;
      this.#endLow = span.endLow;
    }
    const { onOperation } = this.#context;
    if (!onOperation && span.parentSpanIdAt !== -1) return;
    const operation = this.#names.read(span.buffer, span.nameStart, span.nameEnd);
    onOperation?.(this.#service, operation, span.kind);
    if (span.parentSpanIdAt === -1) this.#offerRoot(span, operation);
  }

  #groupOf(span: SpanRef): Group {
    if (this.#group && span.resourceSpansStart === this.#resourceSpansStart) return this.#group;
    this.#resourceSpansStart = span.resourceSpansStart;
    this.#service =
      span.serviceStart === span.serviceEnd
        ? UNKNOWN_SERVICE
        : this.#names.read(span.buffer, span.serviceStart, span.serviceEnd);
    this.#group = { service: this.#service, spanCount: 0, errorCount: 0, hash: 0 };
    this.#groups.push(this.#group);
    return this.#group;
  }

  #offerRoot(span: SpanRef, operation: string): void {
    const startUnixNano = nanosFromHalves(span.startHigh, span.startLow);
    const before = this.#root;
    if (
      !before ||
      startUnixNano < before.startUnixNano ||
      (startUnixNano === before.startUnixNano &&
        (this.#service < before.service || (this.#service === before.service && operation < before.operation)))
    ) {
      this.#root = { startUnixNano, service: this.#service, operation };
    }
  }

  metadata(): TraceMetadata {
    const { traceId, region, receivedMs } = this.#context;
    if (this.#groups.length === 0) throw new Error(`broken invariant: a fragment of trace ${traceId} without spans`);
    const startUnixNano = nanosFromHalves(this.#startHigh, this.#startLow);
    const latestStart = nanosFromHalves(this.#latestStartHigh, this.#latestStartLow);
    const end = nanosFromHalves(this.#endHigh, this.#endLow);
    const all = coverageOf(this.#groups);
    const coverage = all.slice(0, LIMITS.coverageEntriesMax);
    const implausible =
      latestStart > msToUnixNano(receivedMs + LIMITS.startAheadMsMax) ||
      startUnixNano < msToUnixNano(Math.max(0, receivedMs - LIMITS.startBehindMsMax));
    return {
      traceId,
      region,
      startUnixNano,
      endUnixNano: maxNano(end, latestStart),
      root: this.#root,
      coverage,
      flags:
        (implausible ? MetadataFlag.implausibleTime : 0) |
        (coverage.length < all.length ? MetadataFlag.countsAtLeast : 0),
      blocks: [],
    };
  }
}

/**
 * One entry per group, ordered as `TraceMetadata.coverage` asks. Groups with the same key and service are the same spans sent again
 * and gathered into one record: they count once.
 */
function coverageOf(groups: readonly Group[]): Coverage[] {
  const sorted = groups
    .map(({ service, spanCount, errorCount, hash }) => ({ key: hash >>> 8, service, spanCount, errorCount }))
    .sort(compareCoverage);
  return sorted.filter((entry, i) => i === 0 || compareCoverage(sorted[i - 1]!, entry) !== 0);
}

/** Folds two words into a 32-bit hash; the multipliers and shifts are those of MurmurHash3's finaliser. */
function mix(hash: number, a: number, b: number): number {
  let h = Math.imul(hash ^ a, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0xc2b2ae35);
  return h ^ (h >>> 13);
}

function isLess(aHigh: number, aLow: number, bHigh: number, bLow: number): boolean {
  return aHigh < bHigh || (aHigh === bHigh && aLow < bLow);
}

/** Reads names from bytes, giving equal ones as the same string; forgets all when it holds more than `entriesMax`. */
export class NameTable {
  readonly #names = new Map<string, string>();

  constructor(private readonly entriesMax: number) {}

  read(buffer: Buffer, start: number, end: number): string {
    const text = cutName(buffer.toString('utf8', start, Math.min(end, start + LIMITS.nameBytesMax)));
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    if (this.#names.size >= this.entriesMax) this.#names.clear();
    if (this.entriesMax > 0) this.#names.set(text, text);
    return text;
  }
}

/** The longest start of the text that takes `LIMITS.nameBytesMax` bytes at most (bytes that are no UTF-8 grow when they are replaced). */
function cutName(text: string): string {
  if (text.length * 3 <= LIMITS.nameBytesMax) return text;
  let bytes = 0;
  let at = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > LIMITS.nameBytesMax) return text.slice(0, at);
    at += character.length;
  }
  return text;
}
