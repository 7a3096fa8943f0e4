import type { TraceId } from '../../global/model/ids.js';
import { MetadataFlag, type TraceMetadata } from '../../global/model/metadata.js';
import { invariant } from '../../global/runtime/errors.js';
import { type ClosedTrace, type Fragment, type OpenTrace, type OpenTraceLimits, OpenTraces } from './open-traces.js';
import { WatermarkMark } from './watermark-mark.js';

export interface AssemblyLimits extends OpenTraceLimits {
  /** A block is cut at this many segments, at this many bytes of payload, or this long after its first segment was closed. */
  readonly blockSegmentsMax: number;
  readonly blockBytesMax: number;
  readonly blockMs: number;
  /** A trace is announced at most this long after its first spans were read (and a block or a watermark takes it along earlier). */
  readonly announceMs: number;
  readonly idleWatermarkMs: number;
  /** Blocks and announcements that one pass takes. */
  readonly passBlocksMax: number;
  readonly passAnnouncementsMax: number;
}

/** Segments that become one block. */
export interface PlannedBlock {
  readonly segments: readonly ClosedTrace[];
  readonly firstOffset: number;
  readonly bytes: number;
}

/** What one pass of the pipeline does: append the blocks, then publish their metadata, the announcements and the watermark. */
export interface PassWork {
  readonly blocks: readonly PlannedBlock[];
  readonly announcements: readonly TraceMetadata[];
  readonly watermarkUnixNano: bigint | null;
}

interface Gathering {
  segments: ClosedTrace[];
  firstOffset: number;
  bytes: number;
  sinceMs: number;
}

/**
 * Everything that is decided for one partition of `spans`: which traces are open, which closed ones form a block, what has to be
 * announced, and how far may be committed. Pure: time comes in as monotonic milliseconds, nothing is read or written here.
 */
export class PartitionAssembly {
  readonly #limits: AssemblyLimits;
  readonly open: OpenTraces;
  readonly mark: WatermarkMark;
  #position: number;
  #gathering: Gathering | null = null;
  #ready: PlannedBlock[] = [];
  #inPass: PassWork | null = null;
  #unpublishedBytes = 0;
  /** Traces without a record in the feed, in the order in which they were seen: open, or closed since. */
  readonly #unannounced = new Map<TraceId, OpenTrace | ClosedTrace>();
  #announceDueMs = Number.POSITIVE_INFINITY;

  constructor(limits: AssemblyLimits, startOffset: number) {
    this.#limits = limits;
    this.#position = startOffset;
    this.open = new OpenTraces(limits);
    this.mark = new WatermarkMark(limits.idleWatermarkMs);
  }

  /** Every record before it was read. */
  get position(): number {
    return this.#position;
  }

  /** Payload bytes that were closed and are not published yet. */
  get unpublishedBytes(): number {
    return this.#unpublishedBytes;
  }

  /** No span of a record before it would be missed if everything in memory were lost now. */
  get commitOffset(): number {
    let lowest = this.open.lowestOffset ?? this.#position;
    if (this.#gathering) lowest = Math.min(lowest, this.#gathering.firstOffset);
    for (const block of this.#ready) lowest = Math.min(lowest, block.firstOffset);
    for (const block of this.#inPass?.blocks ?? []) lowest = Math.min(lowest, block.firstOffset);
    return lowest;
  }

  /** Reads one record: its fragments, none where it has nothing for us. Returns the traces that had to be closed. */
  read(offset: number, fragments: readonly Fragment[], nowMs: number): ClosedTrace[] {
    invariant(offset >= this.#position, `offset ${offset} was read after position ${this.#position}`);
    this.#position = offset + 1;
    const allClosed: ClosedTrace[] = [];
    for (const fragment of fragments) {
      const { closed, opened } = this.open.add(fragment, nowMs);
      if (closed) allClosed.push(closed);
      if (closed) this.#gather(closed, nowMs);
      if (opened) this.#toAnnounce(opened, nowMs);
    }
    return allClosed;
  }

  /** Everything before `offset` is gone from the log: it counts as read. */
  skipTo(offset: number): void {
    this.#position = Math.max(this.#position, offset);
  }

  /** Closes the traces that are due. */
  tick(nowMs: number): ClosedTrace[] {
    return this.#gatherAll(this.open.tick(nowMs), nowMs);
  }

  /** Closes the oldest trace, for want of memory. */
  relieve(nowMs: number): ClosedTrace[] {
    const closed = this.open.closeOldest();
    return closed ? this.#gatherAll([closed], nowMs) : [];
  }

  /** Closes everything. */
  drain(nowMs: number): ClosedTrace[] {
    const closed = this.#gatherAll(this.open.drain(), nowMs);
    this.#cut();
    return closed;
  }

  /** Whether a pass has something to append or to publish. */
  isPassDue(nowMs: number): boolean {
    if (this.#inPass) return false;
    return (
      this.#ready.length > 0 ||
      nowMs >= this.#announceDueMs ||
      this.#isBlockDue(nowMs) ||
      this.mark.isDue(this.#position, nowMs)
    );
  }

  /** Whether a pass has blocks to append or traces to announce, due or not. */
  get hasWork(): boolean {
    return this.#ready.length > 0 || this.#gathering !== null || this.#unannounced.size > 0;
  }

  /**
   * Takes what the next pass does; `finishPass` has to follow before another. Without `mayCarryWatermark` the watermark waits for a later
   * one: something else that it has to follow is not published with this pass.
   */
  beginPass(nowMs: number, mayCarryWatermark = true): PassWork {
    invariant(!this.#inPass, 'a pass began before the last one ended');
    if (this.#isBlockDue(nowMs)) this.#cut();
    const blocks = this.#ready.splice(0, this.#limits.passBlocksMax);
    const announcements = this.#takeAnnouncements(blocks, nowMs);
    // Only a pass that leaves nothing unannounced may carry the watermark.
    const isWhole = mayCarryWatermark && this.#unannounced.size === 0;
    const watermarkUnixNano = isWhole ? this.mark.take(this.#position, nowMs) : null;
    this.#inPass = { blocks, announcements, watermarkUnixNano };
    return this.#inPass;
  }

  /** All of the pass is durable. */
  finishPass(): void {
    for (const block of this.#inPass?.blocks ?? []) this.#unpublishedBytes -= block.bytes;
    this.#inPass = null;
  }

  /** The partition is given up: the closed segments that were not published. Not to be used afterwards. */
  abandon(): ClosedTrace[] {
    const blocks = [...this.#ready, ...(this.#inPass?.blocks ?? []), ...(this.#gathering ? [this.#gathering] : [])];
    return blocks.flatMap((block) => block.segments);
  }

  #takeAnnouncements(blocks: readonly PlannedBlock[], nowMs: number): TraceMetadata[] {
    const inBlocks = new Set<object>(blocks.flatMap((block) => block.segments));
    const announcements: TraceMetadata[] = [];
    for (const [traceId, trace] of this.#unannounced) {
      if (announcements.length >= this.#limits.passAnnouncementsMax) break;
      this.#unannounced.delete(traceId);
      if (!inBlocks.has(trace)) announcements.push(asAnnouncement(trace.metadata));
    }
    this.#announceDueMs = this.#unannounced.size === 0 ? Number.POSITIVE_INFINITY : nowMs;
    return announcements;
  }

  #toAnnounce(trace: OpenTrace, nowMs: number): void {
    this.#unannounced.set(trace.traceId, trace);
    this.#announceDueMs = Math.min(this.#announceDueMs, nowMs + this.#limits.announceMs);
  }

  #gatherAll(closed: ClosedTrace[], nowMs: number): ClosedTrace[] {
    for (const trace of closed) this.#gather(trace, nowMs);
    return closed;
  }

  #gather(trace: ClosedTrace, nowMs: number): void {
    const { blockBytesMax, blockSegmentsMax } = this.#limits;
    const { traceId } = trace.metadata;
    if (this.#unannounced.has(traceId)) this.#unannounced.set(traceId, trace);
    if (this.#gathering && this.#gathering.bytes + trace.payload.length > blockBytesMax) this.#cut();
    this.#gathering ??= { segments: [], firstOffset: trace.firstOffset, bytes: 0, sinceMs: nowMs };
    this.#gathering.segments.push(trace);
    this.#gathering.firstOffset = Math.min(this.#gathering.firstOffset, trace.firstOffset);
    this.#gathering.bytes += trace.payload.length;
    this.#unpublishedBytes += trace.payload.length;
    if (this.#gathering.segments.length >= blockSegmentsMax || this.#gathering.bytes >= blockBytesMax) this.#cut();
  }

  #isBlockDue(nowMs: number): boolean {
    return this.#gathering !== null && nowMs - this.#gathering.sinceMs >= this.#limits.blockMs;
  }

  #cut(): void {
    if (!this.#gathering) return;
    const { segments, firstOffset, bytes } = this.#gathering;
    this.#ready.push({ segments, firstOffset, bytes });
    this.#gathering = null;
  }
}

/** A segment that is not stored yet is not spoken of as closed. */
function asAnnouncement(metadata: TraceMetadata): TraceMetadata {
  return { ...metadata, flags: metadata.flags & ~MetadataFlag.closed };
}
