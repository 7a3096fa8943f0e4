import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Fleet, type FleetRegion, fleetRegion } from '../global/fleet/fleet.js';
import { mirroredTopic, type TopicSpec } from '../global/log/span-log.js';
import { GROUPS, regionTopics, TOPICS } from '../global/log/topics.js';
import { parseRegionId, type RegionId } from '../global/model/ids.js';
import { PATTERN_NAMES, type PatternName } from '../global/otlp/redact-text.js';
import { createGrpcRegionClient } from '../global/region-api/grpc-region-client.js';
import type { RegionClient } from '../global/region-api/region-client.js';
import { createApplier } from '../global/replication/applier.js';
import { createLink, type Link } from '../global/replication/link.js';
import { createReconcileSchedule, reconcile, reconcileOldestMs } from '../global/replication/reconcile.js';
import { plaintext } from '../global/runtime/channel-security.js';
import { realClock } from '../global/runtime/clock.js';
import type { ReachCrashPoint } from '../global/runtime/crash-points.js';
import { MeridianError, messageOf } from '../global/runtime/errors.js';
import { deepHealth } from '../global/runtime/health.js';
import { createHttpListener } from '../global/runtime/http-listener.js';
import type { Logger } from '../global/runtime/logger.js';
import { readOptionFile } from '../global/runtime/secret-file.js';
import type { HealthCheck, PartHealth, Service } from '../global/runtime/service.js';
import { keepAll } from '../global/sampling/sampling-policy.js';
import { adminApi, type RegionMaintenance } from './api/admin-api.js';
import { createRegionApiServer } from './api/region-api-server.js';
import { RegionReads } from './api/region-reads.js';
import { type Assembler, createAssembler } from './assembler/assembler.js';
import { type Collector, createCollector } from './collector/collector.js';
import type { RegionOptions } from './config/region-options.js';
import { type Engines, openEngines } from './engines.js';
import { ReplayableViews } from './replay.js';
import { createRetention } from './retention.js';
import { createWriter } from './store/writer.js';

export interface RegionSetup {
  readonly options: RegionOptions;
  readonly fleet: Fleet;
  readonly logger: Logger;
  readonly crash: ReachCrashPoint;
}

/** Topics that other regions take from this one. `segments` and `spans` join them when there are standbys. */
const MIRRORED = [TOPICS.traceMetadata] as const;
/** Without a key of their own, masked values can be joined across this fleet but are no secret: for trying out. */
const TRYING_OUT_SECRET = Buffer.from('meridian trying out: configure redactSecretFile');

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
    const engines = await openEngines(
      {
        home: this.#region,
        options: this.#options,
        fleetBrokers: this.#own.kafka,
        topics: this.#topics(),
        stopping: this.#stopping.signal,
        ...this.#shared,
      },
      (name, close) => this.#keep(name, close),
    );
    // Views of the log come before what fills the log, so that a restart catches up first.
    const views = this.#views(engines);
    await this.#start('views', views);
    const assembler = this.#assembler(engines);
    await this.#start('assembler', assembler);

    const clients = this.#clients();
    const links = this.#links(engines, clients);
    for (const link of links) await this.#start('link', link);
    const runReconcile = await this.#reconcile(engines, clients);
    const { storeRetentionMs: retentionMs } = this.#options;
    await this.#start('retention', createRetention({ ...engines, ...this.#shared, retentionMs }));

    const collector = this.#collector(engines);
    const parts = partChecks(engines, views, assembler, collector);
    await this.#start('region API', this.#regionApi(engines, assembler, links, parts));
    // A link that is down is its source's trouble: it shows here, but it does not make this region look ill to routers.
    const checks = [...parts, ...links.map((link) => link.health())];
    await this.#start('admin', this.#admin(views, links, checks, runReconcile));
    // Last: nobody is told to send before what they send can be kept, found and seen.
    await this.#start('collector', collector);
    this.#ready = true;
    const { clock, logger } = this.#shared;
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

  #topics(): TopicSpec[] {
    const { spansRetentionMs, viewsRetentionMs } = this.#options;
    const mirrored = this.#others.flatMap(({ region, partitions }) =>
      MIRRORED.map((topic) => ({
        name: mirroredTopic(region, topic),
        partitions: partitions.traceMetadata,
        retentionMs: viewsRetentionMs,
        compacted: false,
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
      limits: {
        idleMs: options.assemblerIdleMs,
        ageMs: options.assemblerAgeMs,
        settleMs: options.assemblerSettleMs,
        openBytesMax: options.assemblerOpenBytesMax,
      },
      ...this.#shared,
    });
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

  #links({ log, tail }: Engines, clients: ReadonlyMap<RegionId, RegionClient>): Link[] {
    if (!tail) return [];
    return this.#others.map(({ region: source, partitions }) => {
      const topics = MIRRORED.map((name) => ({ name, partitions: partitions.traceMetadata }));
      const client = clients.get(source)!;
      const link = createLink({ source, client, log, topics, random: Math.random, ...this.#shared });
      link.setDelayMs(this.#options.linkDelayMs);
      return link;
    });
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

  #collector({ log }: Engines): Collector {
    const options = this.#options;
    return createCollector({
      region: this.#region,
      collectorId: options.collectorId ?? `${hostname()}-${process.pid}`,
      log,
      partitionCount: this.#own.partitions.spans,
      redaction: {
        dropKeys: options.redactDropKeys,
        maskKeys: options.redactMaskKeys,
        patterns: options.redactPatterns.map(patternName),
        maskSecret: options.redactSecretFile
          ? readOptionFile('redactSecretFile', options.redactSecretFile)
          : TRYING_OUT_SECRET,
      },
      listen: {
        otlpGrpc: this.#at(options.otlpGrpcPort),
        otlpHttp: this.#at(options.otlpHttpPort),
        zipkin: this.#at(options.zipkinPort),
        jaegerThrift: this.#at(options.jaegerThriftPort),
      },
      gatherMs: options.gatherMs,
      corsOrigins: options.corsOrigins,
      drainMs: options.drainMs,
      security: plaintext,
      random32: () => randomBytes(4).readUInt32LE(0),
      ...this.#shared,
    });
  }

  #regionApi(
    { store, index, tail }: Engines,
    { live }: Assembler,
    links: readonly Link[],
    parts: readonly HealthCheck[],
  ): Service {
    const { clock } = this.#shared;
    const region = this.#region;
    return createRegionApiServer({
      region,
      reads: new RegionReads({ region, store, live, index, clock }),
      index,
      tail,
      followable: MIRRORED,
      status: async () => ({
        region,
        startedMs: this.#startedMs,
        parts: [...(await deepHealth(parts, this.#options.healthLimitMs, clock)), { part: 'api', state: 'ok' }],
        links: links.map((link) => link.status()),
      }),
      listen: this.#at(this.#options.regionApiPort),
      security: plaintext,
      clock,
    });
  }

  #admin(
    views: ReplayableViews,
    links: readonly Link[],
    checks: readonly HealthCheck[],
    runReconcile: () => Promise<unknown>,
  ): Service {
    const maintenance: RegionMaintenance = {
      replay: (view, from) => views.replay(view, from),
      replayProgress: () => views.progress(),
      reconcile: runReconcile,
      setLink: (from, { cut, delayMs }) => {
        const link = links.find((l) => l.status().from === from);
        if (!link) throw new MeridianError('invalid', `no link from "${from}" to ${this.#region}`, 'never');
        if (cut === true) link.cut();
        if (cut === false) link.heal();
        if (delayMs !== undefined) link.setDelayMs(delayMs);
      },
    };
    const { clock } = this.#shared;
    const { healthLimitMs: checkLimitMs, adminPort, drainMs } = this.#options;
    return createHttpListener({
      name: 'health and metrics',
      option: 'adminPort',
      listen: this.#at(adminPort),
      handler: adminApi(
        { ready: () => this.#ready, checks, registry: this.#registry, clock, checkLimitMs },
        maintenance,
      ),
      security: plaintext,
      clock,
      drainMs,
    });
  }

  #at(port: number) {
    return { host: this.#options.host, port };
  }
}

function partChecks(
  { log }: Engines,
  views: ReplayableViews,
  assembler: Assembler,
  collector: Collector,
): HealthCheck[] {
  const checkLog = async (): Promise<PartHealth> => {
    await log.ends(TOPICS.spans);
    return { part: 'log', state: 'ok' };
  };
  const view = (part: string): HealthCheck => ({
    part,
    check: async () => {
      const running = views.running(part);
      if (!running) return { part, state: 'down', detail: 'its consumer does not run' };
      return { ...(await running.health().check()), part };
    },
  });
  return [collector.health(), { part: 'log', check: checkLog }, assembler.health(), view('store'), view('index')];
}

function patternName(text: string): PatternName {
  const known = PATTERN_NAMES.find((name) => name === text);
  if (known) return known;
  const names = PATTERN_NAMES.join(', ');
  throw new MeridianError('configuration', `redactPatterns: "${text}" is not one of ${names}`, 'never');
}
