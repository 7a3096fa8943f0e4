import { readFileSync } from 'node:fs';
import { parseFleet } from '../../../global/fleet/fleet.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { createLogger } from '../../../global/runtime/logger.js';
import { resolveOptions } from '../../../global/runtime/options.js';
import type { Service } from '../../../global/runtime/service.js';
import { REGION_OPTIONS } from '../../../regions/config/region-options.js';
import { ROUTER_OPTIONS } from '../../../router/router-options.js';
import type { CommandContext } from '../context.js';
import { ExitCode, exitCodeOf } from '../exit-codes.js';

export interface RoleOptions {
  readonly config: string;
}

/**
 * One role of a fleet as this process: starts it, tells a parent (by IPC, if there is one) that it is ready or why it cannot be,
 * drains on SIGTERM, SIGINT or when the parent is gone.
 */
export async function roleCommand(
  context: CommandContext,
  role: 'region' | 'router',
  options: RoleOptions,
  parent: ParentChannel,
): Promise<ExitCode> {
  let service: Service | undefined;
  try {
    service = await (role === 'region' ? regionFrom(context, options, parent) : routerFrom(context, options));
    await service.start();
  } catch (error) {
    context.terminal.note(`meridian ${role}: ${messageOf(error)}`);
    // A wrong configuration will be as wrong after a restart; anything else may pass.
    if (exitCodeOf(error) === ExitCode.usage) parent.send({ failed: messageOf(error) });
    await service?.stop().catch(() => {});
    return exitCodeOf(error);
  }
  parent.send({ ready: true });
  await new Promise<void>((resolve) => {
    if (context.stop.aborted) resolve();
    context.stop.addEventListener('abort', () => resolve(), { once: true });
  });
  await service.stop();
  return ExitCode.done;
}

export interface ParentChannel {
  send(message: { ready: true } | { failed: string }): void;
  /** Ends this process at once, as a crash would. */
  crash(): void;
}

async function regionFrom(context: CommandContext, { config }: RoleOptions, parent: ParentChannel): Promise<Service> {
  const { createRegion } = await import('../../../regions/region.js');
  const options = resolveOptions(REGION_OPTIONS, { file: readConfig(config), environment: context.environment });
  const { crashAt, logLevel, region } = options;
  return createRegion({
    options,
    fleet: parseFleet(options.fleet, `${config}: fleet`),
    logger: createLogger(`region ${region}`, logLevel),
    crash: (point) => {
      if (point === crashAt) parent.crash();
    },
  });
}

async function routerFrom(context: CommandContext, { config }: RoleOptions): Promise<Service> {
  const { createRouterFromConfig } = await import('../../../router/from-config.js');
  const options = resolveOptions(ROUTER_OPTIONS, { file: readConfig(config), environment: context.environment });
  return createRouterFromConfig({
    options,
    fleet: parseFleet(options.fleet, `${config}: fleet`),
    logger: createLogger(`router ${options.region}`, options.logLevel),
  });
}

function readConfig(path: string): { path: string; value: unknown } {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new MeridianError('configuration', `cannot read ${path}: ${messageOf(error)}`, 'never', { cause: error });
  }
  try {
    return { path, value: JSON.parse(content) };
  } catch (error) {
    throw new MeridianError('configuration', `${path} is no JSON: ${messageOf(error)}`, 'never', { cause: error });
  }
}
