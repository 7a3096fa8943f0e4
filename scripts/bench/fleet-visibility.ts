import { randomBytes } from 'node:crypto';
import { makeKnownTrace } from '../cli/known-trace.js';
import type { Endpoints } from '../fleet/endpoints.js';
import { BENCH_REGIONS, type BenchEngines, nameOn, timeUntil, withFleet } from './bench-fleet.js';
import { type BenchResult, quantileOf, type Spread, spreadOf } from './bench-result.js';

const TRACES = 60;
const ROUNDS = 3;

/** From the acknowledgement of a span to where it can be seen, on a fleet of real processes without link delay. */
export function benchVisibility(engines: BenchEngines): Promise<BenchResult> {
  return withFleet(engines, async (endpoints) => {
    const live: number[] = [];
    const index: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      live.push(quantileOf(await measure(endpoints, visibleById), 0.99));
      index.push(quantileOf(await measure(endpoints, visibleInIndex), 0.99));
    }
    const row = (what: string, asked: number, measured: Spread) =>
      ({ what, asked: { relation: 'below', value: asked }, unit: 'ms', measured }) as const;
    return {
      name: nameOn(engines, 'visibility'),
      requirements: ['As3', 'Ix2'],
      rows: [
        row(`acknowledged to visible by id (live), p99 of ${TRACES}`, 1000, spreadOf(live)),
        row(`acknowledged to index visible in another region, no link delay, p99 of ${TRACES}`, 500, spreadOf(index)),
      ],
    };
  });
}

async function measure(
  endpoints: Endpoints,
  visible: (endpoints: Endpoints, traceId: string) => Promise<boolean>,
): Promise<number[]> {
  const [region] = BENCH_REGIONS;
  const times: number[] = [];
  for (let i = 0; i < TRACES; i++) {
    const trace = makeKnownTrace({
      traceId: randomBytes(16).toString('hex'),
      regions: [region!],
      startUnixNano: BigInt(Date.now()) * 1_000_000n,
      spanId: () => randomBytes(8).toString('hex'),
    });
    const response = await fetch(`${endpoints.regions[region!]!.otlpHttp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(trace.bodies.get(region!)),
    });
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    times.push(await timeUntil(() => visible(endpoints, trace.traceId)));
  }
  return times;
}

async function visibleById(endpoints: Endpoints, traceId: string): Promise<boolean> {
  const response = await fetch(`${endpoints.routers[BENCH_REGIONS[0]!]!.http}/v1/traces/${traceId}`);
  await response.arrayBuffer();
  return response.status === 200;
}

async function visibleInIndex(endpoints: Endpoints, traceId: string): Promise<boolean> {
  const response = await fetch(`${endpoints.routers[BENCH_REGIONS[1]!]!.http}/v1/index/${traceId}`);
  const { records } = (await response.json()) as { records: { region: string }[] };
  return records.some((record) => record.region === BENCH_REGIONS[0]);
}
