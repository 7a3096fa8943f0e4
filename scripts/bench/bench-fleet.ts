import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { LocalEngines } from '../engines/local-engines.js';
import { type Endpoints, readEndpoints } from '../fleet/endpoints.js';
import { LocalFleet } from '../fleet/local-fleet.js';
import { freeEnginePortsOfRegions, freePorts, type RegionPorts } from '../fleet/ports.js';

export const BENCH_REGIONS = ['us-east-1', 'us-west-2', 'eu-west-1'] as RegionId[];

/** What the fleet of a benchmark runs on. */
export type BenchEngines =
  | { readonly kind: 'embedded' }
  /** Kafka, MirrorMaker 2, Elasticsearch and Redis; `cacheFolder` is that of their jars. */
  | { readonly kind: 'local'; readonly cacheFolder: string };

/** The figure that was asked for on each. */
export function askedOn(engines: BenchEngines, figures: { readonly embedded: number; readonly local: number }): number {
  return figures[engines.kind];
}

/** The name of a benchmark that runs on both. */
export function nameOn(engines: BenchEngines, name: string): string {
  return engines.kind === 'embedded' ? name : `${name}-engines`;
}

/** A fleet of real processes on free ports in a temporary folder, for the time of a benchmark. */
export async function withFleet<T>(
  engines: BenchEngines,
  run: (endpoints: Endpoints, dataDir: string) => Promise<T>,
  regionOptions: Readonly<Record<string, unknown>> = {},
): Promise<T> {
  const dataDir = mkdtempSync(join(tmpdir(), 'meridian-bench-'));
  const ports = await freePorts(BENCH_REGIONS.length, Math.random);
  const local = engines.kind === 'local' ? await prepareEngines(dataDir, ports, engines.cacheFolder) : undefined;
  const fleet = new LocalFleet({
    dataDir,
    engines: local,
    regions: BENCH_REGIONS.map((region, i) => ({ region, ports: ports[i]! })),
    environment: {},
    clock: realClock,
    control: { url: 'http://127.0.0.1:0', pid: 0 },
    regionOptions: { logLevel: 'warn', reconcile: false, ...regionOptions },
    routerOptions: { logLevel: 'warn', graceMs: 2000 },
    onState: () => {},
  });
  try {
    await fleet.start();
    return await run(readEndpoints(dataDir), dataDir);
  } finally {
    await fleet.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function prepareEngines(
  dataDir: string,
  ports: readonly RegionPorts[],
  cacheFolder: string,
): Promise<LocalEngines> {
  const enginePorts = await freeEnginePortsOfRegions(BENCH_REGIONS.length, Math.random, ports);
  const engines = new LocalEngines({
    dataDir,
    cacheFolder,
    regions: BENCH_REGIONS.map((region, i) => ({ region, ports: enginePorts[i]! })),
    clock: realClock,
    onProgress: (line) => console.log(line),
    onState: () => {},
  });
  await engines.prepare();
  return engines;
}

/** Sends an OTLP protobuf body; throws where it was not acknowledged. */
export async function sendOtlp(otlpHttp: string, body: Buffer): Promise<void> {
  const response = await fetch(`${otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-protobuf' },
    body: new Uint8Array(body),
  });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`${otlpHttp}: status ${response.status}`);
}

/** Asks without pause until the answer is the wanted one; the time until then, in milliseconds. */
export async function timeUntil(ask: () => Promise<boolean>, limitMs = 30_000): Promise<number> {
  const start = performance.now();
  for (;;) {
    if (await ask()) return performance.now() - start;
    if (performance.now() - start > limitMs) throw new Error(`not within ${limitMs} ms`);
  }
}
