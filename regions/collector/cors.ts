/**
 * Which browsers' pages may send spans (OTLP exporters in a page). Origins are compared exactly; `*` stands for all.
 * Credentials are never allowed. Source: the Fetch standard, "CORS protocol".
 */
export interface CorsOptions {
  /** Empty: none, and no CORS headers are sent at all. */
  readonly allowedOrigins: readonly string[];
}

/** How long a browser may remember a preflight's answer. */
const PREFLIGHT_AGE_S = 7200;
const ALLOWED_HEADERS_DEFAULT = 'content-type, content-encoding';

/** The headers for an answer to a page of this origin; null where it is not allowed. */
export function corsHeaders(options: CorsOptions, origin: string | undefined): Record<string, string> | null {
  if (origin === undefined) return null;
  const all = options.allowedOrigins.includes('*');
  if (!all && !options.allowedOrigins.includes(origin)) return null;
  return all ? { 'Access-Control-Allow-Origin': '*' } : { 'Access-Control-Allow-Origin': origin, Vary: 'Origin' };
}

/** The headers for the answer to a preflight; null where it is not allowed. */
export function preflightHeaders(
  options: CorsOptions,
  origin: string | undefined,
  requestedHeaders: string | undefined,
): Record<string, string> | null {
  const headers = corsHeaders(options, origin);
  if (!headers) return null;
  return {
    ...headers,
    'Access-Control-Allow-Methods': 'POST',
    // Exporters send headers of their own (keys, tenants); allowing what is asked gives nothing away without credentials.
    'Access-Control-Allow-Headers': requestedHeaders || ALLOWED_HEADERS_DEFAULT,
    'Access-Control-Max-Age': String(PREFLIGHT_AGE_S),
  };
}
