import { forEachSpan } from '../../global/otlp/scan.js';
import { FLAG_HAS_IS_REMOTE, FLAG_IS_REMOTE } from '../../global/otlp/span-ref.js';

const REMOTE = FLAG_HAS_IS_REMOTE | FLAG_IS_REMOTE;

/**
 * Whether the spans look like all that this region will have of the trace: there is an entry (a span without parent, or whose parent is
 * flagged as remote), and every other span's parent is among them. A guess that only decides when to close: spans that come later
 * make a further segment. Takes the parts of one trace's payload; throws `malformed` where one is no OTLP.
 */
export function isSelfContained(payloads: readonly Buffer[]): boolean {
  const spans = new Set<string>();
  const parents = new Set<string>();
  let hasEntry = false;
  for (const payload of payloads) {
    forEachSpan(payload, (span) => {
      const { buffer, spanIdAt, parentSpanIdAt } = span;
      spans.add(buffer.toString('latin1', spanIdAt, spanIdAt + 8));
      if (parentSpanIdAt === -1 || (span.flags & REMOTE) === REMOTE) hasEntry = true;
      else parents.add(buffer.toString('latin1', parentSpanIdAt, parentSpanIdAt + 8));
      return undefined;
    });
  }
  if (!hasEntry) return false;
  for (const parent of parents) if (!spans.has(parent)) return false;
  return true;
}
