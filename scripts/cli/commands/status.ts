import type { FleetAnswer } from '../answers.js';
import { type CommandContext, routerClient, type TargetOptions } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { jsonOf } from '../router-client.js';
import { printable, type Style, styled, type Terminal, table } from '../terminal.js';

const WATCH_MS = 1000;

/** `meridian status`: regions, roles, lag, health. Exit code 3 where a region is not healthy. */
export async function statusCommand(
  context: CommandContext,
  options: TargetOptions & { watch?: boolean; json?: boolean },
): Promise<ExitCode> {
  const client = routerClient(context, options);
  for (;;) {
    const answer = await client.get('/v1/fleet');
    const fleet = jsonOf<FleetAnswer>(answer, '/v1/fleet');
    if (options.watch && context.terminal.colors) context.terminal.out('\u001b[2J\u001b[H');
    const lines = options.json
      ? [answer.body.toString('utf8')]
      : [`as the router of ${answer.router} sees it, epoch ${fleet.epoch}`, ...fleetLines(context.terminal, fleet)];
    for (const line of lines) context.terminal.out(line);
    const code = fleet.regions.every((r) => r.state === 'healthy') ? ExitCode.done : ExitCode.partial;
    if (!options.watch) return code;
    await sleep(WATCH_MS, context.stop);
    if (context.stop.aborted) return code;
  }
}

function fleetLines(terminal: Terminal, fleet: FleetAnswer): string[] {
  const rows = fleet.regions.map((region) => [
    region.region,
    region.state,
    region.since,
    region.standby ?? '-',
    region.ingestPointsAt,
    region.links.map((link) => `${link.from} ${link.state} ${link.lagMs} ms`).join(', ') || '-',
    printable(
      region.parts
        .filter((part) => part.state !== 'ok')
        .map((part) => `${part.part} ${part.state}${part.detail ? ` (${part.detail})` : ''}`)
        .join(', '),
    ) || 'all parts ok',
  ]);
  const [head, ...lines] = table([
    ['REGION', 'STATE', 'SINCE', 'STANDBY', 'INGEST AT', 'LINKS FROM', 'PARTS'],
    ...rows,
  ]);
  return [
    styled(terminal, 'dim', head!),
    ...lines.map((line, i) => styled(terminal, styleOf(fleet.regions[i]!.state), line)),
  ];
}

function styleOf(state: string): Style {
  return state === 'healthy' ? 'green' : state === 'lost' ? 'red' : 'yellow';
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
