import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { RootSpan, TraceMetadata } from '../../global/model/metadata.js';
import { nanosFromHalves } from '../../global/model/time.js';
import { forEachSpan } from '../../global/otlp/scan.js';
import type { SpanRef } from '../../global/otlp/span-ref.js';

/** What a region answered for a trace: OTLP that was checked, with at least one span, and the flags of its segments' metadata. */
export interface AnsweredPart {
  readonly region: RegionId;
  readonly payloads: readonly Buffer[];
  /** Bits of MetadataFlag. */
  readonly flags: number;
}

/**
 * An answer as the record that a plan concludes from: start, end, root and flags; nothing is counted. Times and root are those of
 * the spans themselves, since that is what a skip of other regions rests on. A span that ends before it starts counts as ending at its
 * start. Pure; linear in the bytes.
 */
export function answerRecord(traceId: TraceId, { region, payloads, flags }: AnsweredPart): TraceMetadata {
  const start = { high: 0xffff_ffff, low: 0xffff_ffff };
  const end = { high: 0, low: 0 };
  let root: RootSpan | null = null;
  for (const payload of payloads) {
    forEachSpan(payload, (span) => {
      const { startHigh, startLow, endHigh, endLow } = span;
      if (isLess(startHigh, startLow, start.high, start.low)) Object.assign(start, { high: startHigh, low: startLow });
      if (isLess(end.high, end.low, startHigh, startLow)) Object.assign(end, { high: startHigh, low: startLow });
      if (isLess(end.high, end.low, endHigh, endLow)) Object.assign(end, { high: endHigh, low: endLow });
      if (span.parentSpanIdAt < 0) root = earlier(root, span);
      return true;
    });
  }
  return {
    traceId,
    region,
    startUnixNano: nanosFromHalves(start.high, start.low),
    endUnixNano: nanosFromHalves(end.high, end.low),
    root,
    coverage: [],
    flags,
    blocks: [],
  };
}

function earlier(known: RootSpan | null, span: SpanRef): RootSpan {
  const startUnixNano = nanosFromHalves(span.startHigh, span.startLow);
  if (known && known.startUnixNano <= startUnixNano) return known;
  const { buffer } = span;
  return {
    startUnixNano,
    service: buffer.toString('utf8', span.serviceStart, span.serviceEnd),
    operation: buffer.toString('utf8', span.nameStart, span.nameEnd),
  };
}

function isLess(aHigh: number, aLow: number, bHigh: number, bLow: number): boolean {
  return aHigh < bHigh || (aHigh === bHigh && aLow < bLow);
}
