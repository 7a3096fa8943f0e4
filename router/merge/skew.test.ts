import { describe, expect, test } from 'vitest';
import { region, spanId } from '../testing/otlp-spans.js';
import type { MergeSpan } from './merge-span.js';
import { correctSkew, SKEW_NANO_MAX, SKEW_TOLERANCE_NANO } from './skew.js';
import { buildTree } from './tree.js';

const CLIENT = 3;
const SERVER = 2;
const BASE = 1_700_000_000_000_000_000n;
/** Tests count in this, so that one is beyond the tolerance. */
const UNIT = 10_000_000n;

interface Given {
  id: number;
  parent?: number;
  clock: string;
  kind?: number;
  /** In units; or nanoseconds, as bigint. */
  from: number | bigint;
  to: number | bigint;
}

const nanos = (at: number | bigint) => (typeof at === 'bigint' ? at : BigInt(at) * UNIT);

function corrections(given: readonly Given[]) {
  const spans = given.map(
    (g): MergeSpan => ({
      spanId: spanId(g.id),
      parentSpanId: g.parent === undefined ? null : spanId(g.parent),
      region: region('a'),
      kind: g.kind ?? 1,
      startUnixNano: BASE + nanos(g.from),
      endUnixNano: BASE + nanos(g.to),
      clockKey: g.clock,
    }),
  );
  const { nano, warnings } = correctSkew(spans, buildTree(spans));
  return { nano: nano.map((n) => Number(n) / Number(UNIT)), warnings: warnings.map((w) => w.code) };
}

const client: Given = { id: 1, clock: 'a', kind: CLIENT, from: 100, to: 200 };

describe('correctSkew', () => {
  test('a server span inside its client span stays', () => {
    expect(corrections([client, { id: 2, parent: 1, clock: 'b', kind: SERVER, from: 100, to: 200 }])).toEqual({
      nano: [0, 0],
      warnings: [],
    });
  });

  test('one that lies outside is moved into the middle, before or behind', () => {
    for (const from of [0, 99, 141, 5000]) {
      const server = { id: 2, parent: 1, clock: 'b', kind: SERVER, from, to: from + 60 };
      expect(corrections([client, server])).toEqual({ nano: [0, 120 - from], warnings: ['clock-skew-corrected'] });
    }
  });

  test('a longer one is only moved when it starts before its client', () => {
    expect(corrections([client, { id: 2, parent: 1, clock: 'b', kind: SERVER, from: 150, to: 900 }]).nano).toEqual([
      0, 0,
    ]);
    expect(corrections([client, { id: 2, parent: 1, clock: 'b', kind: SERVER, from: 40, to: 900 }]).nano).toEqual([
      0, 60,
    ]);
  });

  test('the same clock, or another pair of kinds, is believed', () => {
    expect(corrections([client, { id: 2, parent: 1, clock: 'a', kind: SERVER, from: 0, to: 50 }]).nano).toEqual([0, 0]);
    expect(corrections([client, { id: 2, parent: 1, clock: 'b', kind: 5, from: 500, to: 550 }]).nano).toEqual([0, 0]);
    const internal = { ...client, kind: 1 };
    expect(corrections([internal, { id: 2, parent: 1, clock: 'b', kind: SERVER, from: 0, to: 50 }]).nano).toEqual([
      0, 0,
    ]);
  });

  test('what runs below moves along; a third clock is judged against the moved caller', () => {
    const given: Given[] = [
      client,
      { id: 2, parent: 1, clock: 'b', kind: SERVER, from: 1000, to: 1060 },
      { id: 3, parent: 2, clock: 'b', kind: CLIENT, from: 1010, to: 1050 },
      { id: 4, parent: 3, clock: 'c', kind: SERVER, from: 140, to: 160 },
      { id: 5, parent: 4, clock: 'c', from: 145, to: 150 },
    ];
    // The server goes to 120..180, its client span to 130..170, where 140..160 lies inside.
    expect(corrections(given).nano).toEqual([0, -880, -880, 0, 0]);
  });

  test('jitter moves a span to the edge and is not worth a warning; a nanosecond more is skew', () => {
    const [from, to] = [100n * UNIT, 200n * UNIT];
    const at = (start: bigint, length: bigint): Given => ({
      id: 2,
      parent: 1,
      clock: 'b',
      kind: SERVER,
      from: start,
      to: start + length,
    });
    const inNano = (span: Given) => {
      const { nano, warnings } = corrections([client, span]);
      return [Math.round(nano[1]! * Number(UNIT)), warnings.length];
    };
    const jitter = Number(SKEW_TOLERANCE_NANO);
    // Before the client's start, behind its end, and longer than it.
    expect(inNano(at(from - SKEW_TOLERANCE_NANO, UNIT))).toEqual([jitter, 0]);
    expect(inNano(at(to - UNIT + SKEW_TOLERANCE_NANO, UNIT))).toEqual([-jitter, 0]);
    expect(inNano(at(from - SKEW_TOLERANCE_NANO, 900n * UNIT))).toEqual([jitter, 0]);
    // Into the middle.
    const middle = Number((99n * UNIT) / 2n);
    expect(inNano(at(from - SKEW_TOLERANCE_NANO - 1n, UNIT))).toEqual([middle + jitter + 1, 1]);
    expect(inNano(at(to - UNIT + SKEW_TOLERANCE_NANO + 1n, UNIT))).toEqual([-middle - jitter - 1, 1]);
    expect(inNano(at(from - SKEW_TOLERANCE_NANO - 1n, 900n * UNIT))).toEqual([jitter + 1, 1]);
  });

  test('an hour is skew, a nanosecond more is not', () => {
    const length = 100n * UNIT;
    const at = (from: bigint): Given => ({ id: 2, parent: 1, clock: 'b', kind: SERVER, from, to: from + length });
    expect(corrections([client, at(length + SKEW_NANO_MAX)])).toEqual({
      nano: [0, -Number(SKEW_NANO_MAX / UNIT)],
      warnings: ['clock-skew-corrected'],
    });
    expect(corrections([client, at(length + SKEW_NANO_MAX + 1n)])).toEqual({
      nano: [0, 0],
      warnings: ['clock-skew-too-large'],
    });
  });
});
