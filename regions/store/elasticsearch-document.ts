import type { TraceId } from '../../global/model/ids.js';
import type { BlockId } from '../../global/model/metadata.js';
import type { SpanQuery } from '../../global/model/query.js';
import { unixNanoToMs } from '../../global/model/time.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Block, EncodedBlock } from '../segments/segment.js';
import { blockExtent } from './block-entry.js';
import { TermSet } from './term-filter.js';
import { queryTerms } from './terms.js';

/**
 * A block as Elasticsearch keeps it, version 1 (mapping: elasticsearch-schema.ts). `_id` is the block's id. Times are whole milliseconds
 * (every 64-bit nanosecond time is then exact in JSON), rounded down; whoever compares allows for what was cut off.
 *
 *   source          region that made it
 *   start_min/max   of its segments' starts
 *   starts          seconds in which segments start, each once
 *   span_start_max, duration_max   the latest span start, the longest span
 *   newest          the latest of all ends, starts and receptions: retention counts from it
 *   traces          a key per trace (`traceTerm`), terms: what a search can look for (`blockTerm`, `kindTerm`); space-separated
 *   bytes           length of the encoded block
 *   frame           the encoded block (block-codec.ts), base64; not indexed
 */
export interface BlockDocument {
  readonly id: BlockId;
  /** JSON, one line. */
  readonly json: string;
}

/**
 * Larger blocks are refused (`too-large`): Elasticsearch reads no JSON text beyond 50 million characters, and no request beyond 100 MB
 * (`http.max_content_length`).
 */
export const DOCUMENT_BLOCK_BYTES_MAX = 32 * 1024 * 1024;

/** Pure. Throws `malformed` where a payload is no OTLP, or `too-large`. */
export function blockDocument(block: Block, encoded: EncodedBlock): BlockDocument {
  const { bytes } = encoded;
  if (bytes.length > DOCUMENT_BLOCK_BYTES_MAX) {
    const message = `block ${block.id}: ${bytes.length} bytes are beyond the ${DOCUMENT_BLOCK_BYTES_MAX} that a document holds`;
    throw new MeridianError('too-large', message, 'never');
  }
  const terms = new TermSet(block.segments.length * 16);
  const extent = blockExtent(block, terms);
  const starts = new Set(block.segments.map(({ metadata }) => secondsOf(metadata.startUnixNano)));
  const traces = new Set(block.segments.map(({ metadata }) => traceTerm(metadata.traceId)));
  const words: string[] = [];
  terms.forEach((term) => {
    words.push(blockTerm(term));
  });
  for (let bit = 0; bit < 32; bit++) if (extent.kinds & (1 << bit)) words.push(kindTerm(bit));
  const fields = {
    source: block.source,
    start_min: unixNanoToMs(extent.startUnixNanoMin),
    start_max: unixNanoToMs(extent.startUnixNanoMax),
    starts: [...starts],
    span_start_max: unixNanoToMs(extent.spanStartUnixNanoMax),
    duration_max: unixNanoToMs(extent.durationNanoMax),
    newest: unixNanoToMs(extent.newestUnixNano),
    traces: [...traces].join(' '),
    terms: words.join(' '),
    bytes: bytes.length,
    frame: bytes.toString('base64'),
  };
  return { id: block.id, json: JSON.stringify(fields) };
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/**
 * 24 of a term's 32 bits. A value that is nowhere then names about one block in 5,000 (of 640 spans, 3,400 terms), which the payload refutes.
 * 30 bits were measured at 167 bytes a span instead of 159.
 */
export function blockTerm(term: number): string {
  return (
    ALPHABET[(term >>> 18) & 63]! + ALPHABET[(term >>> 12) & 63]! + ALPHABET[(term >>> 6) & 63]! + ALPHABET[term & 63]!
  );
}

/** Shorter than any `blockTerm`. Kinds above 30 share one. */
export function kindTerm(kind: number): string {
  return `k${Math.min(kind, 31)}`;
}

/** The last six bytes of the id, which are random wherever any are (W3C Trace Context level 2 wants the last seven to be). */
export function traceTerm(traceId: TraceId): string {
  return Buffer.from(traceId.slice(20), 'hex').toString('base64url');
}

/** Terms that every block with a match holds; the least frequent kinds first. */
export function searchTerms(query: SpanQuery): string[] {
  const terms = queryTerms(query).map(blockTerm);
  if (query.kind !== undefined) terms.push(kindTerm(query.kind));
  return terms;
}

export function secondsOf(unixNano: bigint): number {
  return Number(unixNano / 1_000_000_000n);
}

/** The last nanosecond of a millisecond. */
export function endOfMs(ms: number): bigint {
  return (BigInt(ms) + 1n) * 1_000_000n - 1n;
}
