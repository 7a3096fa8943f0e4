/** Where a command writes. Colours are for terminals only, and not where NO_COLOR is set (no-color.org). */
export interface Terminal {
  readonly colors: boolean;
  /** Columns to draw into. */
  readonly width: number;
  out(line: string): void;
  /** Progress and remarks: not part of the result. */
  note(line: string): void;
  /** Overwrites the current line on a terminal, prints nothing elsewhere. */
  progress(line: string): void;
  /** Asks the person in front of it and gives the answer, empty where they leave; absent where nobody is there to answer. */
  readonly ask?: (question: string) => Promise<string>;
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

const CODES: Record<Style, [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export function styled(terminal: Terminal, style: Style, text: string): string {
  if (!terminal.colors) return text;
  const [on, off] = CODES[style];
  return `\u001b[${on}m${text}\u001b[${off}m`;
}

/** Columns padded to the widest cell; the last is not padded. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  '));
}

/** `[######------] 50%`. `share` is from 0 to 1. */
export function progressBar(share: number): string {
  const full = Math.round(Math.min(Math.max(share, 0), 1) * 30);
  return `[${'#'.repeat(full)}${'-'.repeat(30 - full)}] ${Math.floor(share * 100)}%`;
}

/** How long ago, to a person: `12 s`, `34 min`, `5 h`, `3 d`. */
export function formatAge(ageMs: number): string {
  const seconds = Math.max(0, Math.round(ageMs / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 100 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A duration in nanoseconds with three significant digits: `950 ns`, `1.24 ms`, `12.3 s`. */
export function formatNanos(nano: bigint): string {
  const value = Number(nano);
  const [unit, size] =
    value >= 60e9
      ? ['min', 60e9]
      : value >= 1e9
        ? ['s', 1e9]
        : value >= 1e6
          ? ['ms', 1e6]
          : value >= 1e3
            ? ['µs', 1e3]
            : ['ns', 1];
  return `${Number((value / (size as number)).toPrecision(3))} ${unit}`;
}

/** Text from outside, safe to print: control characters (also a terminal's escape sequences) become a visible mark. */
export function printable(text: string): string {
  return [...text].map((c) => (isControl(c.codePointAt(0)!) ? '\u00b7' : c)).join('');
}

function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}
