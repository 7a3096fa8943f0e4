import { expect } from 'vitest';
import type { RegionId } from '../../global/model/ids.js';
import { regionsAwaySuite } from './suites/regions-away.js';
import { useFleet } from './use-fleet.js';

const fleet = useFleet({ regionOptions: { assemblerSettleMs: 150 } });

async function setLink(at: RegionId, from: RegionId, query: string): Promise<void> {
  const { admin } = fleet().endpoints.regions[at]!;
  const response = await fetch(`${admin}/control/links/${from}?${query}`, { method: 'POST' });
  expect(response.status).toBe(200);
}

regionsAwaySuite(fleet, {
  cut: (at, from) => setLink(at, from, 'cut=true'),
  heal: (at, from) => setLink(at, from, 'cut=false'),
});
