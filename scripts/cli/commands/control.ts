import { MeridianError } from '../../../global/runtime/errors.js';
import { type CommandContext, endpointsOf } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { causeOf } from '../process-health.js';

/** `meridian stop REGION` and `meridian start REGION`: asks the fleet that runs in the folder. */
export async function controlCommand(
  context: CommandContext,
  verb: 'start' | 'stop',
  region: string,
  options: { readonly data: string; readonly kill?: boolean },
): Promise<ExitCode> {
  await askFleet(
    options.data,
    `regions/${encodeURIComponent(region)}/${verb}${options.kill ? '?kill=true' : ''}`,
    `${verb} ${region}`,
  );
  context.terminal.out(verb === 'start' ? `${region} is up` : `${region} is ${options.kill ? 'killed' : 'stopped'}`);
  return ExitCode.done;
}

/** Has the fleet that runs in the folder do something. Resolves when it is done; `what` is for messages. */
export async function askFleet(data: string, path: string, what: string): Promise<void> {
  const { control } = endpointsOf({ data });
  let response: Response;
  try {
    response = await fetch(`${control.url}/${path}`, { method: 'POST' });
  } catch (error) {
    throw new MeridianError(
      'unavailable',
      `${what}: the fleet of ${data} does not answer (${causeOf(error)}). Is it running?`,
      'later',
    );
  }
  const answer = (await response.json()) as { error?: string };
  if (!response.ok)
    throw new MeridianError(response.status === 409 ? 'invalid' : 'unavailable', answer.error ?? 'failed', 'never');
}
