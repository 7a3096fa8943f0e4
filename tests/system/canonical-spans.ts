import { hexOf } from '../../global/otlp/testing/official-otlp.js';
import { comparableRows, rowText } from '../../global/otlp/testing/rows.js';

/**
 * OTLP bytes as comparable texts, one per span, with everything that belongs to it: decoded by the code generated from the
 * official protobuf definitions, not by Meridian's.
 */
export function canonicalSpans(tracesData: Uint8Array): string[] {
  return comparableRows(tracesData).map(rowText).sort();
}

/** In the order of the bytes, in hex. */
export function spanIdsOf(tracesData: Uint8Array): string[] {
  return comparableRows(tracesData).map(({ span }) => hexOf(span.spanId));
}
