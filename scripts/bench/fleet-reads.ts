import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { realClock } from '../../global/runtime/clock.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { makeKnownTrace } from '../cli/known-trace.js';
import type { Endpoints } from '../fleet/endpoints.js';
import { ManagedProcess } from '../fleet/managed-process.js';
import { freePorts } from '../fleet/ports.js';
import { askedOn, BENCH_REGIONS, type BenchEngines, nameOn, sendOtlp, timeUntil, withFleet } from './bench-fleet.js';
import { type BenchResult, type BenchRow, quantileOf, runRounds } from './bench-result.js';
import { startDelayProxy } from './delay-proxy.js';
import { makeBatch } from './sample-spans.js';

const READS = 200;
const ROUNDS = 3;
const ONE_WAY_MS = 40;
const LARGE_SPANS = 10_000;

/** Reading traces by id over the router's HTTP API, once they are stored and the other regions can be skipped. */
export function benchReads(engines: BenchEngines): Promise<BenchResult> {
  const asked = (embedded: number, local: number) => askedOn(engines, { embedded, local });
  return withFleet(
    engines,
    async (endpoints, dataDir) => {
      const [east, west] = BENCH_REGIONS as string[] as [string, string];
      const near = endpoints.routers[east]!.http;
      const one = await Promise.all(Array.from({ length: 20 }, () => knownTrace(endpoints, [east])));
      const two = await Promise.all(Array.from({ length: 20 }, () => knownTrace(endpoints, [east, west])));
      for (const trace of [...one, ...two]) await timeUntil(() => isSettled(near, trace.traceId, trace.regions));
      const rows: BenchRow[] = [
        await byId(near, one, `trace by id, one region, p95 of ${READS}`, asked(10, 50)),
        await byId(near, two, `trace by id, two regions, no link delay, p95 of ${READS}`, asked(15, 60)),
      ];
      const far = await delayedRouter(endpoints, dataDir, east);
      try {
        for (const trace of two) await timeUntil(() => isSettled(far.http, trace.traceId, trace.regions));
        rows.push(
          await byId(
            far.http,
            two,
            `trace by id, two regions, 80 ms round trip to the other, p95 of ${READS}`,
            asked(100, 200),
          ),
        );
      } finally {
        await far.close();
      }
      rows.push(...(await largeTrace(endpoints, east)));
      return { name: nameOn(engines, 'reads'), requirements: ['Ro1', 'Ro8'], rows };
    },
    { assemblerSettleMs: 200 },
  );
}

interface Known {
  readonly traceId: string;
  readonly regions: readonly string[];
}

async function knownTrace(endpoints: Endpoints, regions: readonly string[]): Promise<Known> {
  const trace = makeKnownTrace({
    traceId: randomBytes(16).toString('hex'),
    regions,
    startUnixNano: BigInt(Date.now()) * 1_000_000n,
    spanId: () => randomBytes(8).toString('hex'),
  });
  for (const region of regions) {
    const response = await fetch(`${endpoints.regions[region]!.otlpHttp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(trace.bodies.get(region)),
    });
    if (response.status !== 200) throw new Error(`status ${response.status}`);
  }
  return { traceId: trace.traceId, regions };
}

/** Whole, and every other region skipped on proof. */
async function isSettled(router: string, traceId: string, regions: readonly string[]): Promise<boolean> {
  const response = await fetch(`${router}/v1/traces/${traceId}`);
  if (response.status !== 200) {
    await response.arrayBuffer();
    return false;
  }
  const trace = (await response.json()) as {
    complete: boolean;
    regions: { region: string; state: string; source: string }[];
  };
  return (
    trace.complete &&
    trace.regions.every((r) => (regions.includes(r.region) ? r.source === 'store' : r.state === 'skipped'))
  );
}

async function byId(router: string, traces: readonly Known[], what: string, asked: number): Promise<BenchRow> {
  const measured = await runRounds({ rounds: ROUNDS }, async () => {
    const times: number[] = [];
    for (let i = 0; i < READS; i++) {
      const start = performance.now();
      const response = await fetch(`${router}/v1/traces/${traces[i % traces.length]!.traceId}`);
      await response.arrayBuffer();
      times.push(performance.now() - start);
    }
    return quantileOf(times, 0.95);
  });
  return { what, asked: { relation: 'below', value: asked }, unit: 'ms', measured };
}

/** A second router of the region whose way to the other regions is a link of 80 ms. */
async function delayedRouter(
  endpoints: Endpoints,
  dataDir: string,
  home: string,
): Promise<{ http: string; close: () => Promise<void> }> {
  interface Config {
    fleet: { regions: { region: string; regionApi: string }[] };
    httpPort: number;
  }
  const config = JSON.parse(readFileSync(join(dataDir, home, 'router.json'), 'utf8')) as Config;
  const proxies = await Promise.all(
    config.fleet.regions
      .filter(({ region }) => region !== home)
      .map(async (entry) => {
        const [host, port] = endpoints.regions[entry.region]!.regionApi.split(':') as [string, string];
        const proxy = await startDelayProxy({ host, port: Number(port) }, ONE_WAY_MS);
        entry.regionApi = `127.0.0.1:${proxy.port}`;
        return proxy;
      }),
  );
  config.httpPort = (await freePorts(1, Math.random))[0]!.routerHttp;
  const file = join(dataDir, 'far-router.json');
  writeFileSync(file, JSON.stringify(config));
  const child = new ManagedProcess({
    name: 'far router',
    module: compiledModule('scripts/cli/main'),
    arguments: ['router', '--config', file],
    nodeFlags: [],
    logFile: join(dataDir, 'far-router.log'),
    environment: {},
    sleep: (ms, signal) => realClock.sleep(ms, signal),
    onState: () => {},
  });
  await child.start();
  return {
    http: `http://127.0.0.1:${config.httpPort}`,
    close: async () => {
      await child.stop('SIGTERM');
      child.close();
      await Promise.all(proxies.map((proxy) => proxy.close()));
    },
  };
}

async function largeTrace(endpoints: Endpoints, region: string): Promise<BenchRow[]> {
  const router = endpoints.routers[region]!.http;
  const body = makeBatch({
    spans: LARGE_SPANS,
    tracesPerBatch: 1,
    services: 8,
    seed: 5,
    startUnixNano: realClock.nowUnixNano(),
  });
  await sendOtlp(endpoints.regions[region]!.otlpHttp, body);
  const search = `${router}/v1/traces?service=gateway&minDuration=1ns&timeRange=10m&limit=1`;
  let traceId = '';
  await timeUntil(async () => {
    const { traces } = (await (await fetch(search)).json()) as { traces: { traceId: string; spanCount: number }[] };
    traceId = traces[0]?.traceId ?? '';
    return traces[0]?.spanCount === LARGE_SPANS;
  });
  await timeUntil(() => isSettled(router, traceId, [region]));
  const read = (accept: string) => async () => {
    const start = performance.now();
    const response = await fetch(`${router}/v1/traces/${traceId}`, { headers: { accept } });
    await response.arrayBuffer();
    return performance.now() - start;
  };
  const row = (what: string, asked: number, measured: BenchRow['measured']): BenchRow => ({
    what,
    asked: { relation: 'below', value: asked },
    unit: 'ms',
    measured,
  });
  return [
    row(
      'a 10,000-span trace by id as JSON',
      500,
      await runRounds({ rounds: 10, warmups: 2 }, read('application/json')),
    ),
    row(
      'a 10,000-span trace by id as OTLP',
      100,
      await runRounds({ rounds: 10, warmups: 2 }, read('application/x-protobuf')),
    ),
  ];
}
