/**
 * A span inside an OTLP `TracesData` message, as places in its bytes. Made by `forEachSpan` (scan.ts), which reuses ONE
 * object for all spans of a scan: read it inside the callback, copy what you keep. Offsets are absolute in `buffer`.
 * Format: opentelemetry-proto v1 `trace.proto` over the protobuf wire format.
 */
export interface SpanRef {
  readonly buffer: Buffer;
  /** Content of the enclosing ResourceSpans message (without its tag and length). */
  readonly resourceSpansStart: number;
  readonly resourceSpansEnd: number;
  /** Content of its Resource message; start = end where it is absent. */
  readonly resourceStart: number;
  readonly resourceEnd: number;
  /** Content of the enclosing ScopeSpans message. */
  readonly scopeSpansStart: number;
  readonly scopeSpansEnd: number;
  /** Content of its InstrumentationScope; start = end where it is absent. */
  readonly scopeStart: number;
  readonly scopeEnd: number;
  /** Content of the Span message. */
  readonly spanStart: number;
  readonly spanEnd: number;
  /** First of 16 bytes. */
  readonly traceIdAt: number;
  /** First of 8 bytes. */
  readonly spanIdAt: number;
  /** First of 8 bytes, or -1 for none (absent, empty or all zero). */
  readonly parentSpanIdAt: number;
  readonly nameStart: number;
  readonly nameEnd: number;
  /** OTLP SpanKind. */
  readonly kind: number;
  readonly flags: number;
  /** Unsigned halves of the 64-bit nanosecond counts; zero where absent. */
  readonly startHigh: number;
  readonly startLow: number;
  readonly endHigh: number;
  readonly endLow: number;
  /** OTLP StatusCode: 0 unset, 1 ok, 2 error. */
  readonly statusCode: number;
  /** `service.name` of the resource as a range in `buffer`; start = end where it is absent. */
  readonly serviceStart: number;
  readonly serviceEnd: number;
}

/** Span flag bits of OTLP: is it known whether the parent is remote, and is it. */
export const FLAG_HAS_IS_REMOTE = 0x100;
export const FLAG_IS_REMOTE = 0x200;

/** Names of OTLP SpanKind, by number. */
export const SPAN_KIND_NAMES: readonly string[] = [
  'unspecified',
  'internal',
  'server',
  'client',
  'producer',
  'consumer',
];

export const StatusCode = { unset: 0, ok: 1, error: 2 } as const;

/** Called for each span in the order of the bytes. Returning false ends the scan. */
export type SpanVisitor = (span: SpanRef) => boolean | undefined;
