import { request } from 'node:http';
import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';
import { endpointsOf } from './context.js';

/** URL of the maintenance port of a region of the folder's fleet. Throws `invalid` that names the regions there are. */
export function adminOf({ data, region }: { readonly data: string; readonly region: string }): string {
  const { regions } = endpointsOf({ data });
  const found = regions[region];
  if (found) return found.admin;
  throw new MeridianError('invalid', `no region "${region}"; there are ${Object.keys(regions).join(', ')}`, 'never');
}

/**
 * Asks a region's maintenance port and waits for its answer as long as it takes (`fetch` would give up after five minutes). An answer
 * that is a failure is thrown with the region's own code and message; `unavailable` where nobody answers.
 */
export async function askAdmin<T>(url: string, method: 'GET' | 'POST'): Promise<T> {
  let answer: { status: number; text: string };
  try {
    answer = await roundTrip(url, method);
  } catch (error) {
    throw new MeridianError('unavailable', `${url} does not answer: ${messageOf(error)}`, 'later', { cause: error });
  }
  const { status, text } = answer;
  const parsed = jsonOf(text) as (T & { error?: string; code?: string; retry?: string }) | undefined;
  if (status < 400 && parsed !== undefined) return parsed;
  const code = CODES.find((known) => known === parsed?.code) ?? (status === 400 ? 'invalid' : 'unavailable');
  const what = parsed?.error ?? `${url}: status ${status}`;
  throw new MeridianError(code, what, parsed?.retry === 'later' ? 'later' : 'never');
}

/** Those that a region answers with and that this command line tells apart. */
const CODES: readonly ErrorCode[] = [
  'invalid',
  'not-found',
  'refused',
  'configuration',
  'malformed',
  'unknown-version',
];

function roundTrip(url: string, method: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      );
      response.once('error', reject);
    });
    asked.once('error', reject);
    asked.end();
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const HAS_MEMBERS = /\bhas members\b/;

/**
 * An error of a replay or a restore, with what to do about it where other processes of the region stand in the way: the region stops only its own
 * consumers, and a group is rewound while nobody is in it.
 */
export function withWhoToStop(
  error: unknown,
  { what, region, admin }: { readonly what: string; readonly region: string; readonly admin: string },
): unknown {
  if (!(error instanceof MeridianError) || error.code !== 'refused' || !HAS_MEMBERS.test(error.message)) return error;
  const todo =
    `${region} has other processes that write the same: stop all of them but the one at ${admin}, ${what} again, then start them. ` +
    'One that was killed counts for another 15 s or so';
  return new MeridianError('refused', `${error.message}. ${todo}`, 'later', { cause: error });
}
