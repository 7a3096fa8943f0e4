import { STATUS_CODES } from 'node:http';
import type { Response } from 'express';
import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';

/** RFC 9457 problem details, with Meridian's `code` and `retry`, and members of the case at hand. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance?: string;
  readonly code: string;
  readonly retry: 'never' | 'later';
  readonly [member: string]: unknown;
}

const STATUS_OF: Record<ErrorCode, number> = {
  malformed: 400,
  invalid: 400,
  'too-large': 413,
  'unknown-version': 400,
  'not-found': 404,
  overloaded: 503,
  unavailable: 503,
  timeout: 504,
  refused: 403,
  configuration: 500,
  'shutting-down': 503,
};

const TITLES: Record<ErrorCode, string> = {
  malformed: 'The request could not be read',
  invalid: 'The request is against a rule',
  'too-large': 'The request is too large',
  'unknown-version': 'A version that this router does not know',
  'not-found': 'Not found',
  overloaded: 'The router has too much to do',
  unavailable: 'A part of the fleet could not be asked',
  timeout: 'The deadline came first',
  refused: 'Refused',
  configuration: 'The fleet is not configured for this',
  'shutting-down': 'The router is stopping',
};

export function makeProblem(
  error: MeridianError,
  members: { readonly status?: number; readonly instance?: string; readonly [member: string]: unknown } = {},
): Problem {
  return {
    type: `urn:meridian:problem:${error.code}`,
    title: TITLES[error.code],
    detail: error.message,
    code: error.code,
    retry: error.retry,
    ...members,
    status: members.status ?? STATUS_OF[error.code],
  };
}

/** What a handler threw, as a problem: a `MeridianError` by its code, an error of express by its status, all else as 500. */
export function problemOf(error: unknown, instance: string): Problem {
  if (error instanceof MeridianError) return makeProblem(error, { instance });
  const status = statusOf(error);
  if (status !== null && status < 500) {
    const code = status === 404 ? 'not-found' : 'invalid';
    return makeProblem(new MeridianError(code, messageOf(error), 'never'), { status, instance });
  }
  return {
    type: 'urn:meridian:problem:internal',
    title: STATUS_CODES[500] ?? 'Internal Server Error',
    status: 500,
    detail: 'the router failed; its log has more',
    instance,
    code: 'internal',
    retry: 'later',
  };
}

function statusOf(error: unknown): number | null {
  if (typeof error !== 'object' || error === null || !('status' in error)) return null;
  return typeof error.status === 'number' ? error.status : null;
}

export function sendProblem(response: Response, problem: Problem, retryAfterSeconds = 1): void {
  if (problem.retry === 'later') response.setHeader('Retry-After', String(retryAfterSeconds));
  response.status(problem.status).type('application/problem+json').send(JSON.stringify(problem));
}
