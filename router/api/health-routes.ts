import type { Express, Response } from 'express';
import type { Registry } from 'prom-client';
import { messageOf } from '../../global/runtime/errors.js';
import type { PartHealth, PartState } from '../../global/runtime/service.js';
import { withTimeLimit } from '../fanout/deadline.js';
import { judgeRegion } from '../query/fleet-query.js';
import type { QueryContext } from '../query/query-context.js';

/** Where a router is in its life; `draining` takes no more requests. */
export interface RouterLife {
  readonly state: 'starting' | 'up' | 'draining';
}

/** `/healthz` (alive), `/readyz` (send me requests), `/health/deep` (each dependency), `/metrics` (Ob2). */
export function mountHealth(
  app: Express,
  options: {
    readonly context: QueryContext;
    readonly life: RouterLife;
    readonly healthLimitMs: number;
    readonly registry: Registry;
  },
): void {
  const { context, life, registry } = options;
  app.get('/healthz', (_request, response) => sendHealth(response, 200, { status: 'ok' }));
  app.get('/readyz', (_request, response) => {
    sendHealth(response, life.state === 'up' ? 200 : 503, { status: life.state === 'up' ? 'ok' : life.state });
  });
  app.get('/health/deep', async (_request, response) => {
    const parts = [await checkIndex(context, options.healthLimitMs), ...regionParts(context)];
    const worst = worstOf(parts);
    sendHealth(response, worst === 'down' ? 503 : 200, { status: worst, parts });
  });
  app.get('/metrics', async (_request, response) => {
    response.setHeader('Content-Type', registry.contentType);
    response.send(await registry.metrics());
  });
}

async function checkIndex({ index, clock }: QueryContext, limitMs: number): Promise<PartHealth> {
  try {
    await withTimeLimit(clock, limitMs, undefined, 'reading the index', () => index.watermarks());
    return { part: 'index', state: 'ok' };
  } catch (error) {
    // Without it every region is asked: slower, not wrong.
    return { part: 'index', state: 'degraded', detail: messageOf(error) };
  }
}

/** As the health poll knows them. A region that is not healthy leaves the router degraded; all of them leave it down. */
function regionParts({ fleet, peers, clock }: QueryContext): PartHealth[] {
  const nowMs = clock.nowMs();
  const parts = fleet.regions.map(({ region }): PartHealth => {
    const health = peers.get(region)?.health;
    if (!health) return { part: `region ${region}`, state: 'down', detail: 'no client' };
    const { state, sinceMs, reason } = judgeRegion(health, nowMs);
    return {
      part: `region ${region}`,
      state: state === 'healthy' ? 'ok' : health.pollsFailing ? 'down' : 'degraded',
      ...(reason ? { detail: reason } : {}),
      ...(sinceMs === null ? {} : { sinceMs }),
    };
  });
  return parts;
}

function worstOf(parts: readonly PartHealth[]): PartState {
  const regions = parts.filter((p) => p.part.startsWith('region '));
  if (regions.length > 0 && regions.every((p) => p.state === 'down')) return 'down';
  return parts.every((p) => p.state === 'ok') ? 'ok' : 'degraded';
}

function sendHealth(response: Response, status: number, body: object): void {
  response.status(status).type('application/json').send(JSON.stringify(body));
}
