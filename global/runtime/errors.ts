/**
 * A foreign condition: bad input, a missing engine, a full queue. It has a stable code that callers and
 * documentation name, says whether trying again can help, and its message names what was attempted and on what.
 * (A broken invariant of our own is an assertion instead: the process ends and is restarted.)
 */
export class MeridianError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly retry: 'never' | 'later',
    options?: { cause?: unknown; retryAfterMs?: number },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MeridianError';
    if (options?.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
  }

  readonly retryAfterMs?: number;
}

export type ErrorCode =
  /** Bytes that are not what they claim to be: wire format, JSON, thrift. */
  | 'malformed'
  /** Well-formed, but against a rule or beyond a named limit. */
  | 'invalid'
  | 'too-large'
  /** Stored or sent bytes of a version that this build does not know. */
  | 'unknown-version'
  | 'not-found'
  | 'overloaded'
  | 'unavailable'
  | 'timeout'
  | 'refused'
  | 'configuration'
  | 'shutting-down';

/** Checks an invariant of our own; failing it is a bug, and the process should not go on. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${message}`);
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
