import { randomUUID } from 'node:crypto';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Fleet, type FleetRegion, fleetRegion } from '../global/fleet/fleet.js';
import { mirroredTopic, type TopicSpec } from '../global/log/span-log.js';
import { GROUPS, MIRRORED_TOPICS, regionTopics, TOPICS } from '../global/log/topics.js';
import { parseRegionId, type RegionId } from '../global/model/ids.js';
import { createGrpcRegionClient } from '../global/region-api/grpc-region-client.js';
import type { RegionClient } from '../global/region-api/region-client.js';
import { createApplier } from '../global/replication/applier.js';
import { createReconcileSchedule, reconcile, reconcileOldestMs } from '../global/replication/reconcile.js';
import { plaintext } from '../global/runtime/channel-security.js';
import { realClock } from '../global/runtime/clock.js';
import type { ReachCrashPoint } from '../global/runtime/crash-points.js';
import { MeridianError, messageOf } from '../global/runtime/errors.js';
import { deepHealth } from '../global/runtime/health.js';
import { createHttpListener } from '../global/runtime/http-listener.js';
import type { Logger } from '../global/runtime/logger.js';
import type { HealthCheck, PartHealth, Service } from '../global/runtime/service.js';
import { keepAll } from '../global/sampling/sampling-policy.js';
import { adminApi, type RegionMaintenance } from './api/admin-api.js';
import type { OwnLive } from './api/live-api.js';
import { createLivePeerClient } from './api/live-peer-client.js';
import { LivePeers } from './api/live-peers.js';
import { PeeredLive } from './api/peered-live.js';
import { createRegionApiServer } from './api/region-api-server.js';
import { RegionReads } from './api/region-reads.js';
import { type Assembler, createAssembler } from './assembler/assembler.js';
import { collectorOf } from './collectors.js';
import type { RegionOptions } from './config/region-options.js';
import { type Engines, ensureTopics, openLog, openViews } from './engines.js';
import { makeLinks, type RegionLinks } from './links.js';
import { ReplayableViews } from './replay.js';
import { createRetention } from './retention.js';
import { createWriter } from './store/writer.js';

interface Live extends OwnLive {
  readonly peered: PeeredLive;
}

export interface RegionSetup {
  readonly options: RegionOptions;
  readonly fleet: Fleet;
  readonly logger: Logger;
  readonly crash: ReachCrashPoint;
}

/** Until another process takes over from one that went away silently: a session of the log's group and a rebalance. For messages. */
const TAKEOVER_MS = 8_000;

/**
 * One region: collector > log > assembler > log > writer > store and applier > index, the links from the other regions, and the API
 * for routers. What is started first is stopped last, so that a stop drains along the write path.
 */
export function createRegion(setup: RegionSetup): Service {
  const region = parseRegionId(setup.options.region);
  if (!region) throw new MeridianError('configuration', `"${setup.options.region}" is no region name`, 'never');
  return new Region(setup, region);
}

class Region implements Service {
  readonly #options: RegionOptions;
  readonly #region: RegionId;
  readonly #own: FleetRegion;
  readonly #others: readonly FleetRegion[];
  readonly #registry = new Registry();
  readonly #startedMs = realClock.nowMs();
  /** What every room gets. */
  readonly #shared: {
    readonly clock: typeof realClock;
    readonly logger: Logger;
    readonly registry: Registry;
    readonly crash: ReachCrashPoint;
  };
  /** In the order of their start. */
  readonly #started: { name: string; stop: () => Promise<void> }[] = [];
  readonly #stopping = new AbortController();
  /** Of what has come up so far. */
  readonly #checks: HealthCheck[] = [];
  #maintenance: RegionMaintenance | null = null;
  #ready = false;

  constructor({ options, fleet, logger, crash }: RegionSetup, region: RegionId) {
    this.#options = options;
    this.#region = region;
    this.#own = fleetRegion(fleet, region);
    this.#others = fleet.regions.filter((other) => other.region !== region);
    this.#shared = { clock: realClock, logger, registry: this.#registry, crash };
    collectDefaultMetrics({ register: this.#registry });
  }

  async start(): Promise<void> {
    this.#checkPeers();
    const { clock, logger } = this.#shared;
    // First, so that a start that waits can be seen, and stopped last.
    await this.#start('admin', this.#admin());
    const setup = { home: this.#region, options: this.#options, fleetBrokers: this.#own.kafka, ...this.#shared };
    const { log, tail, late, whenOpen } = await openLog(setup);
    this.#keep('log', () => log.close());
    const collector = collectorOf({ region: this.#own, options: this.#options, log, ...this.#shared });
    this.#checks.push(collector.health(), logCheck({ log }));
    if (late) {
      logger.warn('the log is away: spans are taken into the spool, everything else waits for it');
      await this.#start('collector', collector);
      await whenOpen();
    }
    await ensureTopics(setup, log, this.#topics(), this.#stopping.signal);
    const engines = { log, tail, ...(await openViews(setup, (name, close) => this.#keep(name, close))) };
    // Views of the log come before what fills the log, so that a restart catches up first.
    const views = this.#views(engines);
    await this.#start('views', views);
    const snapshots = engines.tiers.snapshots(log, (work) => views.whileStopped('store', work));
    await this.#start('snapshots', snapshots);
    await this.#start('aging', engines.tiers.aging);

    const clients = this.#clients();
    const links = await makeLinks(engines, {
      home: this.#region,
      others: this.#others,
      clients,
      delayMs: this.#options.linkDelayMs,
      ...this.#shared,
    });
    for (const link of links.services) await this.#start('link', link);
    const reconcileNow = await this.#reconcile(engines, clients);
    await this.#start('retention', this.#retention(engines));

    const assembler = this.#assembler(engines);
    const live = this.#live(assembler);
    this.#checks.push(
      assembler.health(),
      viewCheck(views, 'store'),
      viewCheck(views, 'index'),
      ...engines.tiers.health,
      snapshots.health(),
      ...(this.#options.peers.length > 0 ? [live.peered.health()] : []),
    );
    const parts = [...this.#checks];
    // A link that is down is its source's trouble: it shows here, but it does not make this region look ill to routers.
    this.#checks.push(...links.reports.map((link) => link.health()));
    this.#maintenance = {
      replay: (view, from) => views.replay(view, from),
      replayProgress: () => views.progress(),
      reconcile: reconcileNow,
      snapshots,
      setLink: (from, change) => links.change(from, change),
    };
    // Before the assembler, so that it stops after it: while partitions are handed over, what is still held here is still told.
    await this.#start('region API', this.#regionApi(engines, live, links, parts));
    await this.#start('assembler', assembler);
    // Last: nobody is told to send before what they send can be kept, found and seen.
    if (!late) await this.#start('collector', collector);
    this.#ready = true;
    logger.info({ region: this.#region, tookMs: clock.nowMs() - this.#startedMs }, 'region is up');
  }

  async stop(): Promise<void> {
    this.#ready = false;
    this.#stopping.abort();
    for (const { name, stop } of this.#started.splice(0).reverse()) {
      await stop().catch((error: unknown) =>
        this.#shared.logger.error({ error: messageOf(error) }, `stopping ${name} failed`),
      );
    }
  }

  async #start(name: string, service: Service): Promise<void> {
    await service.start();
    this.#keep(name, () => service.stop());
  }

  #keep(name: string, stop: () => Promise<void>): void {
    this.#started.push({ name, stop });
  }

  /** Several processes share what the region keeps: engines that are this process's own cannot be shared. */
  #checkPeers(): void {
    const { peers, log, store, index } = this.#options;
    if (peers.length === 0 || [log, store, index].every((engine) => engine !== 'embedded')) return;
    throw new MeridianError(
      'configuration',
      'peers: several processes of a region need log: kafka, store: elasticsearch and index: redis',
      'never',
    );
  }

  #topics(): TopicSpec[] {
    const { spansRetentionMs, viewsRetentionMs } = this.#options;
    const mirrored = this.#others.flatMap(({ region, partitions }) =>
      MIRRORED_TOPICS.map((topic) => ({
        name: mirroredTopic(region, topic),
        partitions: partitions.traceMetadata,
        retentionMs: viewsRetentionMs,
        compacted: false,
        mirrored: true,
      })),
    );
    return [...regionTopics(this.#own.partitions, { spans: spansRetentionMs, views: viewsRetentionMs }), ...mirrored];
  }

  #views({ log, tail, store, index }: Engines): ReplayableViews {
    const home = this.#region;
    const sources = [home, ...this.#others.map((other) => other.region)];
    const feedTopics = sources.map((source) =>
      source === home ? TOPICS.traceMetadata : mirroredTopic(source, TOPICS.traceMetadata),
    );
    return new ReplayableViews(log, [
      {
        name: 'store',
        group: GROUPS.writer,
        topics: [TOPICS.segments],
        create: () => createWriter({ source: home, home, log, store, ...this.#shared }),
      },
      {
        name: 'index',
        group: GROUPS.applier,
        topics: feedTopics,
        // MirrorMaker fails rather than skips: see decision 0006.
        create: () => createApplier({ home, sources, log, index, mirrorsNeverSkip: tail === null, ...this.#shared }),
      },
    ]);
  }

  #assembler({ log }: Engines): Assembler {
    const options = this.#options;
    return createAssembler({
      source: this.#region,
      home: this.#region,
      log,
      partitions: this.#own.partitions,
      policy: keepAll,
      incarnation: this.#startedMs,
      random: Math.random,
      limits: {
        idleMs: options.assemblerIdleMs,
        ageMs: options.assemblerAgeMs,
        settleMs: options.assemblerSettleMs,
        openBytesMax: options.assemblerOpenBytesMax,
      },
      ...this.#shared,
    });
  }

  /** What the processes of this region hold between them that the store may not have yet. */
  #live({ live }: Assembler): Live {
    const { clock, logger } = this.#shared;
    const peers = new LivePeers({
      peers: this.#options.peers,
      connect: (address) => createLivePeerClient({ address, security: plaintext }),
      clock,
      logger,
    });
    this.#keep('peers', async () => peers.close());
    const process = randomUUID();
    const region = this.#region;
    const partitionCount = this.#own.partitions.spans;
    const peered = new PeeredLive({ region, live, process, peers, partitionCount, clock, takeoverMs: TAKEOVER_MS });
    return { live, process, peered };
  }

  #retention({ store, index }: Engines): Service {
    const { storeRetentionMs: retentionMs, indexFold, indexFoldAfterMs } = this.#options;
    const foldAfterMs = indexFold ? indexFoldAfterMs : null;
    return createRetention({ store, index, retentionMs, foldAfterMs, random: Math.random, ...this.#shared });
  }

  #clients(): ReadonlyMap<RegionId, RegionClient> {
    const clients = new Map(
      this.#others.map(({ region, regionApi: address }) => [
        region,
        createGrpcRegionClient({ region, address, security: plaintext }),
      ]),
    );
    this.#keep('clients', async () => {
      for (const client of clients.values()) client.close();
    });
    return clients;
  }

  /** What compares the index with every peer's; also started on its schedule. */
  async #reconcile({ index }: Engines, clients: ReadonlyMap<RegionId, RegionClient>) {
    const { clock, logger } = this.#shared;
    const home = this.#region;
    const { reconcileCron: cron, storeRetentionMs } = this.#options;
    const peers = [...clients].map(([region, client]) => ({ region, client }));
    const sources = [home, ...clients.keys()];
    const run = (signal?: AbortSignal) => {
      const oldestMs = reconcileOldestMs(clock.nowMs(), storeRetentionMs);
      return reconcile({ home, sources, peers, index, clock, logger, oldestMs, ...(signal ? { signal } : {}) });
    };
    if (this.#options.reconcile) {
      await this.#start('reconcile', createReconcileSchedule({ cron, run, clock, logger, random: Math.random }));
    }
    return () => run();
  }

  #regionApi(
    { store, index, tail }: Engines,
    { live, peered, process }: Live,
    links: RegionLinks,
    parts: readonly HealthCheck[],
  ): Service {
    const { clock } = this.#shared;
    const region = this.#region;
    return createRegionApiServer({
      region,
      reads: new RegionReads({ region, store, live, peered, index, clock }),
      own: { live, process },
      index,
      tail,
      followable: MIRRORED_TOPICS,
      status: async () => ({
        region,
        startedMs: this.#startedMs,
        parts: [...(await deepHealth(parts, this.#options.healthLimitMs, clock)), { part: 'api', state: 'ok' }],
        links: links.reports.map((link) => link.status()),
      }),
      listen: this.#at(this.#options.regionApiPort),
      security: plaintext,
      clock,
    });
  }

  #admin(): Service {
    const { clock } = this.#shared;
    const { healthLimitMs: checkLimitMs, adminPort, drainMs } = this.#options;
    return createHttpListener({
      name: 'health and metrics',
      option: 'adminPort',
      listen: this.#at(adminPort),
      handler: adminApi(
        { ready: () => this.#ready, checks: this.#checks, registry: this.#registry, clock, checkLimitMs },
        () => this.#maintained(),
      ),
      security: plaintext,
      clock,
      drainMs,
    });
  }

  #maintained(): RegionMaintenance {
    if (this.#maintenance) return this.#maintenance;
    throw new MeridianError('unavailable', `region ${this.#region} is still starting`, 'later');
  }

  #at(port: number) {
    return { host: this.#options.host, port };
  }
}

function logCheck({ log }: Pick<Engines, 'log'>): HealthCheck {
  const part = 'log';
  const check = async (): Promise<PartHealth> => {
    await log.ends(TOPICS.spans);
    return { part, state: 'ok' };
  };
  return { part, check };
}

function viewCheck(views: ReplayableViews, part: string): HealthCheck {
  const check = async (): Promise<PartHealth> => {
    const running = views.running(part);
    if (!running) return { part, state: 'down', detail: 'its consumer does not run' };
    return { ...(await running.health().check()), part };
  };
  return { part, check };
}
