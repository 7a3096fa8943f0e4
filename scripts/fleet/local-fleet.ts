import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import { type Endpoints, writeEndpoints } from './endpoints.js';
import { ManagedProcess, type ProcessState } from './managed-process.js';
import type { RegionPorts } from './ports.js';

export interface LocalFleetOptions {
  readonly dataDir: string;
  readonly regions: readonly { readonly region: RegionId; readonly ports: RegionPorts }[];
  readonly environment: NodeJS.ProcessEnv;
  readonly clock: Clock;
  readonly control: { readonly url: string; readonly pid: number };
  /** Options of the role's table that differ from their defaults, for every region and every router. */
  readonly regionOptions: Readonly<Record<string, unknown>>;
  readonly routerOptions: Readonly<Record<string, unknown>>;
  readonly onState: (name: string, state: ProcessState) => void;
}

const HOST = '127.0.0.1';

/** Default standbys: pairs within a continent, then around. */
const STANDBYS: Readonly<Record<string, string>> = {
  'us-east-1': 'us-west-2',
  'us-west-2': 'us-east-1',
  'eu-west-1': 'us-east-1',
};

/** All regions and routers of a fleet as processes of this machine, two per region, so that each can be killed alone. */
export class LocalFleet {
  readonly #options: LocalFleetOptions;
  readonly #regions = new Map<string, ManagedProcess>();
  readonly #routers = new Map<string, ManagedProcess>();
  #written = false;

  constructor(options: LocalFleetOptions) {
    this.#options = options;
    for (const { region, ports } of options.regions) {
      this.#regions.set(region, this.#process(region, 'region', this.#regionConfig(region, ports)));
      this.#routers.set(region, this.#process(region, 'router', this.#routerConfig(region, ports)));
    }
  }

  /** Resolves when everything answers and `endpoints.json` is written. */
  async start(): Promise<void> {
    await Promise.all([...this.#regions.values()].map((process) => process.start()));
    await Promise.all([...this.#routers.values()].map((process) => process.start()));
    this.#write();
    this.#written = true;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#routers.values()].map((process) => process.stop('SIGTERM')));
    await Promise.all([...this.#regions.values()].map((process) => process.stop('SIGTERM')));
    for (const process of [...this.#regions.values(), ...this.#routers.values()]) process.close();
  }

  async startRegion(region: string): Promise<void> {
    const { process, router } = this.#of(region);
    if (process.running) throw new MeridianError('refused', `start ${region}: it is running already`, 'never');
    await process.start();
    await router.start();
    this.#write();
  }

  async stopRegion(region: string, kill: boolean): Promise<void> {
    const { process, router } = this.#of(region);
    if (!process.running) throw new MeridianError('refused', `stop ${region}: it is stopped already`, 'never');
    const signal = kill ? 'SIGKILL' : 'SIGTERM';
    await Promise.all([router.stop(signal), process.stop(signal)]);
  }

  #of(region: string): { process: ManagedProcess; router: ManagedProcess } {
    const process = this.#regions.get(region);
    const router = this.#routers.get(region);
    if (!process || !router) {
      const known = [...this.#regions.keys()].join(', ');
      throw new MeridianError('invalid', `no region "${region}" in this fleet; it has ${known}`, 'never');
    }
    return { process, router };
  }

  #process(region: string, role: 'region' | 'router', config: object): ManagedProcess {
    const { dataDir, environment, clock, onState } = this.#options;
    const folder = join(dataDir, region);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `${role}.json`);
    writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`);
    const name = `${region} ${role}`;
    return new ManagedProcess({
      name,
      module: compiledModule('scripts/cli/main'),
      arguments: [role, '--config', file],
      nodeFlags: role === 'region' ? COLLECTOR_NODE_FLAGS : [],
      logFile: join(folder, `${role}.log`),
      environment,
      sleep: (ms, signal) => clock.sleep(ms, signal),
      onState: (state) => {
        onState(name, state);
        // A restarted process has another pid.
        if (state.state === 'up' && this.#written) this.#write();
      },
    });
  }

  #fleet(): object {
    const names = new Set<string>(this.#options.regions.map((r) => r.region));
    return {
      regions: this.#options.regions.map(({ region, ports }) => {
        const standby = STANDBYS[region];
        return {
          region,
          regionApi: `${HOST}:${ports.regionApi}`,
          standby: standby && names.has(standby) ? standby : null,
        };
      }),
    };
  }

  #regionConfig(region: RegionId, ports: RegionPorts): object {
    return {
      region,
      fleet: this.#fleet(),
      dataDir: join(this.#options.dataDir, region),
      host: HOST,
      otlpGrpcPort: ports.otlpGrpc,
      otlpHttpPort: ports.otlpHttp,
      zipkinPort: ports.zipkin,
      jaegerThriftPort: ports.jaegerThrift,
      regionApiPort: ports.regionApi,
      adminPort: ports.admin,
      ...this.#options.regionOptions,
    };
  }

  #routerConfig(region: RegionId, ports: RegionPorts): object {
    return {
      region,
      fleet: this.#fleet(),
      indexDir: join(this.#options.dataDir, region, 'index'),
      host: HOST,
      httpPort: ports.routerHttp,
      ...this.#options.routerOptions,
    };
  }

  #write(): void {
    const { dataDir, regions, control } = this.#options;
    const endpoints: Endpoints = { regions: {}, routers: {}, control };
    for (const { region, ports } of regions) {
      endpoints.regions[region] = {
        otlpGrpc: `${HOST}:${ports.otlpGrpc}`,
        otlpHttp: `http://${HOST}:${ports.otlpHttp}`,
        zipkin: `http://${HOST}:${ports.zipkin}`,
        jaegerThrift: `http://${HOST}:${ports.jaegerThrift}`,
        regionApi: `${HOST}:${ports.regionApi}`,
        admin: `http://${HOST}:${ports.admin}`,
        pid: this.#regions.get(region)?.pid ?? 0,
      };
      endpoints.routers[region] = {
        http: `http://${HOST}:${ports.routerHttp}`,
        pid: this.#routers.get(region)?.pid ?? 0,
      };
    }
    writeEndpoints(dataDir, endpoints);
  }
}

/** The last lines of a process's log, for the message when it could not start. */
export function logTail(dataDir: string, region: string, role: string, lines: number): string {
  try {
    return readFileSync(join(dataDir, region, `${role}.log`), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-lines)
      .join('\n');
  } catch {
    return '';
  }
}
