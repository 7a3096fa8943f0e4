import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { Fleet } from '../global/fleet/fleet.js';
import type { CatalogueReader, TraceIndexReader } from '../global/index/trace-index.js';
import type { RegionId } from '../global/model/ids.js';
import { msToUnixNano } from '../global/model/time.js';
import type { RegionClient } from '../global/region-api/region-client.js';
import type { ChannelSecurity, ListenAddress } from '../global/runtime/channel-security.js';
import type { Clock } from '../global/runtime/clock.js';
import { MeridianError, messageOf } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import type { Service } from '../global/runtime/service.js';
import { createApp } from './api/app.js';
import type { RouterLife } from './api/router-checks.js';
import type { RegionPeer } from './fanout/fetch-trace.js';
import { HEALTH_POLL_DEFAULTS, HealthPoll, type HealthPollOptions } from './fanout/health-poll.js';
import { REGION_HEALTH_DEFAULTS, RegionHealth, type RegionHealthOptions } from './fanout/region-health.js';
import { QUERY_LIMITS, type QueryContext, type QueryLimits } from './query/query-context.js';
import { RouterMetrics } from './query/router-metrics.js';

export interface RouterOptions {
  /** The region that the router stands in; the index is this region's copy. */
  readonly home: RegionId;
  readonly fleet: Fleet;
  readonly index: TraceIndexReader & CatalogueReader;
  /** One per region of the fleet. Not closed by the router. */
  readonly clients: ReadonlyMap<RegionId, RegionClient>;
  readonly listen: { readonly http: ListenAddress };
  /** How long after a trace's end a region may still append spans of it. Default 10 minutes. */
  readonly graceMs?: number;
  /** Of a request that names none. Default 5 s. */
  readonly deadlineMs?: number;
  /** Requests answered at a time. Default 256. */
  readonly requestsMax?: number;
  /** Time limit of each check of `/health/deep`. Default 1 s. */
  readonly healthLimitMs?: number;
  /** How long `stop` waits for requests that are being answered. Default 10 s. */
  readonly drainMs?: number;
  readonly limits?: Partial<QueryLimits>;
  readonly health?: Partial<RegionHealthOptions>;
  readonly poll?: Partial<HealthPollOptions>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly security: ChannelSecurity;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface Router extends Service {
  /** Where it listens; only after `start`. */
  readonly addresses: { readonly http: ListenAddress };
}

/** Wires a query router: health poll, queries, HTTP API. It keeps nothing that it could not lose. */
export function createRouter(options: RouterOptions): Router {
  return new QueryRouter(options);
}

class QueryRouter implements Router {
  readonly #options: RouterOptions;
  readonly #life: { state: RouterLife['state'] } = { state: 'starting' };
  readonly #server: Server;
  readonly #poll: HealthPoll;
  #address: ListenAddress | null = null;
  #stopped: Promise<void> | null = null;

  constructor(options: RouterOptions) {
    this.#options = options;
    const { clock, registry } = options;
    const healthOptions = { ...REGION_HEALTH_DEFAULTS, ...options.health };
    const peers = new Map<RegionId, RegionPeer>();
    for (const { region } of options.fleet.regions) {
      const client = options.clients.get(region);
      if (client) peers.set(region, { region, client, health: new RegionHealth(region, clock, healthOptions) });
    }
    const grace = options.graceMs === undefined ? {} : { graceNano: msToUnixNano(options.graceMs) };
    const context: QueryContext = {
      home: options.home,
      fleet: options.fleet,
      index: options.index,
      peers,
      clock,
      random: options.random,
      limits: { ...QUERY_LIMITS, ...grace, ...options.limits },
      metrics: new RouterMetrics(registry, peers.values()),
    };
    const app = createApp({
      context,
      deadlineMsDefault: options.deadlineMs ?? 5000,
      requestsMax: options.requestsMax ?? 256,
      life: this.#life,
      healthLimitMs: options.healthLimitMs ?? 1000,
      logger: options.logger,
      registry,
    });
    this.#server = options.security.httpServer(app);
    this.#poll = new HealthPoll(peers, clock, { ...HEALTH_POLL_DEFAULTS, ...options.poll });
  }

  get addresses(): { readonly http: ListenAddress } {
    if (!this.#address) throw new Error('the router has not been started');
    return { http: this.#address };
  }

  async start(): Promise<void> {
    const { host, port } = this.#options.listen.http;
    try {
      this.#server.listen(port, host);
      await once(this.#server, 'listening');
    } catch (error) {
      throw new MeridianError(
        'configuration',
        `router HTTP: cannot listen on ${host}:${port}: ${messageOf(error)}`,
        'never',
        {
          cause: error,
        },
      );
    }
    const bound = this.#server.address() as AddressInfo;
    this.#address = { host, port: bound.port };
    this.#poll.start();
    this.#life.state = 'up';
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#drain();
    return this.#stopped;
  }

  async #drain(): Promise<void> {
    this.#life.state = 'draining';
    await this.#poll.stop();
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    const drained = new AbortController();
    const { clock, drainMs = 10_000 } = this.#options;
    clock.sleep(drainMs, drained.signal).then(() => {
      if (!drained.signal.aborted) this.#server.closeAllConnections();
    });
    await closed;
    drained.abort();
  }
}
