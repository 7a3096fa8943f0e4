import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { region, spanId } from '../testing/otlp-spans.js';
import type { MergeSpan } from './merge-span.js';
import { buildTree, preOrder } from './tree.js';

/** A span by its number, its parent's (0: none), its start and kind. */
function span(id: number, parent: number, start = id, kind = 1): MergeSpan {
  return {
    spanId: spanId(id),
    parentSpanId: parent === 0 ? null : spanId(parent),
    region: region('a'),
    kind,
    startUnixNano: BigInt(start),
    endUnixNano: BigInt(start + 10),
    clockKey: 'x',
  };
}

function shape(spans: readonly MergeSpan[]) {
  const tree = buildTree(spans);
  return {
    parent: [...tree.parent],
    depth: [...tree.depth],
    tops: tree.tops,
    warnings: tree.warnings.map((w) => w.code),
  };
}

describe('buildTree', () => {
  test('nothing', () => {
    expect(shape([])).toEqual({ parent: [], depth: [], tops: [], warnings: [] });
  });

  test('children before their parents', () => {
    expect(shape([span(3, 2), span(2, 1), span(1, 0)])).toEqual({
      parent: [1, 2, -1],
      depth: [2, 1, 0],
      tops: [2],
      warnings: [],
    });
  });

  test('a missing parent: depth 0, counted', () => {
    const tree = buildTree([span(1, 0), span(2, 9), span(3, 2), span(4, 8)]);
    expect([...tree.depth]).toEqual([0, 0, 1, 0]);
    expect(tree.warnings).toEqual([
      { code: 'missing-parent', message: '2 spans name parents that are not in the answer' },
    ]);
  });

  test('a span that is its own parent', () => {
    expect(shape([span(1, 1), span(2, 1)])).toEqual({
      parent: [-1, 0],
      depth: [0, 1],
      tops: [0],
      warnings: ['self-parent'],
    });
  });

  test('a cycle is cut at its earliest span; what hangs on it stays', () => {
    // 1 > 2 > 3 > 1, and 4 below 2; 3 starts first.
    expect(shape([span(1, 3, 20), span(2, 1, 15), span(3, 2, 10), span(4, 2, 30)])).toEqual({
      parent: [2, 0, -1, 1],
      depth: [1, 2, 0, 3],
      tops: [2],
      warnings: ['parent-cycle'],
    });
  });

  test('two cycles are counted, each cut once', () => {
    const tree = buildTree([span(1, 2), span(2, 1), span(3, 4), span(4, 3), span(5, 4)]);
    expect(tree.tops).toEqual([0, 2]);
    expect(tree.warnings[0]!.message).toBe('2 cycles of parents were cut, each at its earliest span');
  });

  test('one id twice with other content: both kept, children go to the first', () => {
    const tree = buildTree([span(1, 0), span(2, 1), span(2, 1, 50), span(3, 2)]);
    expect([...tree.parent]).toEqual([-1, 0, 0, 1]);
    expect(tree.warnings.map((w) => w.code)).toEqual(['conflicting-span-id']);
  });

  test.each(['client first', 'server first'])('client and server of one id, as Zipkin writes them (%s)', (order) => {
    const client = span(2, 1, 10, 3);
    const server = span(2, 1, 12, 2);
    const pair = order === 'client first' ? [client, server] : [server, client];
    const tree = buildTree([span(1, 0), ...pair, span(3, 2)]);
    const clientAt = pair.indexOf(client) + 1;
    const serverAt = pair.indexOf(server) + 1;
    expect(tree.parent[clientAt]).toBe(0);
    expect(tree.parent[serverAt]).toBe(clientAt);
    expect(tree.parent[3]).toBe(serverAt);
    expect(tree.warnings).toEqual([]);
  });

  test('whatever the links are: every span is reached once from the tops, one deeper than its parent', () => {
    const spans = fc.array(
      fc.record({ id: fc.integer({ min: 1, max: 12 }), parent: fc.nat(14), start: fc.nat(20), kind: fc.nat(5) }),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(spans, (list) => {
        const tree = buildTree(list.map((s) => span(s.id, s.parent, s.start, s.kind)));
        const order = [...preOrder(tree.tops, tree.children)];
        expect([...order].sort((a, b) => a - b)).toEqual(list.map((_, i) => i));
        for (const i of order) {
          const p = tree.parent[i]!;
          expect(tree.depth[i]).toBe(p < 0 ? 0 : tree.depth[p]! + 1);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('a chain of 200,000 spans', () => {
    const chain = Array.from({ length: 200_000 }, (_, i) => span(i + 1, i));
    expect(buildTree(chain).depth[199_999]).toBe(199_999);
  });
});
