import type { RegionAnswer, SpanAnswer, TraceAnswer, Warning } from './answers.js';
import { formatNanos, printable, styled, type Terminal } from './terminal.js';

const BAR_MIN = 20;
const NAME_MAX = 48;

/** A trace as text: what is missing first, then a line per span with its region, indented by depth, and its place in time. */
export function drawTrace(terminal: Terminal, trace: TraceAnswer): string[] {
  const lines = [
    headline(terminal, trace),
    ...regionLines(terminal, trace.regions),
    ...warningLines(terminal, trace.warnings),
  ];
  if (trace.spans.length === 0) return lines;
  const start = BigInt(trace.startTimeUnixNano);
  const total = BigInt(trace.durationNano) > 0n ? BigInt(trace.durationNano) : 1n;
  const regionWidth = Math.max(6, ...trace.spans.map((span) => span.region.length));
  const spans = inTreeOrder(trace.spans);
  const names = spans.map((span) => spanName(span));
  const nameWidth = Math.min(NAME_MAX, Math.max(...names.map((name) => name.length)));
  const barWidth = Math.max(BAR_MIN, terminal.width - regionWidth - nameWidth - 18);
  lines.push('');
  lines.push(
    styled(
      terminal,
      'dim',
      `${'REGION'.padEnd(regionWidth)}  ${'SPAN'.padEnd(nameWidth)}  0${formatNanos(total).padStart(barWidth - 1)}`,
    ),
  );
  spans.forEach((span, i) => {
    const name = names[i]!.slice(0, nameWidth).padEnd(nameWidth);
    const bar = drawBar(span, start, total, barWidth);
    const failed = span.status.code === 'error';
    const shown = failed ? styled(terminal, 'red', bar) : span.onCriticalPath ? styled(terminal, 'yellow', bar) : bar;
    const mark = failed ? styled(terminal, 'red', ' error') : '';
    lines.push(
      `${styled(terminal, 'cyan', span.region.padEnd(regionWidth))}  ${name}  ${shown} ${formatNanos(BigInt(span.durationNano))}${mark}`,
    );
  });
  return lines;
}

function headline(terminal: Terminal, trace: TraceAnswer): string {
  const answered = new Set(trace.spans.map((span) => span.region)).size;
  const state = trace.complete ? styled(terminal, 'green', 'complete') : styled(terminal, 'red', 'PARTIAL');
  const errors = trace.errorCount ? styled(terminal, 'red', `, ${trace.errorCount} with errors`) : '';
  const size = `${trace.spanCount} span${trace.spanCount === 1 ? '' : 's'} in ${answered} region${answered === 1 ? '' : 's'}`;
  return `trace ${styled(terminal, 'bold', trace.traceId)}  ${state}  ${size}${errors}  ${formatNanos(BigInt(trace.durationNano))}`;
}

const ANSWERED = new Set(['answered', 'empty', 'skipped']);

/** One line for each region that may hold a part and did not answer: which, why, since when. */
export function missingLines(terminal: Terminal, regions: readonly RegionAnswer[]): string[] {
  return regions
    .filter((region) => !ANSWERED.has(region.state))
    .map(({ region, state, reason, since }) => {
      const why = reason ? `: ${printable(reason)}` : '';
      return styled(terminal, 'red', `missing ${region}: ${state}${why}${since ? `, since ${since}` : ''}`);
    });
}

function regionLines(terminal: Terminal, regions: readonly RegionAnswer[]): string[] {
  const heard = regions
    .filter((region) => ANSWERED.has(region.state))
    .map(({ region, state, source, spanCount }) =>
      state === 'answered' ? `${region} ${spanCount} (${source})` : `${region} ${state}`,
    );
  return [...missingLines(terminal, regions), ...(heard.length ? [`regions: ${heard.join(', ')}`] : [])];
}

/** All but those that say again which region is missing. */
export function warningLines(terminal: Terminal, warnings: readonly Warning[]): string[] {
  return warnings
    .filter(({ code }) => code !== 'region-missing')
    .map((warning) => styled(terminal, 'yellow', `warning: ${printable(warning.message)}`));
}

/** Each span under its parent, siblings by start: the router orders by start alone. */
export function inTreeOrder(spans: readonly SpanAnswer[]): SpanAnswer[] {
  const children = new Map<string, SpanAnswer[]>();
  for (const span of spans) {
    if (span.depth === 0 || span.parentSpanId === null) continue;
    const siblings = children.get(span.parentSpanId);
    if (siblings) siblings.push(span);
    else children.set(span.parentSpanId, [span]);
  }
  const ordered = new Set<SpanAnswer>();
  // A stack, not recursion: a chain may be as deep as the trace is large.
  const pending = spans.filter((span) => span.depth === 0 || span.parentSpanId === null).reverse();
  for (let span = pending.pop(); span; span = pending.pop()) {
    if (ordered.has(span)) continue;
    ordered.add(span);
    const depth = span.depth + 1;
    const below = (children.get(span.spanId) ?? []).filter((child) => child.depth === depth);
    pending.push(...below.reverse());
  }
  for (const span of spans) ordered.add(span);
  return [...ordered];
}

function spanName(span: SpanAnswer): string {
  const indent = span.depth > 0 ? `${'  '.repeat(Math.min(span.depth, 12) - 1)}└ ` : '';
  return `${indent}${printable(span.service)} ${printable(span.operation)}`;
}

function drawBar(span: SpanAnswer, start: bigint, total: bigint, width: number): string {
  const cell = (nano: bigint) => Number((nano * BigInt(width)) / total);
  const from = Math.min(Math.max(cell(BigInt(span.startTimeUnixNano) - start), 0), width - 1);
  const length = Math.min(Math.max(cell(BigInt(span.durationNano)), 1), width - from);
  return `${' '.repeat(from)}${'━'.repeat(length)}${' '.repeat(width - from - length)}`;
}
