import { MeridianError } from '../../global/runtime/errors.js';
import type { Endpoints } from '../fleet/endpoints.js';
import { readEndpoints } from '../fleet/endpoints.js';
import { RouterClient, routersOf } from './router-client.js';
import type { Terminal } from './terminal.js';

/** What every command gets: the terminal and the environment, which only main.ts reads from the process. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Aborts on the first SIGINT or SIGTERM. */
  readonly stop: AbortSignal;
}

/** The options that say which fleet, or which router, is meant. */
export interface TargetOptions {
  readonly data: string;
  readonly router?: string;
  readonly url?: string;
}

export function routerClient(context: CommandContext, options: TargetOptions): RouterClient {
  const remark = (line: string) => context.terminal.note(line);
  if (options.url) return new RouterClient([{ name: options.url, url: options.url.replace(/\/+$/, '') }], remark);
  return new RouterClient(routersOf(endpointsOf(options), options.router), remark);
}

export function endpointsOf(options: { readonly data: string }): Endpoints {
  return readEndpoints(options.data);
}

/** Null where no fleet was ever started in the folder. */
export function endpointsIfAny(options: { readonly data: string }): Endpoints | null {
  try {
    return readEndpoints(options.data);
  } catch (error) {
    if (error instanceof MeridianError && error.code === 'not-found') return null;
    throw error;
  }
}
