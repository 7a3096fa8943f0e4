import { joinMetadata } from '../../global/index/join.js';
import type { TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { joinTracesData } from '../../global/otlp/join.js';
import { invariant } from '../../global/runtime/errors.js';
import type { CloseReason, Segment } from '../segments/segment.js';
import { isSelfContained } from '../segments/self-contained.js';
import { LinkedOrder, noLinks } from './linked-order.js';

/** The spans of one trace in one record of `spans`. */
export interface Fragment {
  readonly traceId: TraceId;
  /** OTLP `TracesData` in memory of its own and of its own size; handed over. */
  readonly payload: Buffer;
  readonly metadata: TraceMetadata;
  readonly spanCount: number;
  /** Offset of the record. */
  readonly offset: number;
  readonly receivedMs: number;
}

/** A closed trace: a segment (its metadata have the flag `closed`), and what the assembler needs until it is published. */
export interface ClosedTrace extends Segment {
  readonly spanCount: number;
  /** Lowest offset that holds some of its spans. */
  readonly firstOffset: number;
}

export interface OpenTraceLimits {
  /** A trace closes when nothing came for this long and it looks whole. */
  readonly settleMs: number;
  readonly idleMs: number;
  readonly ageMs: number;
  /** A fragment that would take a trace beyond these closes it first: a segment exceeds them only where one fragment does. */
  readonly segmentBytesMax: number;
  readonly segmentSpansMax: number;
}

/**
 * Memory that an open trace is taken to cost beyond its bytes: its object, its place in the orders and the map, its metadata, its
 * buffers. Measured (scripts/bench/assembler.ts): 1,100 B where it came in one record, 2,250 B in five.
 */
export const OPEN_TRACE_OVERHEAD_BYTES = 2_000;

/** Bytes and metadata of one or several fragments, in the order in which they came. */
interface Part {
  readonly payload: Buffer;
  readonly metadata: TraceMetadata;
}

/**
 * A trace that may grow. Few parts of growing size rather than one per fragment: the last two are joined while the last is at least as large
 * as the one before, so n fragments make about log2(n) parts and each byte is copied about log2(n) times.
 */
export class OpenTrace {
  readonly #parts: Part[] = [];
  bytes = 0;
  spanCount = 0;
  receivedFirstMs: number;
  receivedLastMs: number;
  lastSeenMs: number;
  /** Whether nothing has come since it was last looked at and found not to be whole. */
  isQuiet = false;
  readonly ageLinks = noLinks<OpenTrace>();
  readonly quietLinks = noLinks<OpenTrace>();

  constructor(
    readonly traceId: TraceId,
    readonly firstOffset: number,
    readonly firstSeenMs: number,
    receivedMs: number,
  ) {
    this.receivedFirstMs = receivedMs;
    this.receivedLastMs = receivedMs;
    this.lastSeenMs = firstSeenMs;
  }

  add(fragment: Fragment, nowMs: number): void {
    this.#parts.push({ payload: fragment.payload, metadata: fragment.metadata });
    this.bytes += fragment.payload.length;
    this.spanCount += fragment.spanCount;
    this.receivedFirstMs = Math.min(this.receivedFirstMs, fragment.receivedMs);
    this.receivedLastMs = Math.max(this.receivedLastMs, fragment.receivedMs);
    this.lastSeenMs = nowMs;
    for (;;) {
      const last = this.#parts.at(-1);
      const before = this.#parts.at(-2);
      if (!last || !before || last.payload.length < before.payload.length) return;
      this.#parts.splice(-2, 2, joinParts(before, last));
    }
  }

  get payloads(): readonly Buffer[] {
    return this.#parts.map((part) => part.payload);
  }

  /** Of the spans so far; without the flag `closed`. */
  get metadata(): TraceMetadata {
    return this.#parts.map((part) => part.metadata).reduce(joinMetadata);
  }
}

function joinParts(a: Part, b: Part): Part {
  return { payload: joinTracesData([a.payload, b.payload]), metadata: joinMetadata(a.metadata, b.metadata) };
}

/**
 * The open traces of one partition, and when each is to be closed. Pure: time comes in as a value (monotonic milliseconds
 * that never step back), effects go out as values. Every timeout is the same for all traces, so three lists in order of
 * time replace timers: nothing ever walks all traces.
 */
export class OpenTraces {
  readonly #limits: OpenTraceLimits;
  readonly #traces = new Map<TraceId, OpenTrace>();
  /** In order of their first fragment, which is also the order of their first offset. */
  readonly #byAge = new LinkedOrder<OpenTrace>((trace) => trace.ageLinks);
  /** In order of their last fragment: those that were not looked at since it, and those that were. */
  readonly #unsettled = new LinkedOrder<OpenTrace>((trace) => trace.quietLinks);
  readonly #quiet = new LinkedOrder<OpenTrace>((trace) => trace.quietLinks);
  #bytes = 0;

  constructor(limits: OpenTraceLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#traces.size;
  }

  /** What they are taken to cost: payloads and `OPEN_TRACE_OVERHEAD_BYTES` each. */
  get bytes(): number {
    return this.#bytes + this.#traces.size * OPEN_TRACE_OVERHEAD_BYTES;
  }

  /** The lowest offset that an open trace holds, or null. */
  get lowestOffset(): number | null {
    return this.#byAge.first?.firstOffset ?? null;
  }

  /** When the oldest was opened, or null. */
  get oldestMs(): number | null {
    return this.#byAge.first?.firstSeenMs ?? null;
  }

  get(traceId: TraceId): OpenTrace | undefined {
    return this.#traces.get(traceId);
  }

  values(): IterableIterator<OpenTrace> {
    return this.#traces.values();
  }

  /** Adds a fragment; offsets and `nowMs` never step back. `opened` is the trace where this is its first fragment. */
  add(fragment: Fragment, nowMs: number): { closed: ClosedTrace | null; opened: OpenTrace | null } {
    const { segmentBytesMax, segmentSpansMax } = this.#limits;
    let trace = this.#traces.get(fragment.traceId);
    let closed: ClosedTrace | null = null;
    if (
      trace &&
      (trace.bytes + fragment.payload.length > segmentBytesMax ||
        trace.spanCount + fragment.spanCount > segmentSpansMax)
    ) {
      closed = this.#close(trace, 'size');
      trace = undefined;
    }
    const isNew = !trace;
    trace ??= this.#open(fragment, nowMs);
    trace.add(fragment, nowMs);
    this.#bytes += fragment.payload.length;
    (trace.isQuiet ? this.#quiet : this.#unsettled).remove(trace);
    trace.isQuiet = false;
    this.#unsettled.append(trace);
    return { closed, opened: isNew ? trace : null };
  }

  /** Closes what is due. Costs what it closes or looks at, whatever is open. */
  tick(nowMs: number): ClosedTrace[] {
    const { settleMs, idleMs, ageMs } = this.#limits;
    const closed: ClosedTrace[] = [];
    for (let trace = this.#byAge.first; trace && nowMs - trace.firstSeenMs >= ageMs; trace = this.#byAge.first) {
      closed.push(this.#close(trace, 'age'));
    }
    for (
      let trace = this.#unsettled.first;
      trace && nowMs - trace.lastSeenMs >= settleMs;
      trace = this.#unsettled.first
    ) {
      if (isSelfContained(trace.payloads)) {
        closed.push(this.#close(trace, 'root-settled'));
      } else {
        this.#unsettled.remove(trace);
        trace.isQuiet = true;
        this.#quiet.append(trace);
      }
    }
    for (let trace = this.#quiet.first; trace && nowMs - trace.lastSeenMs >= idleMs; trace = this.#quiet.first) {
      closed.push(this.#close(trace, 'idle'));
    }
    return closed;
  }

  /** Closes the oldest, for want of memory; null where none is open. */
  closeOldest(): ClosedTrace | null {
    const oldest = this.#byAge.first;
    return oldest ? this.#close(oldest, 'memory') : null;
  }

  /** Closes all, oldest first. */
  drain(): ClosedTrace[] {
    const closed: ClosedTrace[] = [];
    for (let trace = this.#byAge.first; trace; trace = this.#byAge.first) closed.push(this.#close(trace, 'drain'));
    return closed;
  }

  #open(fragment: Fragment, nowMs: number): OpenTrace {
    const newest = this.#byAge.last;
    invariant(
      !newest || (newest.firstOffset <= fragment.offset && newest.firstSeenMs <= nowMs),
      `offset ${fragment.offset} at ${nowMs} comes after offset ${newest?.firstOffset} at ${newest?.firstSeenMs}`,
    );
    const trace = new OpenTrace(fragment.traceId, fragment.offset, nowMs, fragment.receivedMs);
    this.#traces.set(fragment.traceId, trace);
    this.#byAge.append(trace);
    this.#unsettled.append(trace);
    return trace;
  }

  #close(trace: OpenTrace, reason: CloseReason): ClosedTrace {
    this.#traces.delete(trace.traceId);
    this.#byAge.remove(trace);
    (trace.isQuiet ? this.#quiet : this.#unsettled).remove(trace);
    this.#bytes -= trace.bytes;
    const { metadata, spanCount, firstOffset, receivedFirstMs, receivedLastMs } = trace;
    return {
      metadata: { ...metadata, flags: metadata.flags | MetadataFlag.closed },
      payload: joinTracesData(trace.payloads),
      closeReason: reason,
      spanCount,
      firstOffset,
      receivedFirstMs,
      receivedLastMs,
    };
  }
}
