/**
 * Time. OTLP counts nanoseconds since the Unix epoch in 64 bits, beyond 2^53: such a value is a `bigint`
 * (`...UnixNano`) or two unsigned 32-bit halves, never a number. Wall-clock milliseconds (`...Ms`) are numbers.
 */

export const NANOS_PER_MS = 1_000_000n;
export const NANOS_PER_SECOND = 1_000_000_000n;

/** The largest 64-bit count: no time and no duration is beyond it. */
export const UINT64_MAX = (1n << 64n) - 1n;

/** Joins the two unsigned halves of a 64-bit count. */
export function nanosFromHalves(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

export function msToUnixNano(ms: number): bigint {
  return BigInt(Math.trunc(ms)) * NANOS_PER_MS;
}

/** Whole milliseconds, rounded towards zero: exact for any date before the year 287396. */
export function unixNanoToMs(nano: bigint): number {
  return Number(nano / NANOS_PER_MS);
}

export function minNano(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

export function maxNano(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
