import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { criticalPath } from './critical-path.js';

/** Spans as [parent, start, end]; the first is the root. */
function path(spans: readonly (readonly [number, number, number])[]): number[] {
  const children: number[][] = spans.map(() => []);
  spans.forEach(([parent], i) => {
    if (parent >= 0) children[parent]!.push(i);
  });
  const intervals = spans.map(([, start, end]) => ({ startUnixNano: BigInt(start), endUnixNano: BigInt(end) }));
  return [...criticalPath(intervals, children, spans.length > 0 ? 0 : -1)].flatMap((on, i) => (on ? [i] : []));
}

describe('criticalPath', () => {
  test('nothing, and a single span', () => {
    expect(path([])).toEqual([]);
    expect(path([[-1, 0, 10]])).toEqual([0]);
  });

  test('one after the other: all were waited for', () => {
    expect(
      path([
        [-1, 0, 100],
        [0, 0, 40],
        [0, 50, 90],
      ]),
    ).toEqual([0, 1, 2]);
  });

  test('side by side: only the one that finished last', () => {
    expect(
      path([
        [-1, 0, 100],
        [0, 10, 60],
        [0, 20, 90],
      ]),
    ).toEqual([0, 2]);
  });

  test('what ended before the last one began was waited for too', () => {
    expect(
      path([
        [-1, 0, 100],
        [0, 0, 15],
        [0, 5, 60],
        [0, 20, 90],
        [3, 30, 80],
        [3, 30, 70],
      ]),
    ).toEqual([0, 1, 3, 4]);
  });

  test('a child that outlives its parent counts up to its end; one that begins after it does not', () => {
    expect(
      path([
        [-1, 0, 100],
        [0, 50, 300],
      ]),
    ).toEqual([0, 1]);
    expect(
      path([
        [-1, 0, 100],
        [0, 150, 300],
        [0, 10, 20],
      ]),
    ).toEqual([0, 2]);
  });

  test('a chain of 100,000 spans', () => {
    expect(path(Array.from({ length: 100_000 }, (_, i) => [i - 1, i, 1_000_000] as const))).toHaveLength(100_000);
  });

  test('children of the root that are on the path do not overlap, and a span on it has its parent on it', () => {
    const tree = fc
      .array(fc.tuple(fc.nat(30), fc.nat(100), fc.nat(60)), { maxLength: 30 })
      .map((list) => [
        [-1, 0, 120] as const,
        ...list.map(([parent, start, length], i) => [parent % (i + 1), start, start + length] as const),
      ]);
    fc.assert(
      fc.property(tree, (spans) => {
        const on = new Set(path(spans));
        for (const i of on) if (i > 0) expect(on.has(spans[i]![0])).toBe(true);
        // The root's bounds are known, so its children can be clipped as the walk does.
        const clipped = spans.map(([, start, end]) => ({ from: start, to: Math.min(end, 120) }));
        const below = [...on]
          .filter((i) => i > 0 && spans[i]![0] === 0)
          .sort((i, j) => clipped[i]!.to - clipped[j]!.to);
        for (let n = 1; n < below.length; n++) {
          expect(clipped[below[n]!]!.from).toBeGreaterThanOrEqual(clipped[below[n - 1]!]!.to);
        }
      }),
    );
  });
});
