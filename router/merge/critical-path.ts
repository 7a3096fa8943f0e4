import { maxNano, minNano } from '../../global/model/time.js';

/** Times of one span, corrected for skew. */
export interface SpanInterval {
  readonly startUnixNano: bigint;
  readonly endUnixNano: bigint;
}

/**
 * The spans that decided how long the trace took: from the root's end backwards, the child that finished last was waited for; before it
 * began, the one that had finished last by then, and so on, within each of them alike. What a child does after its parent's end is
 * not waited for. Result by index, 1 where a span is on the path. Method: the last-finishing-child walk of Uber's
 * CRISP (USENIX ATC 2022). O(n log n), no recursion.
 */
export function criticalPath(
  spans: readonly SpanInterval[],
  children: readonly (readonly number[])[],
  root: number,
): Uint8Array {
  const onPath = new Uint8Array(spans.length);
  if (root < 0) return onPath;
  const stack: { at: number; from: bigint; until: bigint }[] = [
    { at: root, from: spans[root]!.startUnixNano, until: spans[root]!.endUnixNano },
  ];
  while (stack.length > 0) {
    const { at, from, until } = stack.pop()!;
    onPath[at] = 1;
    const candidates: { at: number; from: bigint; until: bigint }[] = [];
    for (const child of children[at]!) {
      const { startUnixNano, endUnixNano } = spans[child]!;
      // A child that began when its parent was over, or ended before it began, was not waited for.
      if (startUnixNano > until || endUnixNano < from) continue;
      candidates.push({
        at: child,
        from: maxNano(startUnixNano, from),
        until: minNano(endUnixNano, until),
      });
    }
    candidates.sort((a, b) => (a.until === b.until ? compare(b.from, a.from) : compare(b.until, a.until)));
    let cursor = until;
    for (const candidate of candidates) {
      if (candidate.until > cursor) continue;
      stack.push(candidate);
      cursor = candidate.from;
    }
  }
  return onPath;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
