import { choice, flag, integer, optionalText, text } from '../../global/runtime/options.js';
import { SNAPSHOT_DEFAULTS } from '../store/snapshot-service.js';
import { AGING_DEFAULTS } from '../store/tiered-aging.js';

const HOUR_MS = 3_600_000;
const TEN_YEARS_MS = 3_650 * 24 * HOUR_MS;

/** What becomes of traces as they age, and of the store should it be lost (St4). */
export const TIER_OPTIONS = {
  warmAfterMs: integer({
    help: 'age at which indices of Elasticsearch are merged and take no writes',
    unit: 'ms',
    default: AGING_DEFAULTS.warmAfterMs,
    min: HOUR_MS,
    max: TEN_YEARS_MS,
  }),
  cold: choice({
    help: 'where traces past coldAfterMs go; none: they stay in the store until storeRetentionMs',
    default: 'none',
    choices: ['none', 'folder', 's3'] as const,
  }),
  coldAfterMs: integer({
    help: 'age at which traces leave the hot store; below storeRetentionMs',
    unit: 'ms',
    default: AGING_DEFAULTS.coldAfterMs,
    min: HOUR_MS,
    max: TEN_YEARS_MS,
  }),
  agingIntervalMs: integer({
    help: 'from one look for traces that have aged to the next',
    unit: 'ms',
    default: AGING_DEFAULTS.intervalMs,
    min: 1000,
    max: 24 * HOUR_MS,
  }),
  coldDir: optionalText({ help: 'folder of the cold tier (cold: folder); default: cold below dataDir' }),
  coldBucket: optionalText({ help: 'bucket of the cold tier (cold: s3); it has to be there' }),
  coldPrefix: optionalText({ help: 'what the names of objects begin with; default: the region' }),
  coldEndpoint: optionalText({ help: 'URL of an S3-compatible server; default: AWS' }),
  coldRegion: text({ help: 'region of the bucket', default: 'us-east-1' }),
  coldAccessKeyId: optionalText({ help: "access key; default: the AWS SDK's own chain (environment, files, roles)" }),
  coldSecretAccessKeyFile: optionalText({ help: 'file with its secret' }),
  snapshots: flag({ help: 'take snapshots of the store on the schedules below', default: false }),
  snapshotHourlyCron: text({ help: 'when (cron, UTC)', default: SNAPSHOT_DEFAULTS.hourlyCron }),
  snapshotDailyCron: text({ help: 'when (cron, UTC)', default: SNAPSHOT_DEFAULTS.dailyCron }),
  snapshotHourlyKept: integer({
    help: 'hourly snapshots kept',
    default: SNAPSHOT_DEFAULTS.hourlyKept,
    min: 1,
    max: 1000,
  }),
  snapshotDailyKept: integer({ help: 'daily snapshots kept', default: SNAPSHOT_DEFAULTS.dailyKept, min: 1, max: 1000 }),
  snapshotDir: optionalText({ help: 'folder of snapshots of the embedded store; default: snapshots below dataDir' }),
  snapshotRepository: text({ help: "Elasticsearch's snapshot repository", default: 'meridian' }),
  snapshotLocation: optionalText({
    help: "folder of the repository, below the nodes' path.repo: it is made; default: whoever runs Elasticsearch has made it",
  }),
} as const;
