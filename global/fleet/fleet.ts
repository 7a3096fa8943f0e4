import { z } from 'zod';
import type { PartitionCounts } from '../log/topics.js';
import { parseRegionId, type RegionId } from '../model/ids.js';
import { MeridianError } from '../runtime/errors.js';

/** One region of the fleet, as every other region and every router knows it. */
export interface FleetRegion {
  readonly region: RegionId;
  /** host:port of its region API. */
  readonly regionApi: string;
  /** The region that answers for it when it is lost. */
  readonly standby: RegionId | null;
  readonly partitions: PartitionCounts;
  /** host:port of brokers of its Kafka, as other regions' MirrorMakers reach them; null where its log is embedded. */
  readonly kafka: readonly string[] | null;
}

/** The whole fleet, in the order of the fleet file. Read once at start; the same file in every region. */
export interface Fleet {
  readonly regions: readonly FleetRegion[];
}

const regionName = z.string().transform((text, context): RegionId => {
  const region = parseRegionId(text);
  if (region) return region;
  context.addIssue({ code: 'custom', message: `"${text}" is no region name (lower-case letters, digits, hyphens)` });
  return z.NEVER;
});

export const DEFAULT_PARTITIONS: PartitionCounts = { spans: 8, segments: 4, traceMetadata: 4 };

const partitions = z
  .strictObject({
    spans: z.int().min(1).max(1000).default(DEFAULT_PARTITIONS.spans),
    segments: z.int().min(1).max(1000).default(DEFAULT_PARTITIONS.segments),
    traceMetadata: z.int().min(1).max(1000).default(DEFAULT_PARTITIONS.traceMetadata),
  })
  .default(DEFAULT_PARTITIONS);

const fleetSchema = z.strictObject({
  regions: z
    .array(
      z.strictObject({
        region: regionName,
        regionApi: z.string().min(3),
        standby: regionName.nullable().default(null),
        partitions,
        kafka: z
          .array(z.string().regex(/^\S+:\d{1,5}$/, 'is not host:port'))
          .min(1)
          .max(100)
          .nullable()
          .default(null),
      }),
    )
    .min(1)
    .max(100),
});

/** Checks a parsed fleet file; throws `configuration` naming the place and the rule. */
export function parseFleet(value: unknown, source: string): Fleet {
  const result = fleetSchema.safeParse(value);
  if (!result.success) {
    const first = result.error.issues[0];
    throw new MeridianError(
      'configuration',
      `${source}: ${first?.path.join('.') || 'fleet'}: ${first?.message}`,
      'never',
    );
  }
  const fleet = result.data;
  const names = new Set(fleet.regions.map((r) => r.region));
  if (names.size !== fleet.regions.length) {
    throw new MeridianError('configuration', `${source}: regions: a region is named twice`, 'never');
  }
  for (const { region, standby } of fleet.regions) {
    if (standby && (!names.has(standby) || standby === region)) {
      throw new MeridianError(
        'configuration',
        `${source}: regions.${region}.standby: "${standby}" is no other region of the fleet`,
        'never',
      );
    }
  }
  return fleet;
}

export function fleetRegion(fleet: Fleet, region: RegionId): FleetRegion {
  const found = fleet.regions.find((r) => r.region === region);
  if (!found) throw new MeridianError('configuration', `region "${region}" is not in the fleet file`, 'never');
  return found;
}
