import { type MergeSpan, type MergeWarning, SpanKind } from './merge-span.js';

/** The tree over an array of spans; all arrays are by its indices. */
export interface SpanTree {
  /** Index of the parent, or -1: no parent, a missing one, or a link that was cut. */
  readonly parent: Int32Array;
  readonly children: readonly (readonly number[])[];
  /** Spans without a parent in the tree, in order of the input. */
  readonly tops: readonly number[];
  /** 0 at the tops. */
  readonly depth: Int32Array;
  readonly warnings: readonly MergeWarning[];
}

/**
 * Links spans to their parents. Never recursive: a trace may be one chain of 500,000 spans.
 *
 * - A parent that is not in the trace leaves its child at depth 0, counted in `missing-parent`.
 * - A span that names itself as parent becomes a top (`self-parent`).
 * - A cycle is cut at its earliest span (ties by id), which becomes a top (`parent-cycle`).
 * - Several different spans of one id are all kept (`conflicting-span-id`); children go to the first of them in input order. Where one of two is
 *   a client and the other a server, they are the two sides of one call, as Zipkin writes it: the server is the client's child, and
 *   children are the server's.
 */
export function buildTree(spans: readonly MergeSpan[]): SpanTree {
  const count = spans.length;
  const parent = new Int32Array(count).fill(-1);
  const byId = new Map<string, number>();
  const sharedClient = new Map<number, number>();
  let conflicts = 0;
  for (let i = 0; i < count; i++) {
    const { spanId, kind } = spans[i]!;
    const first = byId.get(spanId);
    if (first === undefined) {
      byId.set(spanId, i);
      continue;
    }
    const firstKind = spans[first]!.kind;
    if (kind === SpanKind.server && firstKind === SpanKind.client && !sharedClient.has(first)) {
      sharedClient.set(i, first);
      byId.set(spanId, i);
    } else if (kind === SpanKind.client && firstKind === SpanKind.server && !sharedClient.has(first)) {
      sharedClient.set(first, i);
    } else {
      conflicts++;
    }
  }

  let orphans = 0;
  let selfParents = 0;
  for (let i = 0; i < count; i++) {
    const client = sharedClient.get(i);
    if (client !== undefined) {
      parent[i] = client;
      continue;
    }
    const { spanId, parentSpanId } = spans[i]!;
    if (parentSpanId === null) continue;
    if (parentSpanId === spanId) {
      selfParents++;
      continue;
    }
    const found = byId.get(parentSpanId);
    if (found === undefined) orphans++;
    else parent[i] = found;
  }

  const cycles = cutCycles(spans, parent);
  const children: number[][] = Array.from({ length: count }, () => []);
  const tops: number[] = [];
  for (let i = 0; i < count; i++) {
    const p = parent[i]!;
    if (p < 0) tops.push(i);
    else children[p]!.push(i);
  }
  const depth = new Int32Array(count);
  for (const i of preOrder(tops, children)) {
    const p = parent[i]!;
    depth[i] = p < 0 ? 0 : depth[p]! + 1;
  }

  const warnings: MergeWarning[] = [];
  const warn = (code: MergeWarning['code'], n: number, one: string, many: string) => {
    if (n > 0) warnings.push({ code, message: n === 1 ? `1 ${one}` : `${n} ${many}` });
  };
  warn(
    'missing-parent',
    orphans,
    'span names a parent that is not in the answer',
    'spans name parents that are not in the answer',
  );
  warn('self-parent', selfParents, 'span names itself as its parent', 'spans name themselves as their parents');
  warn(
    'parent-cycle',
    cycles,
    'cycle of parents was cut at its earliest span',
    'cycles of parents were cut, each at its earliest span',
  );
  warn(
    'conflicting-span-id',
    conflicts,
    'span has the id of another one but different content; both are shown',
    'spans have the id of another one but different content; all are shown',
  );
  return { parent, children, tops, depth, warnings };
}

/** Cuts each cycle of parent links at its earliest span; returns how many there were. */
function cutCycles(spans: readonly MergeSpan[], parent: Int32Array): number {
  const DONE = -1;
  const seenInWalk = new Int32Array(parent.length);
  let cycles = 0;
  for (let i = 0; i < parent.length; i++) {
    const walk = i + 1;
    let at = i;
    while (at >= 0 && seenInWalk[at] === 0) {
      seenInWalk[at] = walk;
      at = parent[at]!;
    }
    if (at >= 0 && seenInWalk[at] === walk) {
      let earliest = at;
      for (let n = parent[at]!; n !== at; n = parent[n]!) if (isBefore(spans[n]!, spans[earliest]!)) earliest = n;
      parent[earliest] = -1;
      cycles++;
    }
    for (let n = i; n >= 0 && seenInWalk[n] === walk; n = parent[n]!) seenInWalk[n] = DONE;
  }
  return cycles;
}

function isBefore(a: MergeSpan, b: MergeSpan): boolean {
  if (a.startUnixNano !== b.startUnixNano) return a.startUnixNano < b.startUnixNano;
  return a.spanId < b.spanId;
}

/** Parents before their children. */
export function* preOrder(tops: readonly number[], children: readonly (readonly number[])[]): Generator<number> {
  const stack = [...tops].reverse();
  while (stack.length > 0) {
    const at = stack.pop()!;
    yield at;
    const below = children[at]!;
    for (let i = below.length - 1; i >= 0; i--) stack.push(below[i]!);
  }
}
