/** The parts of the router's JSON that the commands read (the whole is in the OpenAPI document). */

export interface RegionAnswer {
  readonly region: string;
  readonly state: string;
  readonly reason?: string;
  readonly since?: string;
  readonly source: string;
  readonly spanCount: number;
  readonly tookMs: number;
}

export interface Warning {
  readonly code: string;
  readonly message: string;
  readonly region?: string;
}

export interface SpanAnswer {
  readonly spanId: string;
  readonly parentSpanId: string | null;
  readonly region: string;
  readonly service: string;
  readonly operation: string;
  readonly startTimeUnixNano: string;
  readonly durationNano: string;
  readonly status: { readonly code: string; readonly message?: string };
  readonly depth: number;
  readonly onCriticalPath: boolean;
}

export interface TraceAnswer {
  readonly traceId: string;
  readonly complete: boolean;
  readonly regions: readonly RegionAnswer[];
  readonly startTimeUnixNano: string;
  readonly durationNano: string;
  readonly spanCount: number;
  readonly errorCount: number;
  readonly spans: readonly SpanAnswer[];
  readonly warnings: readonly Warning[];
}

export interface SearchAnswer {
  readonly traces: readonly {
    readonly traceId: string;
    readonly root: { readonly service: string; readonly operation: string } | null;
    readonly startTimeUnixNano: string;
    readonly durationNano: string;
    readonly spanCount: number;
    readonly errorCount: number;
    readonly regions: readonly string[];
  }[];
  readonly nextCursor: string | null;
  readonly complete: boolean;
  readonly regions: readonly RegionAnswer[];
  readonly warnings: readonly Warning[];
}

export interface IndexAnswer {
  readonly traceId: string;
  readonly records: readonly {
    readonly region: string;
    readonly startTimeUnixNano: string;
    readonly endTimeUnixNano: string;
    readonly spanCount: number;
    readonly errorCount: number;
    readonly root: { readonly service: string; readonly operation: string } | null;
    readonly services: readonly (string | { readonly name: string })[];
  }[];
  /** Regions that may have the trace, by what is left of old days. */
  readonly folded: readonly {
    readonly region: string;
    readonly startTimeUnixNanoMin: string;
    readonly endTimeUnixNanoMax: string;
  }[];
  readonly watermarks: readonly {
    readonly region: string;
    readonly watermarkUnixNano: string;
    readonly lagMs: number;
  }[];
  readonly plan: readonly { readonly region: string; readonly action: 'ask' | 'skip'; readonly why: string }[];
}

export interface FleetAnswer {
  readonly epoch: number;
  readonly regions: readonly {
    readonly region: string;
    readonly state: string;
    readonly since: string;
    readonly standby: string | null;
    readonly standbyFor: readonly string[];
    readonly ingestPointsAt: string;
    readonly parts: readonly { readonly part: string; readonly state: string; readonly detail?: string }[];
    readonly links: readonly { readonly from: string; readonly lagMs: number; readonly state: string }[];
  }[];
}
