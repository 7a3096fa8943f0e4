/**
 * Identities shared by every region. All are branded strings: comparable, usable as map keys, and
 * never mixed up with one another.
 */

/** Name of a region, e.g. `us-east-1`: lower-case letters, digits and hyphens, 1 to 32 characters. */
export type RegionId = string & { readonly __brand: 'RegionId' };
/** A trace id: 16 bytes as 32 lower-case hex characters, never all zero (W3C Trace Context). */
export type TraceId = string & { readonly __brand: 'TraceId' };
/** A span id: 8 bytes as 16 lower-case hex characters, never all zero. */
export type SpanId = string & { readonly __brand: 'SpanId' };

const REGION = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const TRACE_ID = /^[0-9a-f]{32}$/;
const SPAN_ID = /^[0-9a-f]{16}$/;
const ZEROS = /^0+$/;

/** The region id, or null where the text is no region name. */
export function parseRegionId(text: string): RegionId | null {
  return REGION.test(text) ? (text as RegionId) : null;
}

/** The trace id, or null. Accepts either case, and 8-byte ids (16 characters), which are left-padded with zeros. */
export function parseTraceId(text: string): TraceId | null {
  const id = (text.length === 16 ? `0000000000000000${text}` : text).toLowerCase();
  return TRACE_ID.test(id) && !ZEROS.test(id) ? (id as TraceId) : null;
}

/** The span id, or null. Accepts either case. */
export function parseSpanId(text: string): SpanId | null {
  const id = text.toLowerCase();
  return SPAN_ID.test(id) && !ZEROS.test(id) ? (id as SpanId) : null;
}

/** The trace id whose 16 bytes stand at `at`. The caller has checked length and non-zero. */
export function traceIdAt(bytes: Buffer, at: number): TraceId {
  return bytes.toString('hex', at, at + 16) as TraceId;
}

/** The 16 raw bytes of a trace id; a new buffer that the caller owns. */
export function traceIdBytes(id: TraceId): Buffer {
  return Buffer.from(id, 'hex');
}
