import { expect, test } from 'vitest';
import { EAST, EUROPE, type TestFleet, THREE, WEST } from '../test-fleet.js';
import { missingOrDouble, seededIds, sendTrace } from '../traffic.js';

interface Page {
  traces: { traceId: string; startTimeUnixNano: string; regions: string[]; spanCount: number }[];
  nextCursor: string | null;
  complete: boolean;
}

/** Ro2: one total order across regions, pages without gap or repeat while writes go on. */
export function pagingSuite(fleet: () => TestFleet): void {
  test('pages of a search while writes go on', { timeout: 120_000 }, async () => {
    const ids = seededIds(99);
    const before = [];
    const choices = [THREE, [EAST, WEST], [EUROPE], [WEST, EUROPE], [EUROPE, EAST]];
    for (let i = 0; i < 60; i++) before.push(await sendTrace(fleet(), choices[i % choices.length]!, ids));
    expect(await missingOrDouble(fleet(), EUROPE, before)).toEqual([]);

    let writing = true;
    const writer = (async () => {
      const own = seededIds(100);
      while (writing) await sendTrace(fleet(), THREE, own);
    })();
    const seen: Page['traces'][number][] = [];
    let cursor: string | null = null;
    do {
      const path: string = `/v1/traces?attr=meridian.known=${EAST}-0&limit=7&timeRange=1h${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;
      const page: Page = await fleet().json<Page>(EUROPE, path);
      expect(page.complete).toBe(true);
      seen.push(...page.traces);
      cursor = page.nextCursor;
    } while (cursor);
    writing = false;
    await writer;

    const listed = seen.map((trace) => trace.traceId);
    expect(new Set(listed).size).toBe(listed.length);
    // Known spans of region east at place 0 are in traces that begin there.
    const wanted = before.filter((_, i) => choices[i % choices.length]![0] === EAST).map((trace) => trace.traceId);
    expect(listed).toEqual(expect.arrayContaining(wanted));
    const order = seen.map(({ startTimeUnixNano, traceId }) => ({ start: BigInt(startTimeUnixNano), traceId }));
    const sorted = [...order].sort((a, b) =>
      a.start === b.start ? (a.traceId < b.traceId ? -1 : 1) : a.start > b.start ? -1 : 1,
    );
    expect(order).toEqual(sorted);
  });
}
