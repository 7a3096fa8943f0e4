/** Names of OTLP SpanKind, by number. */
const SPAN_KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
const STATUS_CODES = ['unset', 'ok', 'error'] as const;

export function spanKindName(kind: number): string {
  return SPAN_KINDS[kind] ?? String(kind);
}

/** The number of a kind named in any of the usual ways: `server`, `SERVER`, `SPAN_KIND_SERVER`, `2`; null for what is none. */
export function parseSpanKind(text: string): number | null {
  const name = text.toLowerCase().replace(/^span_kind_/, '');
  const at = SPAN_KINDS.findIndex((kind, i) => kind === name || String(i) === name);
  return at < 0 ? null : at;
}

export const spanKindNames: readonly string[] = SPAN_KINDS;

export function statusCodeName(code: number): string {
  return STATUS_CODES[code] ?? String(code);
}
