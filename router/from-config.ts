import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Fleet, fleetRegion } from '../global/fleet/fleet.js';
import { redisAddress } from '../global/index/redis-options.js';
import { openRedisTraceIndex } from '../global/index/redis-trace-index.js';
import { openSqliteTraceIndex } from '../global/index/sqlite-trace-index.js';
import type { TraceIndex } from '../global/index/trace-index.js';
import { parseRegionId, type RegionId } from '../global/model/ids.js';
import { createGrpcRegionClient } from '../global/region-api/grpc-region-client.js';
import type { RegionClient } from '../global/region-api/region-client.js';
import { plaintext } from '../global/runtime/channel-security.js';
import { type Clock, realClock } from '../global/runtime/clock.js';
import { MeridianError } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import { readSecretText } from '../global/runtime/secret-file.js';
import type { Service } from '../global/runtime/service.js';
import { createRouter, type Router } from './router.js';
import type { RouterConfig } from './router-options.js';

/** A router: reads its region's copy of the index, and asks regions by gRPC. It keeps nothing that it could lose. */
export function createRouterFromConfig(setup: { options: RouterConfig; fleet: Fleet; logger: Logger }): Service {
  const { options, fleet, logger } = setup;
  const home = parseRegionId(options.region);
  if (!home) throw new MeridianError('configuration', `region "${options.region}" is no region name`, 'never');
  fleetRegion(fleet, home);
  const clients = new Map<RegionId, RegionClient>();
  let router: Router | undefined;
  let closeIndex = async (): Promise<void> => {};
  return {
    start: async () => {
      const registry = new Registry();
      collectDefaultMetrics({ register: registry });
      const index = await openIndex(options, { home, clock: realClock, logger, registry });
      closeIndex = () => index.close();
      for (const { region, regionApi } of fleet.regions) {
        clients.set(region, createGrpcRegionClient({ region, address: regionApi, security: plaintext }));
      }
      router = createRouter({
        home,
        fleet,
        index,
        clients,
        listen: { http: { host: options.host, port: options.httpPort } },
        graceMs: options.graceMs,
        deadlineMs: options.deadlineMs,
        healthLimitMs: options.healthLimitMs,
        drainMs: options.drainMs,
        clock: realClock,
        logger,
        registry,
        security: plaintext,
        random: Math.random,
      });
      await router.start();
      logger.info({ region: home }, 'router is up');
    },
    stop: async () => {
      await router?.stop();
      for (const client of clients.values()) client.close();
      await closeIndex();
    },
  };
}

function openIndex(
  options: RouterConfig,
  shared: { home: RegionId; clock: Clock; logger: Logger; registry: Registry },
): Promise<TraceIndex> {
  if (options.index === 'redis') {
    // Days and their ends are the writer's business.
    return openRedisTraceIndex({
      address: redisAddress(options, readSecretText),
      readOnly: true,
      retentionMs: 0,
      ...shared,
    });
  }
  const { indexDir } = options;
  if (!indexDir) throw new MeridianError('configuration', 'index: embedded needs indexDir', 'never');
  return openSqliteTraceIndex({ folder: indexDir, readOnly: true, ...shared });
}
