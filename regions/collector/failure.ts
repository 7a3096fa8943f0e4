import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';

/**
 * Why a request was not taken, in the terms of every protocol at once. Retryable is what another try can heal: OTLP clients send
 * again on 429 and 503, and over gRPC on UNAVAILABLE and on RESOURCE_EXHAUSTED with a RetryInfo; all else is permanent.
 * Source: OTLP specification 1.x, "Failures" of OTLP/gRPC and OTLP/HTTP.
 */
export interface Failure {
  readonly code: ErrorCode | RequestCode;
  readonly httpStatus: number;
  readonly grpcStatus: number;
  readonly message: string;
  /** Present where the same bytes may be sent again. */
  readonly retryAfterMs?: number;
  /** Further HTTP headers that the status asks for. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** What can be wrong with a request before its body matters, or with us. */
export type RequestCode = 'client-gone' | 'unknown-path' | 'method-not-allowed' | 'unsupported-media-type' | 'internal';

/** The client went away before its request was complete: nobody is there to be answered, and nothing of ours failed. */
export class ClientGone extends Error {}

/** gRPC status codes in use (google.rpc.Code). */
export const GRPC = {
  cancelled: 1,
  invalidArgument: 3,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

const PERMANENT: Partial<Record<ErrorCode, readonly [httpStatus: number, grpcStatus: number]>> = {
  malformed: [400, GRPC.invalidArgument],
  invalid: [400, GRPC.invalidArgument],
  'unknown-version': [400, GRPC.invalidArgument],
  // Not RESOURCE_EXHAUSTED: some clients send that again whether or not a RetryInfo comes with it.
  'too-large': [413, GRPC.invalidArgument],
};

/** Maps whatever was thrown. A foreign error is ours: `internal`, without its text, which might show more than a client should see. */
export function failureOf(error: unknown, retryAfterMsDefault: number): Failure {
  if (error instanceof ClientGone) {
    return { code: 'client-gone', httpStatus: 400, grpcStatus: GRPC.cancelled, message: error.message };
  }
  if (!(error instanceof MeridianError)) {
    return {
      code: 'internal',
      httpStatus: 500,
      grpcStatus: GRPC.internal,
      message: 'the collector failed on this request',
    };
  }
  const { code, message } = error;
  if (error.retry === 'later') {
    const [httpStatus, grpcStatus] = code === 'overloaded' ? [429, GRPC.resourceExhausted] : [503, GRPC.unavailable];
    return { code, httpStatus, grpcStatus, message, retryAfterMs: error.retryAfterMs ?? retryAfterMsDefault };
  }
  const [httpStatus, grpcStatus] = PERMANENT[code] ?? [500, GRPC.internal];
  return { code, httpStatus, grpcStatus, message };
}

/** The `Retry-After` header's value: whole seconds, rounded up, at least one. */
export function retryAfterSeconds(retryAfterMs: number): number {
  return Math.max(1, Math.ceil(retryAfterMs / 1000));
}

export function unknownPath(path: string): Failure {
  return {
    code: 'unknown-path',
    httpStatus: 404,
    grpcStatus: GRPC.unimplemented,
    message: `nothing is served at ${clip(path)}`,
  };
}

export function methodNotAllowed(method: string, path: string): Failure {
  return {
    code: 'method-not-allowed',
    httpStatus: 405,
    grpcStatus: GRPC.unimplemented,
    message: `${clip(method)} ${path}: only POST is served`,
    headers: { Allow: 'POST, OPTIONS' },
  };
}

/** A body of a kind or an encoding that the path does not take. */
export function unsupportedMediaType(what: string, given: string | undefined, taken: readonly string[]): Failure {
  return {
    code: 'unsupported-media-type',
    httpStatus: 415,
    grpcStatus: GRPC.unimplemented,
    message: `${what} ${given === undefined ? 'is missing' : `"${clip(given)}" is not taken`}; send ${taken.join(' or ')}`,
  };
}

/** The detail that is logged for `internal` failures, and for health. */
export function detailOf(error: unknown): string {
  return clip(messageOf(error), 500);
}

/** Text of a client's making, in a message of bounded length. */
function clip(text: string, charactersMax = 100): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax)}...`;
}
