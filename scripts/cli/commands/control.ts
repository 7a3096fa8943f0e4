import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { type CommandContext, endpointsOf } from '../context.js';
import { ExitCode } from '../exit-codes.js';

/** `meridian stop REGION` and `meridian start REGION`: asks the fleet that runs in the folder. */
export async function controlCommand(
  context: CommandContext,
  verb: 'start' | 'stop',
  region: string,
  options: { readonly data: string; readonly kill?: boolean },
): Promise<ExitCode> {
  const { control } = endpointsOf(options);
  const url = `${control.url}/regions/${encodeURIComponent(region)}/${verb}${options.kill ? '?kill=true' : ''}`;
  let response: Response;
  try {
    response = await fetch(url, { method: 'POST' });
  } catch (error) {
    const cause = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    throw new MeridianError(
      'unavailable',
      `${verb} ${region}: the fleet of ${options.data} does not answer (${cause}). Is it running?`,
      'later',
    );
  }
  const answer = (await response.json()) as { error?: string };
  if (!response.ok)
    throw new MeridianError(response.status === 409 ? 'invalid' : 'unavailable', answer.error ?? 'failed', 'never');
  context.terminal.out(verb === 'start' ? `${region} is up` : `${region} is ${options.kill ? 'killed' : 'stopped'}`);
  return ExitCode.done;
}
