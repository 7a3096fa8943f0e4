import express, { type Router } from 'express';
import type { Registry } from 'prom-client';
import type { Clock } from './clock.js';
import { deepHealth, worstState } from './health.js';
import type { HealthCheck } from './service.js';

export interface HealthRoutesOptions {
  /** True from when everything was started until draining begins. */
  readonly ready: () => boolean;
  readonly checks: readonly HealthCheck[];
  readonly registry: Registry;
  readonly clock: Clock;
  /** Time limit of each part's deep check. */
  readonly checkLimitMs: number;
}

/**
 * The same health and metrics paths on every process: `/healthz` (the process runs), `/readyz` (it takes work), `/health/deep`
 * (every part was tried, each within its time limit; 503 where one is down) and `/metrics` (Prometheus).
 */
export function healthRoutes({ ready, checks, registry, clock, checkLimitMs }: HealthRoutesOptions): Router {
  const routes = express.Router();
  routes.get('/healthz', (_request, response) => {
    response.json({ state: 'ok' });
  });
  routes.get('/readyz', (_request, response) => {
    const isReady = ready();
    response.status(isReady ? 200 : 503).json({ state: isReady ? 'ok' : 'not ready' });
  });
  routes.get('/health/deep', async (_request, response) => {
    const parts = await deepHealth(checks, checkLimitMs, clock);
    const state = worstState(parts);
    response.status(state === 'down' ? 503 : 200).json({
      state,
      parts: parts.map(({ sinceMs, ...part }) => ({
        ...part,
        ...(sinceMs === undefined ? {} : { since: new Date(sinceMs).toISOString() }),
      })),
    });
  });
  routes.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(await registry.metrics());
  });
  return routes;
}
