import { type TraceId, traceIdAt } from '../model/ids.js';
import { IdTable } from './id-table.js';
import { Regrouping } from './regroup.js';
import { MutableSpanRef, parseSpan, Tag } from './scan.js';
import { cursor, readTag, skipValue } from './wire.js';

export interface TraceFragment {
  readonly traceId: TraceId;
  /** Its own memory, exactly as long as the message: a `TracesData` with the spans of this trace. The caller owns it. */
  readonly bytes: Buffer;
  readonly spanCount: number;
}

/** One for all splits, as splitting is synchronous and calls nobody back. */
const groups = new Regrouping();
const traces = new IdTable(16);

/**
 * Takes a `TracesData` apart by trace, in order of first appearance; within a trace the spans keep their order, and stand under copies of
 * their resource, scope, schema urls and the unknown fields beside them. Spans without valid ids are left out (see `forEachSpan`).
 * Throws MeridianError `malformed`. Linear in the bytes plus, per fragment, the resources and scopes that it needs.
 */
export function splitByTrace(tracesData: Buffer): TraceFragment[] {
  const b = tracesData;
  const span = new MutableSpanRef();
  const idPositions: number[] = [];
  traces.clear();
  try {
    groups.begin(b);
    for (let p = 0; p < b.length; ) {
      const from = p;
      const tag = readTag(b, p, b.length);
      p = skipValue(b, tag, cursor.at, b.length);
      if (tag !== Tag.resourceSpans) continue;
      groups.openResourceSpans(from, cursor.at, p);
      splitResourceSpans(b, cursor.at, p, span, idPositions);
      groups.closeResourceSpans();
    }
    return groups.write(idPositions.length).map(({ group, bytes, spanCount }) => ({
      traceId: traceIdAt(b, idPositions[group]!),
      bytes,
      spanCount,
    }));
  } finally {
    groups.release();
  }
}

function splitResourceSpans(b: Buffer, start: number, end: number, span: MutableSpanRef, idPositions: number[]): void {
  for (let p = start; p < end; ) {
    const from = p;
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag !== Tag.scopeSpans) continue;
    groups.openScopeSpans(from, cursor.at, p);
    splitScopeSpans(b, cursor.at, p, span, idPositions);
    groups.closeScopeSpans();
  }
}

function splitScopeSpans(b: Buffer, start: number, end: number, span: MutableSpanRef, idPositions: number[]): void {
  for (let p = start; p < end; ) {
    const from = p;
    const tag = readTag(b, p, end);
    p = skipValue(b, tag, cursor.at, end);
    if (tag !== Tag.span) continue;
    if (!parseSpan(b, cursor.at, p, span)) {
      groups.dropSpan();
      continue;
    }
    const group = traces.add(b, span.traceIdAt, idPositions.length);
    if (group === idPositions.length) idPositions.push(span.traceIdAt);
    groups.addSpan(group, from, p, null);
  }
}
