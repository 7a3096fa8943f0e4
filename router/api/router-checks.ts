import type { HealthCheck, PartHealth } from '../../global/runtime/service.js';
import { judgeRegion } from '../query/fleet-query.js';
import type { QueryContext } from '../query/query-context.js';

/** Where a router is in its life; `draining` takes no more requests. */
export interface RouterLife {
  readonly state: 'starting' | 'up' | 'draining';
}

/**
 * What a router depends on, for its deep check (Ob2): the index, and each region as the health poll knows it. No part of it is ever
 * `down` while an answer can still be given: without the index every region is asked, without a region the others are.
 */
export function routerChecks({ index, fleet, peers, clock }: QueryContext): HealthCheck[] {
  const checkIndex = async (): Promise<PartHealth> => {
    await index.watermarks();
    return { part: 'index', state: 'ok' };
  };
  const regions = fleet.regions.map(({ region }): HealthCheck => {
    const part = `region ${region}`;
    const check = async (): Promise<PartHealth> => {
      const health = peers.get(region)?.health;
      if (!health) return { part, state: 'down', detail: 'no client' };
      const { state, sinceMs, reason } = judgeRegion(health, clock.nowMs());
      return {
        part,
        state: state === 'healthy' ? 'ok' : 'degraded',
        ...(reason ? { detail: reason } : {}),
        ...(sinceMs === null ? {} : { sinceMs }),
      };
    };
    return { part, check };
  });
  return [{ part: 'index', check: checkIndex }, ...regions];
}
