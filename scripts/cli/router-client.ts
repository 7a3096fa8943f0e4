import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { Endpoints } from '../fleet/endpoints.js';

export interface RouterAnswer {
  readonly status: number;
  readonly body: Buffer;
  /** What the router's header says; true where it says nothing. */
  readonly complete: boolean;
  /** The region whose router answered, or the URL that was given. */
  readonly router: string;
}

/**
 * Asks the routers of a fleet, in the order given: the first that answers is taken. One that cannot be reached is named by `remark`;
 * an answer is an answer, whatever its status.
 */
export class RouterClient {
  readonly #routers: readonly { name: string; url: string }[];
  readonly #remark: (line: string) => void;

  constructor(routers: readonly { name: string; url: string }[], remark: (line: string) => void) {
    this.#routers = routers;
    this.#remark = remark;
  }

  async get(path: string, accept = 'application/json'): Promise<RouterAnswer> {
    const failures: string[] = [];
    for (const { name, url } of this.#routers) {
      try {
        const response = await fetch(`${url}${path}`, {
          headers: { accept },
          signal: AbortSignal.timeout(65_000),
        });
        const body = Buffer.from(await response.arrayBuffer());
        for (const failure of failures) this.#remark(failure);
        return {
          status: response.status,
          complete: response.headers.get('meridian-complete') !== 'false',
          body,
          router: name,
        };
      } catch (error) {
        const cause = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
        failures.push(`router of ${name} (${url}) does not answer: ${cause}`);
      }
    }
    throw new MeridianError('unavailable', `no router answered:\n  ${failures.join('\n  ')}`, 'later');
  }
}

/** The JSON of an answer below 400; a problem becomes an error with its detail. */
export function jsonOf<T>(answer: RouterAnswer, path: string): T {
  const parsed = JSON.parse(answer.body.toString('utf8')) as T & { detail?: string; title?: string; code?: string };
  if (answer.status < 400) return parsed;
  const why = parsed.detail ?? parsed.title ?? `status ${answer.status}`;
  const code = answer.status === 404 ? 'not-found' : answer.status === 400 ? 'invalid' : 'unavailable';
  throw new MeridianError(
    code,
    `${path} at the router of ${answer.router}: ${why}`,
    code === 'unavailable' ? 'later' : 'never',
  );
}

/** The routers of a fleet; `preferred` first where it is given. */
export function routersOf(endpoints: Endpoints, preferred?: string): { name: string; url: string }[] {
  const all = Object.entries(endpoints.routers).map(([name, { http }]) => ({ name, url: http }));
  if (preferred && !all.some((r) => r.name === preferred)) {
    throw new MeridianError(
      'invalid',
      `no router in "${preferred}"; there are ${all.map((r) => r.name).join(', ')}`,
      'never',
    );
  }
  return [...all.filter((r) => r.name === preferred), ...all.filter((r) => r.name !== preferred)];
}
