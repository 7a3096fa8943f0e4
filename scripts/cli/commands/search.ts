import type { SearchAnswer } from '../answers.js';
import { type CommandContext, routerClient, type TargetOptions } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { jsonOf } from '../router-client.js';
import { formatNanos, printable, styled, table } from '../terminal.js';
import { missingLines, warningLines } from '../waterfall.js';

export interface SearchOptions extends TargetOptions {
  readonly service?: string[];
  readonly operation?: string;
  readonly attr?: string[];
  readonly error?: boolean;
  readonly kind?: string;
  readonly minDuration?: string;
  readonly maxDuration?: string;
  readonly start?: string;
  readonly end?: string;
  readonly timeRange?: string;
  readonly regions?: string;
  readonly limit?: string;
  readonly cursor?: string;
  readonly partial?: string;
  readonly deadline?: string;
  readonly json?: boolean;
}

const PASSED_ON = [
  'operation',
  'kind',
  'minDuration',
  'maxDuration',
  'start',
  'end',
  'timeRange',
  'regions',
  'limit',
  'cursor',
  'partial',
  'deadline',
] as const;

/** `meridian search`: the newest matching traces. Exit code 3 where a region is missing. */
export async function searchCommand(context: CommandContext, options: SearchOptions): Promise<ExitCode> {
  const { terminal } = context;
  const query = new URLSearchParams();
  for (const service of options.service ?? []) query.append('service', service);
  for (const attribute of options.attr ?? []) query.append('attr', attribute);
  if (options.error) query.set('error', 'true');
  for (const name of PASSED_ON) {
    const value = options[name];
    if (value !== undefined) query.set(name, value);
  }
  const path = `/v1/traces${query.size ? `?${query}` : ''}`;
  const answer = await routerClient(context, options).get(path);
  const found = jsonOf<SearchAnswer>(answer, path);
  if (options.json) {
    terminal.out(answer.body.toString('utf8'));
    return found.complete ? ExitCode.done : ExitCode.partial;
  }
  for (const line of missingLines(terminal, found.regions)) terminal.out(line);
  for (const line of warningLines(terminal, found.warnings)) terminal.out(line);
  const rows = found.traces.map((trace) => [
    trace.traceId,
    new Date(Number(BigInt(trace.startTimeUnixNano) / 1_000_000n)).toISOString(),
    formatNanos(BigInt(trace.durationNano)),
    `${trace.spanCount}`,
    `${trace.errorCount}`,
    trace.regions.join(','),
    trace.root ? printable(`${trace.root.service} ${trace.root.operation}`) : '-',
  ]);
  if (rows.length === 0) terminal.out('no trace matches');
  else {
    const [head, ...lines] = table([['TRACE', 'START', 'DURATION', 'SPANS', 'ERRORS', 'REGIONS', 'ROOT'], ...rows]);
    terminal.out(styled(terminal, 'dim', head!));
    for (const line of lines) terminal.out(line);
  }
  if (found.nextCursor) terminal.note(`more: add --cursor ${found.nextCursor}`);
  return found.complete ? ExitCode.done : ExitCode.partial;
}
