import type { RegionId } from '../../global/model/ids.js';
import type { CatalogueEntry, Watermark } from '../../global/model/metadata.js';
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
    readonly watermarks: readonly Watermark[];
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
 * whatever was appended before that would be in the catalogue. A service that is new in a region is thus found within `lagNanoMax`. Pure.
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
    if (index.catalogue.filter((entry) => entry.region === region).length >= CATALOGUE_ENTRIES_PROOF_MAX) {
      return { region, action: 'ask', why: `${service} was not seen there, but its catalogue may be cut` };
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

/** A catalogue of so many entries may have reached its limit at the source, and lack services. */
export const CATALOGUE_ENTRIES_PROOF_MAX = 50_000;

/** The least watermark over all partitions of a region, or null where one is missing or of another partitioning. */
function provedTo(region: RegionId, spansPartitions: number, watermarks: readonly Watermark[]): bigint | null {
  const byPartition = new Map<number, bigint>();
  for (const w of watermarks) {
    if (w.region !== region || w.partitionCount !== spansPartitions) continue;
    byPartition.set(w.partition, maxNano(byPartition.get(w.partition) ?? 0n, w.watermarkUnixNano));
  }
  if (byPartition.size < spansPartitions) return null;
  return [...byPartition.values()].reduce(minNano);
}
