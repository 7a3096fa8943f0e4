import type { VouchedWatermark } from '../../global/index/trace-index.js';
import type { RegionId } from '../../global/model/ids.js';
import type { CatalogueEntry } from '../../global/model/metadata.js';
import { maxNano, minNano } from '../../global/model/time.js';
import { formatDuration } from '../plan/format-duration.js';
import { formatTime } from '../plan/trace-plan.js';

export interface SearchPlanInput {
  readonly regions: readonly { readonly region: RegionId; readonly spansPartitions: number }[];
  /** The regions that the caller restricts the search to; null: all. */
  readonly only: ReadonlySet<RegionId> | null;
  /** The service of the span condition; null: any. */
  readonly service: string | null;
  /** What the index knows; null where it could not be asked. */
  readonly index: {
    readonly catalogue: readonly (CatalogueEntry & { readonly region: RegionId })[];
    /** As of `CatalogueReader.catalogueTotals`. */
    readonly catalogueTotals: ReadonlyMap<RegionId, number>;
    readonly watermarks: readonly VouchedWatermark[];
  } | null;
  /** A region's feed may be this far behind and still prove that a service was never there. */
  readonly lagNanoMax: bigint;
  readonly nowUnixNano: bigint;
}

export interface SearchRegionPlan {
  readonly region: RegionId;
  readonly action: 'ask' | 'skip';
  readonly why: string;
}

/**
 * Decides which regions a search asks. A region is skipped where the caller left it out, or where the index proves that the service was never seen
 * there: no entry of it in the region's catalogue, and every partition of its feed is known and within `lagNanoMax` of now, so that
 * whatever was appended before that would be in the catalogue. A service that is new in a region is thus found within `lagNanoMax`.
 *
 * Three things take the proof away: a catalogue near the limit of its source (`CATALOGUE_ENTRIES_PROOF_MAX`), a feed that this copy of the
 * index did not receive from its first record on (the entry of a service that is no longer seen may be in what is missing), and
 * an unknown watermark. Entries expire later than the traces that they tell of (`CATALOGUE_MARGIN_MS`). Pure.
 */
export function planSearch(input: SearchPlanInput): SearchRegionPlan[] {
  const { only, service, index } = input;
  return input.regions.map(({ region, spansPartitions }): SearchRegionPlan => {
    if (only && !only.has(region)) return { region, action: 'skip', why: 'left out by the search (regions)' };
    if (service === null) return { region, action: 'ask', why: 'no service to prune by' };
    if (!index) return { region, action: 'ask', why: 'the index could not be read' };
    if (index.catalogue.some((entry) => entry.region === region && entry.service === service)) {
      return { region, action: 'ask', why: `the service ${service} was seen there` };
    }
    if ((index.catalogueTotals.get(region) ?? 0) >= CATALOGUE_ENTRIES_PROOF_MAX) {
      return { region, action: 'ask', why: `${service} was not seen there, but its catalogue may be cut` };
    }
    if (!vouchedWhole(region, index.watermarks)) {
      const why = `${service} was not seen there, but this copy of the index lacks the beginning of its feed`;
      return { region, action: 'ask', why };
    }
    const proved = provedTo(region, spansPartitions, index.watermarks);
    if (proved === null) {
      return { region, action: 'ask', why: `${service} was not seen there, but watermarks are missing` };
    }
    const lag = maxNano(0n, input.nowUnixNano - proved);
    if (lag > input.lagNanoMax) {
      return {
        region,
        action: 'ask',
        why: `${service} was not seen there, but its feed is ${formatDuration(lag)} behind`,
      };
    }
    return { region, action: 'skip', why: `the service ${service} was never seen there up to ${formatTime(proved)}` };
  });
}

/**
 * A catalogue that ever had so many entries may have reached its limit at the source, and lack services. An assembler process tells of at most
 * 100,000 (service, operation), never forgets one, and drops new services only beyond that; each one that it remembers it has told of, so that
 * at that point a whole copy of the index has counted 100,000 entries (more, where kinds differ or several processes tell). Half of
 * that leaves room for those still on their way. Beyond 10,000 operations of one service it drops operations of that service only, whose name then
 * stands in the catalogue already. Both limits: `ASSEMBLER_DEFAULTS` in regions/assembler/options.ts.
 */
export const CATALOGUE_ENTRIES_PROOF_MAX = 50_000;

function vouchedWhole(region: RegionId, watermarks: readonly VouchedWatermark[]): boolean {
  return watermarks.every((w) => w.region !== region || w.vouchedFromUnixNano === 0n);
}

/** The least watermark over all partitions of a region, or null where one is missing or of another partitioning. */
function provedTo(region: RegionId, spansPartitions: number, watermarks: readonly VouchedWatermark[]): bigint | null {
  const byPartition = new Map<number, bigint>();
  for (const w of watermarks) {
    if (w.region !== region || w.partitionCount !== spansPartitions) continue;
    byPartition.set(w.partition, maxNano(byPartition.get(w.partition) ?? 0n, w.watermarkUnixNano));
  }
  if (byPartition.size < spansPartitions) return null;
  return [...byPartition.values()].reduce(minNano);
}
