import { type MergeSpan, type MergeWarning, SpanKind } from './merge-span.js';
import { preOrder, type SpanTree } from './tree.js';

/** Clocks further apart than this are not believed to be skew; such a span stays where it says it was. */
export const SKEW_NANO_MAX = 3_600_000_000_000n;

export interface SkewCorrections {
  /** By index: what to add to a span's times; 0n for most. */
  readonly nano: readonly bigint[];
  readonly warnings: readonly MergeWarning[];
}

/**
 * Corrects clocks that disagree, after Jaeger's clock skew adjuster: where a server span lies outside the client span that called it, and the two
 * were timed by different clocks (`clockKey`), the server's clock is taken to be off.
 *
 * - The server span is not longer than the client's: it is moved into its middle, as if the way there and back took equally long.
 * - It is longer (the caller gave up, or does not wait): it is only moved when it starts before the client, and then to the client's start.
 * - Its descendants under the same clock move with it. A descendant under a third clock is judged against its own, moved, client parent.
 * - More than an hour is no skew: nothing is moved, and a warning says so.
 */
export function correctSkew(spans: readonly MergeSpan[], tree: SpanTree): SkewCorrections {
  const nano: bigint[] = new Array(spans.length).fill(0n);
  let moved = 0;
  let tooFar = 0;
  for (const i of preOrder(tree.tops, tree.children)) {
    const p = tree.parent[i]!;
    if (p < 0) continue;
    const parent = spans[p]!;
    const child = spans[i]!;
    if (child.clockKey === parent.clockKey) {
      nano[i] = nano[p]!;
    } else if (child.kind === SpanKind.server && parent.kind === SpanKind.client) {
      const delta = skewOf(child, parent.startUnixNano + nano[p]!, parent.endUnixNano + nano[p]!);
      if (delta > SKEW_NANO_MAX || -delta > SKEW_NANO_MAX || child.startUnixNano + delta < 0n) tooFar++;
      else {
        nano[i] = delta;
        if (delta !== 0n) moved++;
      }
    }
  }
  const warnings: MergeWarning[] = [];
  if (moved > 0) {
    warnings.push({
      code: 'clock-skew-corrected',
      message: `${moved} server ${moved === 1 ? 'span lay' : 'spans lay'} outside the calling client span; moved with what ran below, see skewCorrectionNano`,
    });
  }
  if (tooFar > 0) {
    warnings.push({
      code: 'clock-skew-too-large',
      message: `${tooFar} server ${tooFar === 1 ? 'span is' : 'spans are'} more than an hour away from the calling client span; left as recorded`,
    });
  }
  return { nano, warnings };
}

function skewOf(child: MergeSpan, parentStart: bigint, parentEnd: bigint): bigint {
  const childDuration = child.endUnixNano - child.startUnixNano;
  const parentDuration = parentEnd - parentStart;
  if (childDuration > parentDuration) {
    return child.startUnixNano < parentStart ? parentStart - child.startUnixNano : 0n;
  }
  if (child.startUnixNano >= parentStart && child.endUnixNano <= parentEnd) return 0n;
  return parentStart + (parentDuration - childDuration) / 2n - child.startUnixNano;
}
