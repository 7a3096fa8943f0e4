import type { RegionId } from '../../global/model/ids.js';
import type { BlockId, TraceMetadata } from '../../global/model/metadata.js';

/** Why the assembler closed a segment; every closing names one (As1). */
export const CLOSE_REASONS = ['root-settled', 'idle', 'age', 'size', 'memory', 'drain'] as const;
export type CloseReason = (typeof CLOSE_REASONS)[number];

/**
 * The spans of one trace in one region that were assembled together. Later spans of the trace make further segments
 * (As4); readers join them. Immutable.
 */
export interface Segment {
  /** `blocks` is empty: the block that holds a segment is known from where it stands. */
  readonly metadata: TraceMetadata;
  /** OTLP `TracesData`, uncompressed. Not to be changed by whoever gets it. */
  readonly payload: Buffer;
  readonly closeReason: CloseReason;
  readonly receivedFirstMs: number;
  readonly receivedLastMs: number;
}

/** Segments of one partition that are stored, mirrored and copied as one; its `id` makes writing it again harmless. */
export interface Block {
  readonly id: BlockId;
  readonly source: RegionId;
  readonly segments: readonly Segment[];
}

/**
 * An encoded block: the value of a record of `segments`. Format and codec: `block-codec.ts`. What a reader
 * needs before decompressing is outside the frame.
 */
export interface EncodedBlock {
  readonly id: BlockId;
  readonly source: RegionId;
  readonly bytes: Buffer;
  readonly segmentCount: number;
  readonly spanCount: number;
  readonly startUnixNanoMin: bigint;
  /** The largest segment start: what search walks blocks by. */
  readonly startUnixNanoMax: bigint;
  readonly endUnixNanoMax: bigint;
}
