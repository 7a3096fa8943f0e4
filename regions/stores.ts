import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import type { LogOffsets, LogReads } from '../global/log/span-log.js';
import { GROUPS, TOPICS } from '../global/log/topics.js';
import type { RegionId } from '../global/model/ids.js';
import type { Clock } from '../global/runtime/clock.js';
import { MeridianError } from '../global/runtime/errors.js';
import { openOrLater } from '../global/runtime/late-opening.js';
import type { Logger } from '../global/runtime/logger.js';
import { readOptionFile, readSecretText } from '../global/runtime/secret-file.js';
import type { HealthCheck, Service } from '../global/runtime/service.js';
import type { RegionOptions } from './config/region-options.js';
import type { AgedBlocks } from './store/cold-aged-blocks.js';
import { openFolderStorage } from './store/cold-folder-storage.js';
import type { ObjectStorage } from './store/cold-object-storage.js';
import { ColdTier } from './store/cold-tier.js';
import type { SegmentStore } from './store/segment-store.js';
import { createFolderSnapshots } from './store/snapshot-folder.js';
import type { SnapshotEngine } from './store/snapshot-record.js';
import { createSnapshots, type Snapshots } from './store/snapshot-service.js';
import { openSqliteSegmentStore } from './store/sqlite-segment-store.js';
import { createAging } from './store/tiered-aging.js';
import { createTieredSegmentStore, type TieredSegmentStore } from './store/tiered-segment-store.js';

export interface StoreSetup {
  readonly home: RegionId;
  readonly options: RegionOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** The region's store, with its tiers behind it. */
export interface OpenedStore {
  readonly store: SegmentStore;
  /** Moves what ages from tier to tier. */
  readonly aging: Service;
  /** Of its tiers; the store itself is checked by who writes into it. */
  readonly health: readonly HealthCheck[];
  /** `whileStopped` stops what writes into the store while it is restored. */
  snapshots(log: LogOffsets & LogReads, whileStopped: <T>(work: () => Promise<T>) => Promise<T>): Snapshots;
}

/** The store that is written to, and what only its kind can do. */
interface HotStore {
  readonly store: SegmentStore;
  readonly aged: AgedBlocks;
  readonly snapshots: SnapshotEngine;
  readonly warm?: (beforeUnixNano: bigint) => Promise<number>;
}

/**
 * Opens what the options choose. Elasticsearch or an object storage that is away is opened when it comes; rejects with `configuration` for what
 * no waiting mends.
 */
export async function openStore(setup: StoreSetup): Promise<OpenedStore> {
  const { options } = setup;
  const hot = options.store === 'embedded' ? await embeddedStore(setup) : await elasticsearchStore(setup);
  const tiered = options.cold === 'none' ? null : await behind(setup, hot);
  return {
    store: tiered ?? hot.store,
    aging: agingOf(setup, hot, tiered),
    health: tiered ? [tiered.health()] : [],
    snapshots: (log, whileStopped) => snapshotsOf(setup, hot, log, whileStopped),
  };
}

async function embeddedStore({ options, ...shared }: StoreSetup): Promise<HotStore> {
  const storeFolder = folderOf(options, 'store');
  const store = await openSqliteSegmentStore({ folder: storeFolder, ...shared });
  const folder = options.snapshotDir ?? join(options.dataDir, 'snapshots');
  return { store, aged: store.aged, snapshots: createFolderSnapshots({ storeFolder, store, folder }) };
}

async function elasticsearchStore({ options, clock, logger, registry }: StoreSetup): Promise<HotStore> {
  const { elasticsearchNodes, elasticsearchCaFile, snapshotRepository: repository, snapshotLocation } = options;
  if (elasticsearchNodes.length === 0) throw wrong('store: elasticsearch needs elasticsearchNodes');
  const nodes = elasticsearchNodes.map((node) => withCredentials(node, options));
  const { openElasticsearchSegmentStore } = await import('./store/elasticsearch-segment-store.js');
  const open = () =>
    openElasticsearchSegmentStore({
      nodes,
      indexPrefix: options.elasticsearchIndexPrefix,
      replicas: options.elasticsearchReplicas,
      ...(elasticsearchCaFile
        ? { certificateAuthority: readOptionFile('elasticsearchCaFile', elasticsearchCaFile) }
        : {}),
      clock,
      logger,
      registry,
    });
  const what = `the store in Elasticsearch at ${elasticsearchNodes.join(', ')}`;
  const { engine, member } = await openOrLater({ what, open, clock, logger });
  const place = { repository, ...(snapshotLocation ? { location: snapshotLocation } : {}) };
  return {
    store: engine,
    aged: member((store) => store.aged),
    snapshots: member((store) => store.snapshots(place)),
    warm: (beforeUnixNano) => engine.warm(beforeUnixNano),
  };
}

function withCredentials(node: string, options: RegionOptions): string {
  const { elasticsearchUser, elasticsearchPasswordFile } = options;
  if (!URL.canParse(node) || !/^https?:$/.test(new URL(node).protocol)) {
    throw wrong(`elasticsearchNodes: "${node}" is no http:// or https:// URL`);
  }
  if (!elasticsearchUser) return node;
  if (!elasticsearchPasswordFile) throw wrong('elasticsearchUser needs elasticsearchPasswordFile');
  const url = new URL(node);
  url.username = encodeURIComponent(elasticsearchUser);
  url.password = encodeURIComponent(readSecretText('elasticsearchPasswordFile', elasticsearchPasswordFile));
  return url.href;
}

/** The hot store with the cold tier behind it. */
async function behind(setup: StoreSetup, { store: hot, aged }: HotStore): Promise<TieredSegmentStore> {
  const { options, clock, logger, registry } = setup;
  if (options.coldAfterMs >= options.storeRetentionMs) {
    throw wrong(
      `coldAfterMs (${options.coldAfterMs}) is not below storeRetentionMs (${options.storeRetentionMs}): nothing would ever be in the cold tier; raise storeRetentionMs, for 90 days to 7776000000`,
    );
  }
  const storage = await coldStorage(setup);
  // A folder is this process's own; a bucket may be packed into by other processes of the region.
  const known = options.cold === 'folder' ? { listKnownMs: 0 } : {};
  const cold = new ColdTier({ storage, clock, logger, registry, ...known });
  return createTieredSegmentStore({ hot, aged, cold, clock });
}

async function coldStorage({ home, options, clock, logger }: StoreSetup): Promise<ObjectStorage> {
  if (options.cold === 'folder') return openFolderStorage(options.coldDir ?? folderOf(options, 'cold'));
  const { coldBucket: bucket, coldEndpoint, coldAccessKeyId, coldSecretAccessKeyFile } = options;
  if (!bucket) throw wrong('cold: s3 needs coldBucket');
  const { openS3Storage } = await import('./store/s3-object-storage.js');
  const open = () =>
    openS3Storage({
      bucket,
      prefix: options.coldPrefix ?? home,
      region: options.coldRegion,
      ...(coldEndpoint ? { endpoint: coldEndpoint } : {}),
      ...(coldAccessKeyId ? { credentials: credentialsOf(coldAccessKeyId, coldSecretAccessKeyFile) } : {}),
    });
  return (await openOrLater({ what: `the cold tier in bucket ${bucket}`, open, clock, logger })).engine;
}

function credentialsOf(accessKeyId: string, secretFile: string | null) {
  if (!secretFile) throw wrong('coldAccessKeyId needs coldSecretAccessKeyFile');
  return { accessKeyId, secretAccessKey: readSecretText('coldSecretAccessKeyFile', secretFile) };
}

function agingOf(setup: StoreSetup, { warm }: HotStore, tiered: TieredSegmentStore | null): Service {
  const { options, clock, logger, registry } = setup;
  const { warmAfterMs, coldAfterMs, agingIntervalMs: intervalMs } = options;
  return createAging({
    ...(tiered ? { store: tiered } : {}),
    ...(warm ? { warm } : {}),
    warmAfterMs,
    coldAfterMs,
    intervalMs,
    clock,
    logger,
    registry,
  });
}

function snapshotsOf(
  { options, clock, logger, registry }: StoreSetup,
  { store, snapshots: engine }: HotStore,
  log: LogOffsets & LogReads,
  whileStopped: <T>(work: () => Promise<T>) => Promise<T>,
): Snapshots {
  const { snapshots: scheduled } = options;
  return createSnapshots({
    engine,
    views: [{ group: GROUPS.writer, topic: TOPICS.segments }],
    log,
    store,
    whileStopped,
    markerFile: join(options.dataDir, 'restore.json'),
    hourlyCron: scheduled ? options.snapshotHourlyCron : '',
    dailyCron: scheduled ? options.snapshotDailyCron : '',
    hourlyKept: options.snapshotHourlyKept,
    dailyKept: options.snapshotDailyKept,
    clock,
    logger,
    registry,
  });
}

function folderOf({ dataDir }: RegionOptions, name: string): string {
  const path = join(dataDir, name);
  mkdirSync(path, { recursive: true });
  return path;
}

function wrong(message: string): MeridianError {
  return new MeridianError('configuration', message, 'never');
}
