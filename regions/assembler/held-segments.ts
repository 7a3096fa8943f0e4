import type { TraceId } from '../../global/model/ids.js';
import type { BlockId, TraceMetadata } from '../../global/model/metadata.js';
import { invariant } from '../../global/runtime/errors.js';
import type { CloseReason, Segment } from '../segments/segment.js';

/** A segment that was closed and that the store is not known to have. */
export interface HeldSegment {
  readonly metadata: TraceMetadata;
  readonly closeReason: CloseReason;
  readonly receivedFirstMs: number;
  readonly receivedLastMs: number;
  /** Null where it was given up for memory: it is read back from the block's record. */
  payload: Buffer | null;
  block: HeldBlock | null;
}

/** A block in the log that the writer has not committed, or only just. */
export interface HeldBlock {
  readonly id: BlockId;
  /** Where its record stands in `segments`. */
  readonly partition: number;
  readonly offset: number;
  readonly segments: readonly HeldSegment[];
  readonly bytes: number;
  storedSinceMs: number | null;
}

export interface HeldLimits {
  /** Payloads in memory of blocks that are in the log; beyond it the oldest are given up and read back when they are asked for. */
  readonly blockCacheBytesMax: number;
  /** Segments of blocks in the log; beyond it `isFull`. */
  readonly segmentsMax: number;
  /** How long a block stays after the writer's commit has passed it: the time after which the store's search shows what was written. */
  readonly storeRefreshMs: number;
}

/**
 * Closed segments between the moment they leave the open traces and the moment the store has them for certain. No I/O; milliseconds
 * are monotonic.
 */
export class HeldSegments {
  readonly #limits: HeldLimits;
  readonly #byTrace = new Map<TraceId, HeldSegment | HeldSegment[]>();
  /** Those that are in no block yet, by the segment they were made of. */
  readonly #pending = new Map<Segment, HeldSegment>();
  /** Per partition of `segments`, about in order of offset. */
  readonly #blocks = new Map<number, Set<HeldBlock>>();
  readonly #blockIds = new Set<BlockId>();
  /** Blocks with payloads in memory, oldest first. */
  readonly #cached = new Set<HeldBlock>();
  #cachedBytes = 0;
  #segmentCount = 0;

  constructor(limits: HeldLimits) {
    this.#limits = limits;
  }

  /** Segments that are in no block yet, and of blocks in the log. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  get segmentCount(): number {
    return this.#segmentCount;
  }

  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  /** Whether so much waits for the store that nothing more should be taken in. */
  get isFull(): boolean {
    return this.#segmentCount >= this.#limits.segmentsMax;
  }

  has(traceId: TraceId): boolean {
    return this.#byTrace.has(traceId);
  }

  hasBlock(id: BlockId): boolean {
    return this.#blockIds.has(id);
  }

  get(traceId: TraceId): readonly HeldSegment[] {
    const held = this.#byTrace.get(traceId);
    return held === undefined ? [] : Array.isArray(held) ? held : [held];
  }

  *values(): IterableIterator<HeldSegment> {
    for (const held of this.#byTrace.values()) {
      if (Array.isArray(held)) yield* held;
      else yield held;
    }
  }

  /** The segment was closed. */
  closed(segment: Segment): void {
    const held = this.#hold(segment);
    this.#pending.set(segment, held);
  }

  /** Segments that were closed are gone: sampled away, or lost to another owner of the partition. */
  dropped(segments: Iterable<Segment>): void {
    for (const segment of segments) {
      const held = this.#pending.get(segment);
      if (!held) continue;
      this.#pending.delete(segment);
      this.#forget(held);
    }
  }

  /** Segments that were closed are now the record at `offset`. */
  appended(block: { id: BlockId; partition: number; offset: number; segments: readonly Segment[] }): void {
    const segments = block.segments.map((segment) => {
      const held = this.#pending.get(segment);
      invariant(held, `a segment of block ${block.id} was never closed`);
      this.#pending.delete(segment);
      return held;
    });
    this.#keep({ ...block, segments });
  }

  /** A block that an earlier owner of its partition appended and the store may not have. Nothing where it is known. */
  recovered(block: { id: BlockId; partition: number; offset: number; segments: readonly Segment[] }): void {
    if (this.#blockIds.has(block.id)) return;
    this.#keep({ ...block, segments: block.segments.map((segment) => this.#hold(segment)) });
  }

  /**
   * The writer has committed `nextOffset` of a partition of `segments`: lets go of what the store has shown for long enough. Returns the
   * number of blocks let go.
   */
  stored(partition: number, nextOffset: number, nowMs: number): number {
    const blocks = this.#blocks.get(partition);
    if (!blocks) return 0;
    let released = 0;
    for (const block of blocks) {
      // Concurrent appends may stand in another order than their offsets; that only delays a release.
      if (block.offset >= nextOffset) break;
      block.storedSinceMs ??= nowMs;
      if (nowMs - block.storedSinceMs < this.#limits.storeRefreshMs) continue;
      this.release(block);
      released++;
    }
    return released;
  }

  /** Lets a block go, e.g. one that the log no longer has. */
  release(block: HeldBlock): void {
    if (!this.#blocks.get(block.partition)?.delete(block)) return;
    this.#blockIds.delete(block.id);
    this.#uncache(block);
    this.#segmentCount -= block.segments.length;
    for (const segment of block.segments) this.#forget(segment);
  }

  /** The partitions of `segments` with a block that waits for the store. */
  waitingPartitions(): number[] {
    return [...this.#blocks].filter(([, blocks]) => blocks.size > 0).map(([partition]) => partition);
  }

  #hold({ metadata, closeReason, receivedFirstMs, receivedLastMs, payload }: Segment): HeldSegment {
    const held: HeldSegment = { metadata, closeReason, receivedFirstMs, receivedLastMs, payload, block: null };
    const others = this.#byTrace.get(metadata.traceId);
    if (others === undefined) this.#byTrace.set(metadata.traceId, held);
    else this.#byTrace.set(metadata.traceId, Array.isArray(others) ? [...others, held] : [others, held]);
    return held;
  }

  #keep({ id, partition, offset, segments }: Omit<HeldBlock, 'bytes' | 'storedSinceMs'>): void {
    const bytes = segments.reduce((sum, segment) => sum + (segment.payload?.length ?? 0), 0);
    const block: HeldBlock = { id, partition, offset, segments, bytes, storedSinceMs: null };
    for (const segment of segments) segment.block = block;
    let blocks = this.#blocks.get(partition);
    if (!blocks) {
      blocks = new Set();
      this.#blocks.set(partition, blocks);
    }
    blocks.add(block);
    this.#blockIds.add(id);
    this.#segmentCount += segments.length;
    this.#cached.add(block);
    this.#cachedBytes += bytes;
    while (this.#cachedBytes > this.#limits.blockCacheBytesMax) {
      const oldest = this.#cached.values().next().value;
      if (!oldest) return;
      this.#uncache(oldest);
      for (const segment of oldest.segments) segment.payload = null;
    }
  }

  #uncache(block: HeldBlock): void {
    if (this.#cached.delete(block)) this.#cachedBytes -= block.bytes;
  }

  #forget(segment: HeldSegment): void {
    const { traceId } = segment.metadata;
    const held = this.#byTrace.get(traceId);
    if (!Array.isArray(held)) {
      if (held === segment) this.#byTrace.delete(traceId);
      return;
    }
    const others = held.filter((other) => other !== segment);
    if (others.length > 1) this.#byTrace.set(traceId, others);
    else if (others[0]) this.#byTrace.set(traceId, others[0]);
  }
}
