import type { RegionId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import { maxNano, minNano, msToUnixNano } from '../../global/model/time.js';
import type { Block } from '../segments/segment.js';
import { encodeStarts } from './segment-starts.js';
import { buildTermFilter, TermSet } from './term-filter.js';
import { addSegmentTerms, type SpanBounds } from './terms.js';

/** A block as the store keeps it: its bytes, and what finds them again. */
export interface BlockEntry {
  readonly source: RegionId;
  /** The blocks that are in it: itself, or those that were packed together. */
  readonly ids: readonly BlockId[];
  readonly bytes: Uint8Array;
  readonly filter: Uint8Array;
  /** `traceKey` of each of its traces, once. */
  readonly traceKeys: readonly number[];
  /** `encodeStarts` of its segments. */
  readonly starts: Uint8Array;
  /** Of segments, as search orders them. */
  readonly startUnixNanoMin: bigint;
  readonly startUnixNanoMax: bigint;
  /** Of spans. */
  readonly spanStartUnixNanoMax: bigint;
  readonly durationNanoMax: bigint;
  readonly kinds: number;
  /** The latest of all ends, starts and receptions: what retention counts from. */
  readonly newestUnixNano: bigint;
}

/** Pure. Throws `malformed` where a payload is no OTLP. The entry refers to `bytes`. */
export function blockEntry(block: Block, bytes: Uint8Array): BlockEntry {
  const terms = new TermSet(block.segments.length * 16);
  const { startUnixNanoMin, startUnixNanoMax, ...extent } = blockExtent(block, terms);
  return {
    source: block.source,
    ids: [block.id],
    bytes,
    filter: buildTermFilter(terms),
    traceKeys: [...new Set(block.segments.map(({ metadata }) => traceKey(block.source, metadata.traceId)))],
    starts: encodeStarts(
      block.segments.map(({ metadata }) => metadata.startUnixNano),
      startUnixNanoMin,
      startUnixNanoMax,
    ),
    startUnixNanoMin,
    startUnixNanoMax,
    ...extent,
  };
}

/** How far a block reaches, as every store keeps it. */
export type BlockExtent = Pick<
  BlockEntry,
  'startUnixNanoMin' | 'startUnixNanoMax' | 'spanStartUnixNanoMax' | 'durationNanoMax' | 'kinds' | 'newestUnixNano'
>;

/** Pure, but that it adds the block's terms to `terms`. Throws `malformed` where a payload is no OTLP. */
export function blockExtent(block: Block, terms: TermSet): BlockExtent {
  const bounds: SpanBounds = { startUnixNanoMax: 0n, durationNanoMax: 0n, kinds: 0 };
  const first = block.segments[0]!.metadata;
  let startUnixNanoMin = first.startUnixNano;
  let startUnixNanoMax = first.startUnixNano;
  let newestUnixNano = 0n;
  for (const segment of block.segments) {
    const { startUnixNano, endUnixNano } = segment.metadata;
    addSegmentTerms(segment, terms, bounds);
    startUnixNanoMin = minNano(startUnixNanoMin, startUnixNano);
    startUnixNanoMax = maxNano(startUnixNanoMax, startUnixNano);
    newestUnixNano = maxNano(newestUnixNano, maxNano(endUnixNano, msToUnixNano(segment.receivedLastMs)));
  }
  return {
    startUnixNanoMin,
    startUnixNanoMax,
    spanStartUnixNanoMax: bounds.startUnixNanoMax,
    durationNanoMax: bounds.durationNanoMax,
    kinds: bounds.kinds,
    newestUnixNano: maxNano(newestUnixNano, bounds.startUnixNanoMax),
  };
}

/** 32 bits, signed, of source and trace id (FNV-1a over the text, mixed): where to look for a trace, not what it is. */
export function traceKey(source: RegionId, traceId: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < source.length; i++) h = Math.imul(h ^ source.charCodeAt(i), 0x01000193);
  for (let i = 0; i < traceId.length; i++) h = Math.imul(h ^ traceId.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
