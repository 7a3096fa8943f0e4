import { errors } from '@elastic/elasticsearch';
import { z } from 'zod';
import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';

/** What Elasticsearch, or the way to it, answered instead of a result. */
export class ElasticsearchError extends MeridianError {
  constructor(
    /**
     * rejected: 429, it has too much to do; unreachable: no answer, a time limit, 5xx: what the circuit breaker counts; missing: 404;
     * aborted: by our own signal; other: it understood, and refused.
     */
    readonly kind: FailureKind,
    code: ErrorCode,
    message: string,
    retry: 'never' | 'later',
    /** HTTP status; 0 where there was none. */
    readonly status: number,
    cause?: unknown,
  ) {
    super(code, message, retry, { cause });
  }
}

export type FailureKind = 'rejected' | 'unreachable' | 'missing' | 'aborted' | 'other';

const ErrorBody = z.object({ error: z.object({ type: z.string(), reason: z.string().nullish() }).loose() }).loose();

/** Gives what the client throws a kind and a code; `what` is what was attempted. Pure. */
export function failureOf(what: string, error: unknown): MeridianError {
  if (error instanceof MeridianError) return error;
  if (error instanceof errors.RequestAbortedError) {
    return new ElasticsearchError('aborted', 'timeout', `${what}: given up`, 'later', 0, error);
  }
  if (!(error instanceof errors.ResponseError)) {
    return new ElasticsearchError('unreachable', 'unavailable', `${what}: ${messageOf(error)}`, 'later', 0, error);
  }
  const status = error.statusCode ?? 0;
  const body: unknown = error.body;
  const parsed = ErrorBody.safeParse(body);
  const reason = parsed.success ? `${parsed.data.error.type}: ${parsed.data.error.reason ?? ''}` : messageOf(error);
  const { kind, code, retry } = verdict(status);
  return new ElasticsearchError(kind, code, `${what}: ${reason} (${status})`, retry, status, error);
}

function verdict(status: number): { kind: FailureKind; code: ErrorCode; retry: 'never' | 'later' } {
  if (status === 429) return { kind: 'rejected', code: 'unavailable', retry: 'later' };
  if (status >= 500 || status === 408) return { kind: 'unreachable', code: 'unavailable', retry: 'later' };
  if (status === 404) return { kind: 'missing', code: 'unavailable', retry: 'later' };
  if (status === 413) return { kind: 'other', code: 'too-large', retry: 'never' };
  // Credentials and permissions can be put right while this process goes on.
  if (status === 401 || status === 403) return { kind: 'other', code: 'unavailable', retry: 'later' };
  return { kind: 'other', code: 'invalid', retry: 'never' };
}

export function isFailure(error: unknown, kind: FailureKind): error is ElasticsearchError {
  return error instanceof ElasticsearchError && error.kind === kind;
}
