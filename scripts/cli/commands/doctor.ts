import { resolve } from 'node:path';
import { engineFindings } from '../../engines/engine-report.js';
import { missingForEngines } from '../../engines/local-engines.js';
import type { Endpoints } from '../../fleet/endpoints.js';
import { type CommandContext, endpointsIfAny, endpointsOf } from '../context.js';
import { type EngineReports, engineLines, engineReports } from '../engine-reports.js';
import { ExitCode } from '../exit-codes.js';
import { type DeepAnswer, deepHealthAt } from '../process-health.js';
import { timeOfDay } from '../state-lines.js';
import { printable, styled, type Terminal, table } from '../terminal.js';

export interface DoctorOptions {
  readonly data: string;
  /** Default: the engines are looked at where the fleet has any. */
  readonly engines?: string;
  readonly json?: boolean;
}

/**
 * `meridian doctor`: asks every process for a deep check and every engine how it is, and says what is wrong and what follows from it. Exit code 1
 * where something is.
 */
export async function doctorCommand(context: CommandContext, options: DoctorOptions): Promise<ExitCode> {
  const { terminal } = context;
  const endpoints = options.engines === 'local' ? endpointsIfAny(options) : endpointsOf(options);
  const withEngines =
    options.engines === 'local' || (options.engines === undefined && endpoints?.engines !== undefined);
  const [answers, engines] = await Promise.all([
    endpoints ? processAnswers(endpoints) : [],
    withEngines ? engineReports(resolve(options.data), endpoints) : null,
  ]);
  const reports = engines?.reports ?? [];
  const sick = reports.filter(({ state }) => state !== 'up');
  const findings = engineFindings(reports, timeOfDay);
  // What is missing on the machine explains an engine that is not there, or that nobody could start yet.
  const missing = withEngines && (!engines || sick.length > 0) ? await missingForEngines() : null;
  const wrong = answers.filter(([, answer]) => answer.state !== 'ok').length;

  if (options.json) {
    const local = withEngines ? { engines: reports, findings, missing } : {};
    terminal.out(JSON.stringify({ ...Object.fromEntries(answers), ...local }));
  } else {
    if (answers.length > 0) for (const line of processLines(terminal, answers)) terminal.out(line);
    if (engines) for (const line of engineLines(terminal, reports)) terminal.out(line);
    for (const finding of findings) terminal.out(`\n${finding}`);
    if (missing) terminal.out(`\nthis machine lacks:\n  ${missing}`);
  }
  for (const line of verdict({ answers: answers.length, wrong, engines, sick: sick.length, options, missing })) {
    terminal.note(line);
  }
  return wrong > 0 || sick.length > 0 || missing ? ExitCode.failed : ExitCode.done;
}

function verdict(found: {
  readonly answers: number;
  readonly wrong: number;
  readonly engines: EngineReports | null;
  readonly sick: number;
  readonly missing: string | null;
  readonly options: DoctorOptions;
}): string[] {
  const { answers, wrong, engines, sick, missing, options } = found;
  const lines: string[] = [];
  if (answers > 0) {
    lines.push(wrong ? `${wrong} of ${answers} processes are not well` : `all ${answers} processes are well`);
  }
  if (engines) {
    const count = engines.reports.length;
    lines.push(sick ? `${sick} of ${count} engines are not well` : `all ${count} engines are well`);
  }
  if (engines?.orphaned) {
    lines.push(
      `the fleet of ${options.data} does not run: \`meridian fleet --engines local\` starts it again, data survive`,
    );
  }
  if (options.engines === 'local' && !engines) {
    const tools = missing ? 'this machine lacks what they need' : 'Java, Maven and redis-server are there';
    lines.push(`no engines were started in ${options.data}; ${tools}. \`meridian fleet --engines local\` starts them`);
  }
  return lines;
}

type Answers = readonly (readonly [name: string, answer: DeepAnswer])[];

function processAnswers(endpoints: Endpoints): Promise<Answers> {
  const targets = [
    ...Object.entries(endpoints.regions).map(([region, { admin }]) => [`${region} region`, admin] as const),
    ...Object.entries(endpoints.routers).map(([region, { http }]) => [`${region} router`, http] as const),
  ];
  return Promise.all(targets.map(async ([name, url]) => [name, await deepHealthAt(url)] as const));
}

function processLines(terminal: Terminal, answers: Answers): string[] {
  const rows = answers.flatMap(([name, answer]) =>
    answer.parts.map((part) => [name, part.part, part.state, part.since ?? '', printable(part.detail ?? '')]),
  );
  const lines = table([['PROCESS', 'PART', 'STATE', 'SINCE', 'DETAIL'], ...rows]);
  return lines.map((line) => painted(terminal, line));
}

function painted(terminal: Terminal, line: string): string {
  if (/\bdown\b/.test(line)) return styled(terminal, 'red', line);
  return /\bdegraded\b/.test(line) ? styled(terminal, 'yellow', line) : line;
}
