import type { RegionId } from '../../global/model/ids.js';

/** What the tree, the skew correction and the critical path need of a span. */
export interface MergeSpan {
  readonly spanId: string;
  /** Null for a span without a parent. */
  readonly parentSpanId: string | null;
  readonly region: RegionId;
  /** OTLP SpanKind. */
  readonly kind: number;
  readonly startUnixNano: bigint;
  /** Never before the start. */
  readonly endUnixNano: bigint;
  /** Equal exactly for spans that were timed by one clock, as far as the resource tells: service, host, instance and region. */
  readonly clockKey: string;
}

/** OTLP SpanKind values that the merge looks at. */
export const SpanKind = { server: 2, client: 3 } as const;

/** Something odd about the trace, counted rather than repeated. */
export interface MergeWarning {
  readonly code: WarningCode;
  readonly message: string;
  readonly region?: RegionId;
}

export type WarningCode =
  | 'missing-parent'
  | 'parent-cycle'
  | 'self-parent'
  | 'conflicting-span-id'
  | 'negative-duration'
  | 'implausible-times'
  | 'clock-skew-corrected'
  | 'clock-skew-too-large'
  | 'several-roots'
  | 'truncated'
  | 'region-missing'
  | 'index-unavailable';
