import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { COLLECTOR_NODE_FLAGS } from '../../regions/collector/node-flags.js';
import type { EngineKind } from '../engines/engine-kinds.js';
import type { EngineAction, EngineStatus, LocalEngines } from '../engines/local-engines.js';
import { type Endpoints, writeEndpoints } from './endpoints.js';
import { ManagedProcess, type ProcessState } from './managed-process.js';
import type { RegionPorts } from './ports.js';

export interface LocalFleetOptions {
  readonly dataDir: string;
  readonly regions: readonly { readonly region: RegionId; readonly ports: RegionPorts }[];
  /** Real engines instead of the embedded ones, prepared; the fleet starts and stops them. */
  readonly engines?: LocalEngines | undefined;
  readonly environment: NodeJS.ProcessEnv;
  readonly clock: Clock;
  readonly control: { readonly url: string; readonly pid: number };
  /** Options of the role's table that differ from their defaults, for every region and every router. */
  readonly regionOptions: Readonly<Record<string, unknown>>;
  readonly routerOptions: Readonly<Record<string, unknown>>;
  readonly onState: (name: string, state: ProcessState) => void;
}

const HOST = '127.0.0.1';
const START_ATTEMPTS = 3;
/** Below the `path.repo` of the region's Elasticsearch: its own `repo` folder (see `ElasticsearchOptions.folder`). */
const SNAPSHOT_LOCATION = 'meridian';

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
  #stopping = false;

  constructor(options: LocalFleetOptions) {
    this.#options = options;
    for (const { region, ports } of options.regions) {
      this.#regions.set(region, this.#process(region, 'region', this.#regionConfig(region, ports)));
      this.#routers.set(region, this.#process(region, 'router', this.#routerConfig(region, ports)));
    }
  }

  /** Resolves when everything answers and `endpoints.json` is written. */
  async start(): Promise<void> {
    const { engines } = this.#options;
    await engines?.startStores();
    this.#goOn();
    await Promise.all([...this.#regions.values()].map((process) => process.start(this.#attempts)));
    this.#goOn();
    // MirrorMaker after the regions: they make the topics, mirrored ones included, as the product wants them.
    await Promise.all([engines?.startMirrors(), ...[...this.#routers.values()].map((process) => process.start())]);
    this.#write();
    this.#written = true;
  }

  /** Also while it starts. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#routers.values()].map((process) => process.stop('SIGTERM')));
    await Promise.all([...this.#regions.values()].map((process) => process.stop('SIGTERM')));
    await this.#options.engines?.stop();
    for (const process of [...this.#regions.values(), ...this.#routers.values()]) process.close();
  }

  async startRegion(region: string): Promise<void> {
    const { process, router } = this.#of(region);
    if (process.running) throw new MeridianError('refused', `start ${region}: it is running already`, 'never');
    const { engines } = this.#options;
    await engines?.startStores(region);
    await process.start(this.#attempts);
    await Promise.all([engines?.startMirrors(region), router.start()]);
    this.#write();
  }

  /** A region that is lost is lost with its engines. */
  async stopRegion(region: string, kill: boolean): Promise<void> {
    const { process, router } = this.#of(region);
    if (!process.running) throw new MeridianError('refused', `stop ${region}: it is stopped already`, 'never');
    const signal = kill ? 'SIGKILL' : 'SIGTERM';
    const { engines } = this.#options;
    await Promise.all([router.stop(signal), process.stop(signal), kill ? engines?.stop(region, true) : undefined]);
    if (!kill) await engines?.stop(region);
    if (engines) this.#write();
  }

  /** On one engine, e.g. `us-east-1/redis`, for trying out faults. `kill` is a crash, after which it is started again. */
  async actOnEngine(name: string, action: EngineAction): Promise<void> {
    await this.#withEngines().act(name, action);
    this.#write();
  }

  /** Empty where the engines are embedded. */
  engines(): readonly EngineStatus[] {
    return this.#options.engines?.statuses() ?? [];
  }

  /** To be told when an engine is up again: it has another pid. */
  engineIsUp(): void {
    if (this.#written) this.#write();
  }

  /** Engines that have just come up on a busy machine may refuse what they take a second later. */
  get #attempts(): number {
    return this.#options.engines ? START_ATTEMPTS : 1;
  }

  #goOn(): void {
    if (this.#stopping) throw new MeridianError('shutting-down', 'the fleet is stopping', 'never');
  }

  #withEngines(): LocalEngines {
    const { engines } = this.#options;
    if (engines) return engines;
    throw new MeridianError('invalid', 'this fleet has embedded engines: start it with --engines local', 'never');
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
          ...(this.#options.engines ? { kafka: [this.#options.engines.at(region).kafka] } : {}),
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
      ...this.#regionEngines(region),
      ...this.#options.regionOptions,
    };
  }

  #routerConfig(region: RegionId, ports: RegionPorts): object {
    return {
      region,
      fleet: this.#fleet(),
      ...this.#routerIndex(region),
      host: HOST,
      httpPort: ports.routerHttp,
      ...this.#options.routerOptions,
    };
  }

  /** One node of each on one machine: nothing to replicate to. */
  #regionEngines(region: RegionId): object {
    const { engines } = this.#options;
    if (!engines) return {};
    const at = engines.at(region);
    return {
      log: 'kafka',
      kafkaReplicationFactor: 1,
      kafkaMinInsyncReplicas: 1,
      store: 'elasticsearch',
      elasticsearchNodes: [at.elasticsearch],
      elasticsearchReplicas: 0,
      snapshotLocation: SNAPSHOT_LOCATION,
      index: 'redis',
      redisUrl: at.redis,
    };
  }

  #routerIndex(region: RegionId): object {
    const { engines, dataDir } = this.#options;
    if (!engines) return { indexDir: join(dataDir, region, 'index') };
    return { index: 'redis', redisUrl: engines.at(region).redis };
  }

  #write(): void {
    const { dataDir, regions, control, engines } = this.#options;
    const endpoints: Endpoints = {
      regions: {},
      routers: {},
      control,
      ...(engines ? { engines: enginesOf(engines) } : {}),
    };
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

function enginesOf(engines: LocalEngines): NonNullable<Endpoints['engines']> {
  const statuses = engines.statuses();
  const found = (region: string, kind: EngineKind) => statuses.find((s) => s.region === region && s.kind === kind);
  const pidOf = (region: string, kind: EngineKind) => ({ pid: found(region, kind)?.watch.pid ?? 0 });
  return Object.fromEntries(
    [...new Set(statuses.map((status) => status.region))].map((region) => {
      const { kafka, elasticsearch, redis } = engines.at(region);
      const mirrorMaker = found(region, 'mirror-maker') ? { mirrorMaker: pidOf(region, 'mirror-maker') } : {};
      return [
        region,
        {
          kafka: { address: kafka, ...pidOf(region, 'kafka') },
          elasticsearch: { url: elasticsearch, ...pidOf(region, 'elasticsearch') },
          redis: { url: redis, ...pidOf(region, 'redis') },
          ...mirrorMaker,
        },
      ];
    }),
  );
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
