/**
 * What a benchmark hands to the runner (`scripts/bench/main.ts`), which prints it and writes docs/benchmarks.md. Each benchmark is
 * a module with one exported `async function benchX(): Promise<BenchResult>`.
 */
export interface BenchResult {
  /** Short name, e.g. `otlp-scan`: also what the runner selects by. */
  readonly name: string;
  /** Requirement ids of requirements.md that the figures answer, e.g. `['In3', 'In4']`. */
  readonly requirements: readonly string[];
  readonly rows: readonly BenchRow[];
}

export interface BenchRow {
  /** What was measured, with the load in words: a reader must be able to tell what the figure is of. */
  readonly what: string;
  /** The figure that was asked for, in `unit`; null where none was. */
  readonly asked: Asked | null;
  readonly unit: string;
  readonly measured: Spread;
  /** What it stands beside, measured in the same run, e.g. `9.8x protobufjs decode + encode (0.11M spans/s)`. */
  readonly comparedWith?: string;
}

export interface Asked {
  readonly relation: 'at least' | 'at most' | 'below';
  readonly value: number;
}

/** Median and spread of the rounds of one figure. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** Median (mean of the middle two for an even number), least and greatest. Throws a RangeError for no values. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('a spread needs at least one value');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted[sorted.length - 1]!, rounds: sorted.length };
}

/**
 * Runs `round` `warmups` times for nothing, then `rounds` times, one after the other; each call returns the figure of its
 * round (in the unit of the row, e.g. spans per second). The first rejection rejects.
 */
export async function runRounds(
  options: { readonly rounds: number; readonly warmups?: number },
  round: (index: number) => number | Promise<number>,
): Promise<Spread> {
  const values: number[] = [];
  for (let i = 0; i < (options.warmups ?? 1); i++) await round(i);
  for (let i = 0; i < options.rounds; i++) values.push(await round(i));
  return spreadOf(values);
}

/** The value at quantile `q` (0 to 1) by nearest rank. Throws a RangeError for no values. */
export function quantileOf(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError('a quantile needs at least one value');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))]!;
}

/** Whether the median holds what was asked; null where nothing was. */
export function meetsAsked(row: BenchRow): boolean | null {
  if (row.asked === null) return null;
  const { relation, value } = row.asked;
  const { median } = row.measured;
  return relation === 'at least' ? median >= value : relation === 'at most' ? median <= value : median < value;
}

/** Three significant digits, grouped in thousands: `1,230,000`, `3.14`, `0.0123`. */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(3));
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(rounded))));
  return rounded.toLocaleString('en-US', { maximumFractionDigits: Math.min(decimals, 20) });
}

/** Header and rows of a Markdown table of a result: what, asked, measured (median), spread, compared with. */
export function markdownTable(result: BenchResult): string {
  const lines = ['| what | asked | measured | spread | compared with |', '|---|---|---|---|---|'];
  for (const row of result.rows) {
    const asked = row.asked === null ? '' : `${row.asked.relation} ${formatFigure(row.asked.value)} ${row.unit}`;
    const met = meetsAsked(row);
    const measured = `${formatFigure(row.measured.median)} ${row.unit}${met === false ? ' (missed)' : ''}`;
    const spread = `${formatFigure(row.measured.min)} .. ${formatFigure(row.measured.max)}`;
    lines.push(`| ${row.what} | ${asked} | ${measured} | ${spread} | ${row.comparedWith ?? ''} |`);
  }
  return lines.join('\n');
}
