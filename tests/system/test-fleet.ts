import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { type EngineAction, LocalEngines } from '../../scripts/engines/local-engines.js';
import { enginesCache } from '../../scripts/engines/maven-jars.js';
import { createControlServer } from '../../scripts/fleet/control-server.js';
import { type Endpoints, readEndpoints } from '../../scripts/fleet/endpoints.js';
import { LocalFleet, logTail } from '../../scripts/fleet/local-fleet.js';
import type { ProcessState } from '../../scripts/fleet/managed-process.js';
import { freeEnginePortsOfRegions, freePorts, type RegionPorts } from '../../scripts/fleet/ports.js';

export const EAST = 'us-east-1' as RegionId;
export const WEST = 'us-west-2' as RegionId;
export const EUROPE = 'eu-west-1' as RegionId;
export const THREE = [EAST, WEST, EUROPE] as const;

export interface TestFleetOptions {
  readonly regions?: readonly RegionId[];
  readonly regionOptions?: Readonly<Record<string, unknown>>;
  readonly routerOptions?: Readonly<Record<string, unknown>>;
  readonly environment?: NodeJS.ProcessEnv;
  /** `local`: real engines. Default: embedded. */
  readonly engines?: 'embedded' | 'local';
}

/** A whole fleet of real processes on free ports, in a folder of its own. */
export class TestFleet {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'meridian-test-'));
  readonly #options: TestFleetOptions;
  readonly #watchers = new Set<(name: string, state: ProcessState) => void>();
  readonly #control: ReturnType<typeof createControlServer>;
  #fleet!: LocalFleet;

  constructor(options: TestFleetOptions = {}) {
    this.#options = options;
    this.#control = createControlServer({
      startRegion: (region) => this.#fleet.startRegion(region),
      stopRegion: (region, kill) => this.#fleet.stopRegion(region, kill),
      actOnEngine: (name, action) => this.#fleet.actOnEngine(name, action),
      engines: () => this.#fleet.engines(),
    });
  }

  async start(): Promise<this> {
    const regions = this.#options.regions ?? THREE;
    const ports = await freePorts(regions.length, Math.random);
    await this.#control.start();
    const onState = (name: string, state: ProcessState) => {
      for (const watch of this.#watchers) watch(name, state);
    };
    const engines = this.#options.engines === 'local' ? await this.#openEngines(regions, ports, onState) : undefined;
    this.#fleet = new LocalFleet({
      dataDir: this.dataDir,
      regions: regions.map((region, i) => ({ region, ports: ports[i]! })),
      environment: { ...process.env, NODE_OPTIONS: '', ...this.#options.environment },
      clock: realClock,
      control: { url: `http://127.0.0.1:${this.#control.address.port}`, pid: process.pid },
      regionOptions: { logLevel: 'warn', reconcile: false, ...this.#options.regionOptions },
      routerOptions: { logLevel: 'warn', graceMs: 1000, ...this.#options.routerOptions },
      engines,
      onState,
    });
    try {
      await this.#fleet.start();
    } catch (error) {
      const tails = regions.map((region) => logTail(this.dataDir, region, 'region', 5)).join('\n');
      throw new Error(`test fleet did not start: ${error}\n${tails}`);
    }
    return this;
  }

  async #openEngines(
    regions: readonly RegionId[],
    ports: readonly RegionPorts[],
    onState: (name: string, state: ProcessState) => void,
  ): Promise<LocalEngines> {
    const enginePorts = await freeEnginePortsOfRegions(regions.length, Math.random, ports);
    const engines = new LocalEngines({
      dataDir: this.dataDir,
      cacheFolder: enginesCache(process.env),
      regions: regions.map((region, i) => ({ region, ports: enginePorts[i]! })),
      clock: realClock,
      onProgress: () => {},
      onState: (name, state) => {
        onState(name, state);
        if (state.state === 'up') this.#fleet?.engineIsUp();
      },
    });
    await engines.prepare();
    return engines;
  }

  async stop(): Promise<void> {
    await this.#fleet?.stop();
    await this.#control.stop();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  /** Read anew each time: a restarted process has another pid. */
  get endpoints(): Endpoints {
    return readEndpoints(this.dataDir);
  }

  startRegion(region: RegionId): Promise<void> {
    return this.#fleet.startRegion(region);
  }

  stopRegion(region: RegionId, kill = false): Promise<void> {
    return this.#fleet.stopRegion(region, kill);
  }

  /** On one engine, e.g. `us-east-1/redis`. `kill` is a crash: it comes back by itself. */
  actOnEngine(name: string, action: EngineAction): Promise<void> {
    return this.#fleet.actOnEngine(name, action);
  }

  /** Resolves when the named process (`us-east-1 region`, `us-east-1/redis`) reports the state, from now on. */
  nextState(name: string, state: ProcessState['state']): Promise<void> {
    return new Promise((resolve) => {
      const watch = (changed: string, to: ProcessState) => {
        if (changed !== name || to.state !== state) return;
        this.#watchers.delete(watch);
        resolve();
      };
      this.#watchers.add(watch);
    });
  }

  pid(region: RegionId): number {
    return this.endpoints.regions[region]!.pid;
  }

  get(router: RegionId, path: string, accept = 'application/json'): Promise<Response> {
    return fetch(`${this.endpoints.routers[router]!.http}${path}`, { headers: { accept } });
  }

  async json<T>(router: RegionId, path: string): Promise<T> {
    const response = await this.get(router, path);
    return (await response.json()) as T;
  }

  /** The trace as OTLP bytes, once `isWhole` says so; throws what was there last after 30 s. */
  async traceBytes(router: RegionId, traceId: string, isWhole: (bytes: Buffer) => boolean): Promise<Buffer> {
    return eventually(`trace ${traceId} whole at ${router}`, async () => {
      const response = await this.get(router, `/v1/traces/${traceId}`, 'application/x-protobuf');
      const bytes = Buffer.from(await response.arrayBuffer());
      if (response.status !== 200) return { failure: `status ${response.status}: ${bytes.toString('utf8')}` };
      return isWhole(bytes) ? { value: bytes } : { failure: `not whole: ${bytes.length} bytes` };
    });
  }

  async postSpans(region: RegionId, body: object): Promise<Response> {
    return fetch(`${this.endpoints.regions[region]!.otlpHttp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  }
}

/** Asks again and again, without pause between answers beyond a moment, until there is a value; throws the last failure after `limitMs`. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<{ value: T } | { failure: string }>,
  limitMs = 30_000,
): Promise<T> {
  const until = performance.now() + limitMs;
  for (;;) {
    const answer = await ask().catch((error: unknown) => ({ failure: String(error) }));
    if ('value' in answer) return answer.value;
    if (performance.now() > until) throw new Error(`${what}: not within ${limitMs} ms; last: ${answer.failure}`);
    await realClock.sleep(50);
  }
}
