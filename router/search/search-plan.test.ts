import { describe, expect, test } from 'vitest';
import type { VouchedWatermark } from '../../global/index/trace-index.js';
import { region } from '../testing/otlp-spans.js';
import { CATALOGUE_ENTRIES_PROOF_MAX, planSearch, type SearchPlanInput } from './search-plan.js';

const SECOND = 1_000_000_000n;
const NOW = 1_795_176_000n * SECOND;
const [A, B] = [region('a'), region('b')];

function marks(of: typeof A, watermarkUnixNano: bigint, vouchedFromUnixNano?: bigint): VouchedWatermark[] {
  return [0, 1].map((partition) => {
    const mark = { region: of, partition, partitionCount: 2, watermarkUnixNano };
    return vouchedFromUnixNano === undefined ? mark : { ...mark, vouchedFromUnixNano };
  });
}

function plan(watermarks: VouchedWatermark[], changes: Partial<SearchPlanInput> = {}, total = 1) {
  const entry = { region: A, service: 'shop', operation: 'x', kind: 1, lastSeenMs: 0 };
  return planSearch({
    regions: [A, B].map((r) => ({ region: r, spansPartitions: 2 })),
    only: null,
    service: 'shop',
    index: { catalogue: [entry], catalogueTotals: new Map([[B, total]]), watermarks },
    lagNanoMax: 30n * SECOND,
    nowUnixNano: NOW,
    ...changes,
  }).map((r) => `${r.region} ${r.action} ${r.why}`);
}

describe('planSearch', () => {
  test('asks where the service was seen, skips where it provably never was', () => {
    expect(plan(marks(B, NOW - SECOND, 0n))).toEqual([
      'a ask the service shop was seen there',
      'b skip the service shop was never seen there up to 2026-11-20T11:59:59Z',
    ]);
    expect(plan(marks(B, NOW - 30n * SECOND, 0n))[1]).toContain('b skip');
    expect(plan(marks(B, NOW - 30n * SECOND - 1n, 0n))[1]).toBe(
      'b ask shop was not seen there, but its feed is 30 s behind',
    );
    expect(plan(marks(B, NOW, 0n).slice(1))[1]).toBe('b ask shop was not seen there, but watermarks are missing');
  });

  test('a catalogue that ever had as many entries as its source may stop at proves nothing, however many are left', () => {
    expect(plan(marks(B, NOW, 0n), {}, CATALOGUE_ENTRIES_PROOF_MAX - 1)[1]).toContain('b skip');
    expect(plan(marks(B, NOW, 0n), {}, CATALOGUE_ENTRIES_PROOF_MAX)[1]).toBe(
      'b ask shop was not seen there, but its catalogue may be cut',
    );
  });

  test('a feed that was not received from its first record on may have told of the service in what is missing', () => {
    const asked = 'b ask shop was not seen there, but this copy of the index lacks the beginning of its feed';
    expect(plan(marks(B, NOW, 1n))[1]).toBe(asked);
    expect(plan(marks(B, NOW))[1]).toBe(asked);
    const [one, other] = [marks(B, NOW, 0n)[0]!, marks(B, NOW, 1n)[1]!];
    expect(plan([one, other])[1]).toBe(asked);
    // Another region's feed does not matter.
    expect(plan([...marks(A, NOW, 1n), ...marks(B, NOW, 0n)])[1]).toContain('b skip');
  });

  test('asks where there is no service to prune by, or no index; skips what the caller left out', () => {
    const watermarks = marks(B, NOW, 0n);
    expect(plan(watermarks, { service: null })[1]).toBe('b ask no service to prune by');
    expect(plan(watermarks, { index: null })[1]).toBe('b ask the index could not be read');
    expect(plan(watermarks, { only: new Set([A]), index: null })[1]).toBe('b skip left out by the search (regions)');
  });
});
