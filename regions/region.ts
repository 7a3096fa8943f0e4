import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Fleet, fleetRegion } from '../global/fleet/fleet.js';
import { openSqliteTraceIndex } from '../global/index/sqlite-trace-index.js';
import type { TraceIndex } from '../global/index/trace-index.js';
import { mirroredTopic, type SpanLog, type TopicSpec } from '../global/log/span-log.js';
import { GROUPS, regionTopics, TOPICS } from '../global/log/topics.js';
import { parseRegionId } from '../global/model/ids.js';
import type { PatternName } from '../global/otlp/redact.js';
import { createGrpcRegionClient } from '../global/region-api/grpc-region-client.js';
import type { RegionClient, RegionStatus } from '../global/region-api/region-client.js';
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
import type { HealthCheck, Service } from '../global/runtime/service.js';
import { keepAll } from '../global/sampling/sampling-policy.js';
import { adminApi } from './api/admin-api.js';
import { createRegionApiServer } from './api/region-api-server.js';
import { RegionReads } from './api/region-reads.js';
import { createAssembler } from './assembler/assembler.js';
import { createCollector } from './collector/collector.js';
import type { RegionOptions } from './config/region-options.js';
import type { LogTail } from './log/log-tail.js';
import { openSqliteSpanLog } from './log/sqlite-span-log.js';
import { ReplayableViews } from './replay.js';
import type { SegmentStore } from './store/segment-store.js';
import { openSqliteSegmentStore } from './store/sqlite-segment-store.js';
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
const DAY_MS = 24 * 3_600_000;
const EXPIRE_INTERVAL_MS = 3_600_000;

/**
 * One region on the embedded engines: collector > log > assembler > log > writer > store and applier > index, the links
 * from the other regions, and the API for routers. What is started first is stopped last, so that a stop drains along the write path.
 */
export function createRegion(setup: RegionSetup): Service {
  return new Region(setup);
}

class Region implements Service {
  readonly #setup: RegionSetup;
  /** In the order of their start. */
  readonly #started: { name: string; stop: () => Promise<void> }[] = [];
  #ready = false;

  constructor(setup: RegionSetup) {
    this.#setup = setup;
  }

  async start(): Promise<void> {
    const { options, fleet, logger, crash } = this.#setup;
    const region = parseRegionId(options.region);
    if (!region) throw new MeridianError('configuration', `region "${options.region}" is no region name`, 'never');
    const own = fleetRegion(fleet, region);
    const others = fleet.regions.filter((other) => other.region !== region);
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    const clock = realClock;
    const security = plaintext;
    const startedMs = clock.nowMs();
    const shared = { clock, logger, registry, crash };
    const at = (port: number) => ({ host: options.host, port });

    const folder = (name: string) => {
      const path = join(options.dataDir, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    const log: SpanLog & LogTail = await openSqliteSpanLog({ folder: folder('log'), clock, logger, registry });
    this.#keep('log', () => log.close());
    const retentionMs = { spans: options.spansRetentionMs, views: options.viewsRetentionMs };
    await log.ensure([
      ...regionTopics(own.partitions, retentionMs),
      ...others.flatMap((o) => mirroredTopics(o.region, o.partitions.traceMetadata, options.viewsRetentionMs)),
    ]);
    const store: SegmentStore = await openSqliteSegmentStore({ folder: folder('store'), clock, logger, registry });
    this.#keep('store', () => store.close());
    const index: TraceIndex = await openSqliteTraceIndex({
      folder: folder('index'),
      home: region,
      clock,
      logger,
      registry,
    });
    this.#keep('index', () => index.close());

    // Views of the log. They start before what fills the log, so that a restart catches up first.
    const sources = fleet.regions.map((r) => r.region);
    const feedTopics = [TOPICS.traceMetadata, ...others.map((o) => mirroredTopic(o.region, TOPICS.traceMetadata))];
    const views = new ReplayableViews(log, [
      {
        name: 'store',
        group: GROUPS.writer,
        topics: [TOPICS.segments],
        create: () => createWriter({ source: region, home: region, log, store, ...shared }),
      },
      {
        name: 'index',
        group: GROUPS.applier,
        topics: feedTopics,
        create: () => createApplier({ home: region, sources, log, index, ...shared }),
      },
    ]);
    await this.#start('views', views);

    const assembler = createAssembler({
      source: region,
      home: region,
      log,
      partitions: own.partitions,
      policy: keepAll,
      incarnation: startedMs,
      limits: {
        idleMs: options.assemblerIdleMs,
        ageMs: options.assemblerAgeMs,
        settleMs: options.assemblerSettleMs,
        openBytesMax: options.assemblerOpenBytesMax,
      },
      ...shared,
    });
    await this.#start('assembler', assembler);

    const clients = new Map<string, RegionClient>(
      others.map((other) => [
        other.region,
        createGrpcRegionClient({ region: other.region, address: other.regionApi, security }),
      ]),
    );
    this.#keep('clients', async () => {
      for (const client of clients.values()) client.close();
    });
    const links = others.map((other): Link => {
      const link = createLink({
        source: other.region,
        client: clients.get(other.region)!,
        log,
        topics: MIRRORED.map((name) => ({ name, partitions: other.partitions.traceMetadata })),
        random: Math.random,
        ...shared,
      });
      link.setDelayMs(options.linkDelayMs);
      return link;
    });
    for (const link of links) await this.#start('link', link);

    const peers = others.map((other) => ({ region: other.region, client: clients.get(other.region)! }));
    const runReconcile = (signal?: AbortSignal) => {
      const oldestMs = reconcileOldestMs(clock.nowMs(), options.storeRetentionMs);
      return reconcile({ home: region, sources, peers, index, clock, logger, oldestMs, ...(signal ? { signal } : {}) });
    };
    if (options.reconcile) {
      await this.#start(
        'reconcile',
        createReconcileSchedule({ cron: options.reconcileCron, run: runReconcile, clock, logger, random: Math.random }),
      );
    }
    this.#expireRegularly(store, index, options.storeRetentionMs);

    const collector = createCollector({
      region,
      collectorId: options.collectorId ?? `${hostname()}-${process.pid}`,
      log,
      partitionCount: own.partitions.spans,
      redaction: {
        dropKeys: options.redactDropKeys,
        maskKeys: options.redactMaskKeys,
        patterns: options.redactPatterns.map(patternName),
        maskSecret: options.redactSecretFile ? readSecret(options.redactSecretFile) : TRYING_OUT_SECRET,
      },
      listen: {
        otlpGrpc: at(options.otlpGrpcPort),
        otlpHttp: at(options.otlpHttpPort),
        zipkin: at(options.zipkinPort),
        jaegerThrift: at(options.jaegerThriftPort),
      },
      gatherMs: options.gatherMs,
      corsOrigins: options.corsOrigins,
      drainMs: options.drainMs,
      security,
      random32: () => randomBytes(4).readUInt32LE(0),
      ...shared,
    });

    const checks: HealthCheck[] = [
      collector.health(),
      assembler.health(),
      { part: 'log', check: async () => (await log.ends(TOPICS.spans), { part: 'log', state: 'ok' }) },
      { part: 'store', check: () => viewHealth(views, 'store') },
      { part: 'index', check: () => viewHealth(views, 'index') },
      ...links.map((link) => link.health()),
    ];
    const status = async (): Promise<RegionStatus> => ({
      region,
      startedMs,
      parts: [...(await deepHealth(checks, options.healthLimitMs, clock)), { part: 'api', state: 'ok' }],
      links: links.map((link) => link.status()),
    });
    await this.#start(
      'region API',
      createRegionApiServer({
        region,
        reads: new RegionReads({ region, store, live: assembler.live, index, clock }),
        index,
        tail: log,
        followable: MIRRORED,
        status,
        listen: at(options.regionApiPort),
        security,
      }),
    );
    const admin = adminApi(
      { ready: () => this.#ready, checks, registry, clock, checkLimitMs: options.healthLimitMs },
      {
        replay: (view, from) => views.replay(view, from),
        replayProgress: () => views.progress(),
        reconcile: runReconcile,
        setLink: (from, { cut, delayMs }) => {
          const link = links.find((l) => l.status().from === from);
          if (!link) throw new MeridianError('invalid', `no link from "${from}" to ${region}`, 'never');
          if (cut !== undefined) cut ? link.cut() : link.heal();
          if (delayMs !== undefined) link.setDelayMs(delayMs);
        },
      },
    );
    const { host, drainMs } = options;
    await this.#start(
      'admin',
      createHttpListener({
        name: 'health and metrics',
        option: 'adminPort',
        listen: { host, port: options.adminPort },
        handler: admin,
        security,
        drainMs,
      }),
    );
    // Last: nobody is told to send before what they send can be kept, found and seen.
    await this.#start('collector', collector);
    this.#ready = true;
    logger.info({ region, tookMs: clock.nowMs() - startedMs }, 'region is up');
  }

  async stop(): Promise<void> {
    this.#ready = false;
    for (const { name, stop } of this.#started.splice(0).reverse()) {
      await stop().catch((error: unknown) =>
        this.#setup.logger.error({ error: messageOf(error) }, `stopping ${name} failed`),
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

  #expireRegularly(store: SegmentStore, index: TraceIndex, retentionMs: number): void {
    const { logger } = this.#setup;
    const expire = async () => {
      const before = realClock.nowUnixNano() - BigInt(retentionMs) * 1_000_000n;
      const [blocks, traces] = [await store.expire(before), await index.expire(before)];
      if (blocks || traces)
        logger.info({ blocks, traces, days: retentionMs / DAY_MS }, 'forgot what is past its retention');
    };
    const timer = setInterval(() => {
      expire().catch((error: unknown) =>
        logger.warn({ error: messageOf(error) }, 'forgetting old traces failed; tried again in an hour'),
      );
    }, EXPIRE_INTERVAL_MS);
    timer.unref();
    this.#keep('retention', async () => clearInterval(timer));
  }
}

function mirroredTopics(source: string, partitions: number, retentionMs: number): TopicSpec[] {
  return MIRRORED.map((topic) => ({ name: mirroredTopic(source, topic), partitions, retentionMs, compacted: false }));
}

async function viewHealth(views: ReplayableViews, name: string) {
  const running = views.running(name) as (Service & { health(): HealthCheck }) | undefined;
  if (!running) return { part: name, state: 'down', detail: 'its consumer does not run' } as const;
  return { ...(await running.health().check()), part: name };
}

function patternName(text: string): PatternName {
  if (text === 'email' || text === 'card' || text === 'bearer') return text;
  throw new MeridianError('configuration', `redactPatterns: "${text}" is not one of email, card, bearer`, 'never');
}

function readSecret(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new MeridianError('configuration', `redactSecretFile: cannot read ${file}: ${messageOf(error)}`, 'never', {
      cause: error,
    });
  }
}
