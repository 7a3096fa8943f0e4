/** Limits that several rooms have to agree on. Each is tested at the limit and one past it. */
export const LIMITS = {
  /** In3. */
  attributesPerSpanMax: 100,
  attributeKeyBytesMax: 256,
  attributeValueBytesMax: 4096,
  /** A span that starts further ahead of its reception, or further behind it, is flagged as implausible (In7), never dropped. */
  startAheadMsMax: 10 * 60_000,
  startBehindMsMax: 7 * 24 * 3_600_000,
  /** Nesting of attribute values (arrays and key-value lists). */
  valueDepthMax: 16,
  eventsPerSpanMax: 1024,
  linksPerSpanMax: 1024,
  nameBytesMax: 4096,
  /** One request's body, as sent and after decompression. */
  requestBytesMax: 16 * 1024 * 1024,
  requestInflatedBytesMax: 64 * 1024 * 1024,
  spansPerRequestMax: 100_000,
  /** Bytes of resources and scopes in a request, counted once for each span under them: what splitting by trace may copy. */
  headerBytesTimesSpansMax: 128 * 1024 * 1024,
  /** A by-id answer; beyond it the answer is cut and says so. */
  traceBytesMax: 256 * 1024 * 1024,
  traceSpansMax: 500_000,
  /** Coverage entries kept for a (trace, region); beyond it counts are lower bounds. */
  coverageEntriesMax: 4096,
  searchLimitMax: 1000,
  searchLimitDefault: 20,
} as const;
