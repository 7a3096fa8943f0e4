import { describe, expect, test } from 'vitest';
import { MeridianError } from '../../global/runtime/errors.js';
import { ClientGone, failureOf, retryAfterSeconds, unsupportedMediaType } from './failure.js';

const codes = (error: unknown) => {
  const { httpStatus, grpcStatus, retryAfterMs } = failureOf(error, 1500);
  return [httpStatus, grpcStatus, retryAfterMs];
};

describe('failures', () => {
  test.each([
    ['malformed', 'never', [400, 3, undefined]],
    ['invalid', 'never', [400, 3, undefined]],
    ['too-large', 'never', [413, 3, undefined]],
    ['unknown-version', 'never', [400, 3, undefined]],
    ['overloaded', 'later', [429, 8, 1500]],
    ['unavailable', 'later', [503, 14, 1500]],
    ['shutting-down', 'later', [503, 14, 1500]],
    ['timeout', 'later', [503, 14, 1500]],
    ['configuration', 'never', [500, 13, undefined]],
  ] as const)('%s, retry %s', (code, retry, expected) => {
    expect(codes(new MeridianError(code, 'why', retry))).toEqual(expected);
  });

  test('a client that went away is no failure of ours', () => {
    expect(failureOf(new ClientGone('gone'), 1500)).toMatchObject({ code: 'client-gone', httpStatus: 400 });
  });

  test('the error says when to come back, if it knows', () => {
    expect(codes(new MeridianError('unavailable', 'why', 'later', { retryAfterMs: 20 }))).toEqual([503, 14, 20]);
  });

  test('an error of ours keeps its text to itself and is not to be sent again', () => {
    const failure = failureOf(new TypeError('secret is undefined'), 1500);
    expect(failure).toMatchObject({ code: 'internal', httpStatus: 500, grpcStatus: 13 });
    expect(failure.message).not.toContain('secret');
    expect(failure.retryAfterMs).toBeUndefined();
  });

  test('Retry-After is in whole seconds, never zero', () => {
    expect([0, 1, 1000, 1001, 60_000].map(retryAfterSeconds)).toEqual([1, 1, 1, 2, 60]);
  });

  test('what a client sent is clipped in a message', () => {
    const { message } = unsupportedMediaType('the content type', 'x'.repeat(5000), ['application/json']);
    expect(message.length).toBeLessThan(200);
    expect(unsupportedMediaType('the content type', undefined, ['a', 'b']).message).toBe(
      'the content type is missing; send a or b',
    );
  });
});
