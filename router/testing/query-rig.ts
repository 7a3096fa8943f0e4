import { Registry } from 'prom-client';
import type { Fleet } from '../../global/fleet/fleet.js';
import { DEFAULT_PARTITIONS } from '../../global/fleet/fleet.js';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import type { RegionPeer } from '../fanout/fetch-trace.js';
import { REGION_HEALTH_DEFAULTS, RegionHealth } from '../fanout/region-health.js';
import {
  QUERY_LIMITS,
  type QueryContext,
  type QueryLimits,
  type RequestBudget,
  requestBudget,
} from '../query/query-context.js';
import { RouterMetrics } from '../query/router-metrics.js';
import { FakeIndex } from './fake-index.js';
import { FakeRegionClient } from './fake-region-client.js';
import { region, segmentOf, type TestSpan } from './otlp-spans.js';

export const EAST = region('us-east-1');
export const WEST = region('us-west-2');
export const EUROPE = region('eu-west-1');

export function testFleet(names: readonly RegionId[] = [EAST, WEST, EUROPE]): Fleet {
  return {
    regions: names.map((name, i) => ({
      region: name,
      regionApi: '127.0.0.1:1',
      standby: names.length > 1 ? names[(i + 1) % names.length]! : null,
      partitions: DEFAULT_PARTITIONS,
      kafka: null,
    })),
  };
}

/** A router's queries over fake regions and a fake index, without HTTP. */
export class QueryRig {
  readonly fleet: Fleet;
  readonly index = new FakeIndex();
  readonly regions = new Map<RegionId, FakeRegionClient>();
  readonly peers = new Map<RegionId, RegionPeer>();
  readonly context: QueryContext;
  readonly caller = new AbortController();
  readonly registry = new Registry();

  constructor(
    readonly clock: Clock,
    names?: readonly RegionId[],
    limits: Partial<QueryLimits> = {},
  ) {
    this.fleet = testFleet(names);
    for (const { region: name } of this.fleet.regions) {
      const client = new FakeRegionClient(name, clock);
      this.regions.set(name, client);
      this.peers.set(name, { region: name, client, health: new RegionHealth(name, clock, REGION_HEALTH_DEFAULTS) });
    }
    this.context = {
      home: this.fleet.regions[0]!.region,
      fleet: this.fleet,
      index: this.index,
      peers: this.peers,
      clock,
      random: () => 0,
      limits: { ...QUERY_LIMITS, ...limits },
      metrics: new RouterMetrics(this.registry, this.peers.values()),
    };
  }

  at(name: RegionId): FakeRegionClient {
    return this.regions.get(name)!;
  }

  /** Puts the spans into the region, as one segment, and into the index. */
  store(name: RegionId, spans: readonly TestSpan[], live = false): void {
    const segment = segmentOf(name, spans, live);
    this.at(name).add(segment);
    this.index.add(segment.metadata);
  }

  budget(deadlineMs = 5000): RequestBudget {
    return requestBudget(this.context, deadlineMs, this.caller.signal);
  }
}
