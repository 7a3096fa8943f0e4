import { type BenchResult, markdownTable, meetsAsked } from './bench-result.js';

/** All that was measured, each with the day and the machine. */
export type BenchReport = readonly BenchRun[];

export interface BenchRun {
  readonly date: string;
  readonly machine: string;
  readonly result: BenchResult;
}

/** The report with the new runs in place of former ones of the same name, in the given order of names. */
export function mergeReport(former: BenchReport, runs: readonly BenchRun[], order: readonly string[]): BenchReport {
  const byName = new Map([...former, ...runs].map((run) => [run.result.name, run]));
  return order.flatMap((name) => byName.get(name) ?? []);
}

/** docs/benchmarks.md. */
export function reportMarkdown(report: BenchReport): string {
  const rows = report.flatMap(({ result }) => result.rows.map((row) => ({ name: result.name, row })));
  const missed = rows.filter(({ row }) => meetsAsked(row) === false);
  const summary = missed.length
    ? `Missed: ${missed.map(({ name, row }) => `${name}: ${row.what}`).join('; ')}.`
    : 'Every figure that was asked for is met.';
  const sections = report.map(
    ({ date, machine, result }) =>
      `## ${result.name}\n\n${result.requirements.join(', ')}. ${date}, ${machine}.\n\n${markdownTable(result)}\n`,
  );
  return `# Benchmarks

Written by \`npm run bench -- --markdown docs/benchmarks.md --json docs/benchmarks.json\`; \`npm run bench -- NAME\` runs one. Medians with the least
and the greatest of the rounds. "Asked" are the figures of the requirements that stand before each table. Figures of CPU a span hold on a
noisy machine where spans a second do not. ${summary}

${sections.join('\n')}`;
}
