import type { FleetRegion } from '../../global/fleet/fleet.js';
import type { LinkStatus } from '../../global/region-api/region-client.js';
import type { PartHealth } from '../../global/runtime/service.js';
import { isoTime } from '../fanout/fetch-trace.js';
import type { RegionHealth } from '../fanout/region-health.js';
import type { QueryContext } from './query-context.js';

export type FleetRegionState = 'healthy' | 'suspect' | 'lost' | 'returning';

export interface FleetRegionAnswer {
  readonly region: string;
  readonly state: FleetRegionState;
  /** ISO time since when it is in that state, as far as this router knows. */
  readonly since: string | null;
  readonly reason?: string;
  readonly standby: string | null;
  readonly standbyFor: readonly string[];
  readonly ingestPointsAt: string;
  readonly parts: readonly PartHealth[];
  readonly links: readonly LinkStatus[];
}

/** The fleet as this router sees it by its health polls. Until regions are declared lost by epochs, the epoch is 0. */
export function queryFleet(context: QueryContext): {
  readonly epoch: number;
  readonly home: string;
  readonly regions: readonly FleetRegionAnswer[];
} {
  return { epoch: 0, home: context.home, regions: context.fleet.regions.map((r) => describeRegion(r, context)) };
}

function describeRegion({ region, standby }: FleetRegion, context: QueryContext): FleetRegionAnswer {
  const base = {
    region,
    standby,
    standbyFor: context.fleet.regions.filter((r) => r.standby === region).map((r) => r.region),
    ingestPointsAt: region,
  };
  const health = context.peers.get(region)?.health;
  if (!health) {
    const reason = 'this router has no client for the region';
    return { ...base, state: 'suspect', since: null, reason, parts: [], links: [] };
  }
  const { state, sinceMs, reason } = judgeRegion(health, context.clock.nowMs());
  const status = health.status;
  return {
    ...base,
    state,
    since: sinceMs === null ? null : isoTime(sinceMs),
    ...(reason ? { reason } : {}),
    parts: (status?.parts ?? []).map(({ part, state: partState, detail, sinceMs: partSinceMs }) => ({
      part,
      // What it said last says nothing about now.
      state: health.pollsFailing ? 'down' : partState,
      ...(health.pollsFailing ? { detail: 'not reached' } : detail ? { detail } : {}),
      ...(partSinceMs === undefined ? {} : { sinceMs: partSinceMs }),
    })),
    links: status?.links ?? [],
  };
}

/**
 * healthy: answers, and every part is well. suspect: does not answer for less than `lostAfterMs`, or a part is not well. lost: not heard
 * of for longer. returning: answers again after it was lost, but a part is not well or a link is behind.
 */
export function judgeRegion(
  health: RegionHealth,
  nowMs: number,
): { readonly state: FleetRegionState; readonly sinceMs: number | null; readonly reason?: string } {
  const unreached = health.pollsFailing;
  if (unreached) {
    const lost = nowMs - unreached.sinceMs >= health.options.lostAfterMs;
    return { state: lost ? 'lost' : 'suspect', sinceMs: unreached.sinceMs, reason: unreached.failure.reason };
  }
  const known = health.status;
  if (!known) return { state: 'suspect', sinceMs: null, reason: 'not asked yet' };
  const ill = known.parts.filter((p) => p.state !== 'ok');
  const behind = known.links.filter((l) => l.state !== 'up');
  const reading = health.failing();
  if (ill.length === 0 && !reading && !(health.wasLost && behind.length > 0)) {
    return { state: 'healthy', sinceMs: health.answeringSinceMs };
  }
  const sinces = [...ill.map((p) => p.sinceMs), reading?.sinceMs].filter((ms) => ms !== undefined);
  const reasons = [
    ...ill.map((p) => `${p.part} is ${p.state}${p.detail ? ` (${p.detail})` : ''}`),
    ...(reading ? [reading.failure.reason] : []),
    ...behind.map((l) => `the link from ${l.from} is ${l.state}`),
  ];
  return {
    state: health.wasLost ? 'returning' : 'suspect',
    sinceMs: sinces.length > 0 ? Math.min(...sinces) : health.answeringSinceMs,
    reason: reasons.join('; '),
  };
}
