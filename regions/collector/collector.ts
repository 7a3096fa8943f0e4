import type { RegionId } from '../../global/model/ids.js';
import { createRedactor } from '../../global/otlp/redact.js';
import type { ListenAddress } from '../../global/runtime/channel-security.js';
import type { Clock } from '../../global/runtime/clock.js';
import { worstState } from '../../global/runtime/health.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { HealthCheck, PartHealth, Service } from '../../global/runtime/service.js';
import { Admission } from './admission.js';
import { AppendHealth } from './append-health.js';
import { BufferPool } from './buffer-pool.js';
import { Gatherer } from './gatherer.js';
import { HttpListener } from './http-listener.js';
import { jaegerThriftRoute, nativeRoute, otlpRoute, zipkinRoute } from './http-routes.js';
import { CollectorMetrics } from './metrics.js';
import {
  COLLECTOR_DEFAULTS,
  type CollectorAddresses,
  type CollectorLimits,
  type CollectorOptions,
  checkLimits,
} from './options.js';
import { OtlpGrpcListener } from './otlp-grpc.js';
import type { Pipeline } from './pipeline.js';
import type { SpansRoute } from './protocol.js';
import { spansHttpHandler } from './spans-http.js';
import { noSpoolCrash } from './spool/spool-crash-points.js';
import { spoolHealth } from './spool/spool-health.js';
import { SPOOL_LIMITS } from './spool/spool-limits.js';
import { SpoolingAppender } from './spool/spooling-appender.js';

/**
 * Takes spans of every protocol, checks them, and acknowledges what is durable in the region's log, or while that is away in the spool
 * (`spoolDir`) on its way there. Without a spool it is stateless: any number of them can stand side by side, each with a spool of its own. `stop` takes no new connection, finishes the requests in flight within `drainMs`, and then resolves.
 */
export interface Collector extends Service {
  /** Where it listens, with the ports that were taken; throws `unavailable` before `start`. */
  readonly addresses: CollectorAddresses;
  health(): HealthCheck;
}

/** Throws `configuration` for limits that cannot hold together. */
export function createCollector(options: CollectorOptions): Collector {
  return new ListeningCollector(options, { ...COLLECTOR_DEFAULTS, ...withoutUndefined(options) });
}

class ListeningCollector implements Collector {
  readonly #spool: SpoolingAppender | null;
  readonly #gatherer: Gatherer;
  readonly #appendHealth: AppendHealth;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #region: RegionId;
  readonly #drainMs: number;
  readonly #grpc: OtlpGrpcListener;
  readonly #http: Record<'otlpHttp' | 'zipkin' | 'jaegerThrift', HttpListener>;
  #state: { readonly name: 'new' | 'listening' | 'stopped'; readonly sinceMs: number };
  #stopping: Promise<void> | null = null;

  constructor(options: CollectorOptions, limits: CollectorLimits) {
    checkLimits(limits);
    const { clock, logger, security, listen } = options;
    this.#clock = clock;
    this.#logger = logger;
    this.#region = options.region;
    this.#drainMs = limits.drainMs;
    this.#state = { name: 'new', sinceMs: clock.nowMs() };
    const admission = new Admission(limits);
    const pool = new BufferPool(limits.pooledBytesMax);
    const metrics = new CollectorMetrics(options.registry, admission);
    this.#appendHealth = new AppendHealth(clock);
    this.#spool = spoolOf(options, limits);
    this.#gatherer = new Gatherer({
      log: this.#spool ?? options.log,
      clock,
      crash: options.crash,
      pool,
      collectorId: options.collectorId,
      instance: options.random32() >>> 0,
      gatherMs: limits.gatherMs,
      gatherIdleMs: limits.gatherIdleMs,
      gatherBytesMax: limits.gatherBytesMax,
      recordBytesMax: limits.recordBytesMax,
      observer: {
        appended: (partition, bytes, pieces) => {
          metrics.appended(bytes, pieces);
          this.#appendHealth.appended(partition);
        },
        appendFailed: (partition, error) => {
          metrics.appendFailed(error);
          if (this.#appendHealth.failed(partition, error)) {
            logger.error({ partition, code: error.code, detail: error.message }, 'the log does not take spans');
          }
        },
      },
    });
    const pipeline: Pipeline = {
      clock,
      redactor: createRedactor(options.redaction),
      partitionCount: options.partitionCount,
      spansPerRequestMax: limits.spansPerRequestMax,
      gatherer: this.#gatherer,
      metrics,
    };
    this.#grpc = new OtlpGrpcListener({
      ...limits,
      listen: listen.otlpGrpc,
      security,
      pipeline,
      admission,
      messageBytesMax: limits.requestBytesMax,
      streamsPerConnectionMax: limits.grpcStreamsPerConnectionMax,
      receivingMax: limits.grpcReceivingMax,
      clock,
      logger,
    });
    const http = (name: string, address: ListenAddress, routes: readonly SpansRoute[]) =>
      new HttpListener({
        ...limits,
        name,
        listen: address,
        security,
        clock,
        handle: spansHttpHandler({
          routes,
          pipeline,
          admission,
          pool,
          limits,
          cors: { allowedOrigins: limits.corsOrigins },
          retryAfterMs: limits.retryAfterMs,
          clock,
          logger,
        }),
      });
    this.#http = {
      otlpHttp: http('OTLP/HTTP', listen.otlpHttp, [otlpRoute, nativeRoute]),
      zipkin: http('Zipkin', listen.zipkin, [zipkinRoute]),
      jaegerThrift: http('Jaeger thrift', listen.jaegerThrift, [jaegerThriftRoute]),
    };
  }

  get addresses(): CollectorAddresses {
    return {
      otlpGrpc: this.#grpc.address,
      otlpHttp: this.#http.otlpHttp.address,
      zipkin: this.#http.zipkin.address,
      jaegerThrift: this.#http.jaegerThrift.address,
    };
  }

  /** Rejects with `configuration` where an address cannot be bound, or the spool not be used; then nothing listens. */
  async start(): Promise<void> {
    // First: what an earlier process left is before what comes now.
    await this.#spool?.open();
    const listeners = this.#listeners();
    const results = await Promise.allSettled(listeners.map((listener) => listener.start()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) {
      await this.stop();
      throw failed.reason;
    }
    this.#state = { name: 'listening', sinceMs: this.#clock.nowMs() };
    this.#logger.info({ region: this.#region, addresses: this.addresses }, 'collecting spans');
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#drain();
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    this.#state = { name: 'stopped', sinceMs: this.#clock.nowMs() };
    // The listeners first: each resolves when its last request was answered, which needs the gatherer to go on.
    const deadlineMs = this.#clock.monotonicMs() + this.#drainMs;
    await Promise.all(this.#listeners().map((listener) => listener.stop()));
    const drained = new AbortController();
    const leftMs = Math.max(0, deadlineMs - this.#clock.monotonicMs());
    await Promise.race([this.#gatherer.close(), this.#clock.sleep(leftMs, drained.signal)]);
    drained.abort();
    await this.#spool?.close(Math.max(0, deadlineMs - this.#clock.monotonicMs()));
  }

  health(): HealthCheck {
    return { part: 'collector', check: async () => this.#health() };
  }

  #health(): PartHealth {
    if (this.#state.name === 'listening') {
      const appends = this.#appendHealth.health();
      const spool = this.#spool && spoolHealth(this.#spool.report());
      if (!spool) return appends;
      return { ...spool, state: worstState([spool, appends]) };
    }
    const detail = this.#state.name === 'new' ? 'not started' : 'draining or stopped';
    return { part: 'collector', state: 'down', detail, sinceMs: this.#state.sinceMs };
  }

  #listeners(): Service[] {
    return [this.#grpc, ...Object.values(this.#http)];
  }
}

function spoolOf(options: CollectorOptions, limits: CollectorLimits): SpoolingAppender | null {
  const { spoolDir, log, clock, logger, registry } = options;
  if (spoolDir === undefined || limits.spoolBytesMax === 0) return null;
  return new SpoolingAppender({
    log,
    folder: spoolDir,
    limits: { ...SPOOL_LIMITS, bytesMax: limits.spoolBytesMax, hangMs: limits.spoolHangMs },
    clock,
    logger,
    registry,
    reach: noSpoolCrash,
  });
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
