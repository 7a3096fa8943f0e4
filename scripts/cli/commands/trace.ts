import { parseTraceId } from '../../../global/model/ids.js';
import { MeridianError } from '../../../global/runtime/errors.js';
import type { IndexAnswer, TraceAnswer } from '../answers.js';
import { type CommandContext, routerClient, type TargetOptions } from '../context.js';
import { ExitCode } from '../exit-codes.js';
import { jsonOf } from '../router-client.js';
import { formatNanos, printable, styled, table } from '../terminal.js';
import { drawTrace } from '../waterfall.js';

export interface TraceOptions extends TargetOptions {
  readonly json?: boolean;
  readonly otlp?: boolean;
  readonly deadline?: string;
  readonly partial?: string;
}

/** `meridian trace ID`: a waterfall, or the router's JSON, or OTLP JSON. Exit code 3 where a region is missing. */
export async function traceCommand(context: CommandContext, id: string, options: TraceOptions): Promise<ExitCode> {
  const query = new URLSearchParams();
  if (options.deadline) query.set('deadline', options.deadline);
  if (options.partial) query.set('partial', options.partial);
  const path = `/v1/traces/${checkedId(id)}${query.size ? `?${query}` : ''}`;
  const client = routerClient(context, options);
  if (options.otlp) {
    const answer = await client.get(path, 'application/otlp+json');
    if (answer.status >= 400) jsonOf(answer, path);
    context.terminal.out(answer.body.toString('utf8'));
    return answer.complete ? ExitCode.done : ExitCode.partial;
  }
  const answer = await client.get(path);
  const trace = jsonOf<TraceAnswer>(answer, path);
  const lines = options.json ? [answer.body.toString('utf8')] : drawTrace(context.terminal, trace);
  for (const line of lines) context.terminal.out(line);
  return trace.complete ? ExitCode.done : ExitCode.partial;
}

/** `meridian index ID`: the records, the watermarks, and which regions would be asked or skipped, and why. */
export async function indexCommand(
  context: CommandContext,
  id: string,
  options: TargetOptions & { json?: boolean },
): Promise<ExitCode> {
  const { terminal } = context;
  const path = `/v1/index/${checkedId(id)}`;
  const answer = await routerClient(context, options).get(path);
  const index = jsonOf<IndexAnswer>(answer, path);
  if (options.json) {
    terminal.out(answer.body.toString('utf8'));
    return ExitCode.done;
  }
  terminal.out(`trace ${styled(terminal, 'bold', index.traceId)}`);
  terminal.out('');
  if (index.records.length === 0 && index.folded.length === 0) {
    terminal.out('no record in the index: every region is asked');
  }
  const records = index.records.map((record) => [
    record.region,
    `${record.spanCount}`,
    `${record.errorCount}`,
    formatNanos(BigInt(record.endTimeUnixNano) - BigInt(record.startTimeUnixNano)),
    record.root ? printable(`${record.root.service} ${record.root.operation}`) : '-',
    printable(record.services.map((s) => (typeof s === 'string' ? s : s.name)).join(', ')),
  ]);
  if (records.length)
    for (const line of table([['RECORD', 'SPANS', 'ERRORS', 'DURATION', 'ROOT', 'SERVICES'], ...records]))
      terminal.out(line);
  if (index.folded.length > 0) {
    const folded = index.folded.map(({ region, startTimeUnixNanoMin, endTimeUnixNanoMax }) => [
      region,
      timeOf(startTimeUnixNanoMin),
      timeOf(endTimeUnixNanoMax),
    ]);
    for (const line of table([['MAY HAVE IT (FOLDED DAY)', 'NOT BEFORE', 'NOT AFTER'], ...folded])) terminal.out(line);
  }
  terminal.out('');
  const watermarks = index.watermarks.map((w) => [
    w.region,
    w.watermarkUnixNano === '0' ? '-' : timeOf(w.watermarkUnixNano),
    `${w.lagMs} ms ago`,
  ]);
  for (const line of table([['WATERMARK', 'COMPLETE UP TO', 'LAG'], ...watermarks])) terminal.out(line);
  terminal.out('');
  const plan = index.plan.map((p) => [p.region, p.action, p.why]);
  for (const line of table([['PLAN', 'ACTION', 'WHY'], ...plan])) terminal.out(line);
  return ExitCode.done;
}

function timeOf(unixNano: string): string {
  return new Date(Number(BigInt(unixNano) / 1_000_000n)).toISOString();
}

function checkedId(text: string): string {
  const id = parseTraceId(text);
  if (!id)
    throw new MeridianError(
      'invalid',
      `"${printable(text)}" is no trace id: 16 or 32 hex characters, not all zero`,
      'never',
    );
  return id;
}
