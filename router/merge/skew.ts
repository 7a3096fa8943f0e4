import { type MergeSpan, type MergeWarning, SpanKind } from './merge-span.js';
import { preOrder, type SpanTree } from './tree.js';

/** Clocks further apart than this are not believed to be skew; such a span stays where it says it was. */
export const SKEW_NANO_MAX = 3_600_000_000_000n;
/**
 * A server span that lies outside its client span by no more than this says nothing about clocks: times are often rounded to the millisecond, and
 * clocks of one data centre (or two processes of one machine) agree no better. It is fitted in by the smallest move, without a warning.
 */
export const SKEW_TOLERANCE_NANO = 2_000_000n;

export interface SkewCorrections {
  /** By index: what to add to a span's times; 0n for most. */
  readonly nano: readonly bigint[];
  readonly warnings: readonly MergeWarning[];
}

/**
 * Corrects clocks that disagree, after Jaeger's clock skew adjuster: where a server span lies outside the client span that called it, and the two
 * were timed by different clocks (`clockKey`), the server's clock is taken to be off.
 *
 * - It lies outside by no more than `SKEW_TOLERANCE_NANO`: it is moved to the edge, so that the tree nests; that is no news.
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
      const { delta, overhang } = skewOf(child, parent.startUnixNano + nano[p]!, parent.endUnixNano + nano[p]!);
      if (delta > SKEW_NANO_MAX || -delta > SKEW_NANO_MAX || child.startUnixNano + delta < 0n) tooFar++;
      else {
        nano[i] = delta;
        if (beyondTolerance(overhang)) moved++;
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

/** What to move the child by, and by how much it lies outside (with the sign of the smallest move that fits it in). */
function skewOf(child: MergeSpan, parentStart: bigint, parentEnd: bigint): { delta: bigint; overhang: bigint } {
  const childDuration = child.endUnixNano - child.startUnixNano;
  const parentDuration = parentEnd - parentStart;
  let overhang = 0n;
  if (child.startUnixNano < parentStart) overhang = parentStart - child.startUnixNano;
  else if (childDuration <= parentDuration && child.endUnixNano > parentEnd) overhang = parentEnd - child.endUnixNano;
  if (childDuration > parentDuration || !beyondTolerance(overhang)) return { delta: overhang, overhang };
  return { delta: parentStart + (parentDuration - childDuration) / 2n - child.startUnixNano, overhang };
}

function beyondTolerance(overhang: bigint): boolean {
  return overhang > SKEW_TOLERANCE_NANO || -overhang > SKEW_TOLERANCE_NANO;
}
