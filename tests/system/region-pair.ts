import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegionId } from '../../global/model/ids.js';
import { realClock } from '../../global/runtime/clock.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { ManagedProcess } from '../../scripts/fleet/managed-process.js';
import type { RegionPorts } from '../../scripts/fleet/ports.js';
import { eventually } from './test-fleet.js';

const HOST = '127.0.0.1';

export interface RegionPairOptions {
  readonly dataDir: string;
  readonly region: RegionId;
  readonly engines: { readonly kafka: string; readonly elasticsearch: string; readonly redis: string };
  readonly ports: readonly [RegionPorts, RegionPorts];
}

export interface PairAnswer {
  readonly found: readonly string[];
  readonly complete: boolean;
  readonly reasons: readonly string[];
  /** Spans that the index counts. */
  readonly counted: number;
}

interface TraceAnswer {
  readonly complete: boolean;
  readonly spans: readonly { readonly spanId: string }[];
  readonly regions: readonly { readonly state: string; readonly reason?: string }[];
}

/** One region as two processes that share its engines, peers of each other, and a router whose fleet names the first. */
export class RegionPair {
  readonly #processes: readonly ManagedProcess[];
  readonly #router: ManagedProcess;
  #isReachable = false;

  constructor(private readonly options: RegionPairOptions) {
    const { region, ports } = options;
    this.#processes = ports.map((own, i) => this.#process(`process-${i}`, 'region', this.#regionConfig(i, own)));
    this.#router = this.#process('router', 'router', {
      region,
      fleet: this.#fleet(),
      index: 'redis',
      redisUrl: options.engines.redis,
      host: HOST,
      httpPort: ports[0].routerHttp,
      graceMs: 1000,
      logLevel: 'warn',
    });
  }

  async start(): Promise<void> {
    await this.startOne(0);
    await this.startOne(1);
    await this.#router.start();
  }

  async stop(): Promise<void> {
    await this.#router.stop('SIGTERM');
    await Promise.all(this.#processes.map((process) => process.stop('SIGTERM')));
    for (const process of [...this.#processes, this.#router]) process.close();
  }

  /** Whether the process that the router knows is up. */
  get isReachable(): boolean {
    return this.#isReachable;
  }

  /** Resolves when it is up; the first one when the router has reached it, too. */
  async startOne(which: number): Promise<void> {
    await this.#processes[which]!.start(3);
    if (which !== 0) return;
    if (this.#router.running) await this.#untilReached();
    this.#isReachable = true;
  }

  async #untilReached(): Promise<void> {
    await eventually('the router reaches the region', async () => {
      const answer = await this.trace('f'.repeat(32));
      return typeof answer === 'string' && answer.startsWith('404') ? { value: true } : { failure: String(answer) };
    });
  }

  /** It stays away until it is started. */
  end(which: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (which === 0) this.#isReachable = false;
    return this.#processes[which]!.stop(signal);
  }

  post(which: number, body: object): Promise<Response> {
    return fetch(`http://${HOST}:${this.options.ports[which]!.otlpHttp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(15_000),
    });
  }

  /** What the router answers; a text where it has none. */
  async trace(traceId: string): Promise<PairAnswer | string> {
    const router = `http://${HOST}:${this.options.ports[0].routerHttp}`;
    const response = await fetch(`${router}/v1/traces/${traceId}`, { headers: { accept: 'application/json' } });
    if (response.status !== 200) return `${response.status}: ${await response.text()}`;
    const { complete, regions, spans } = (await response.json()) as TraceAnswer;
    const index = await fetch(`${router}/v1/index/${traceId}`);
    const { records = [] } = (await index.json()) as { records?: { spanCount: number }[] };
    return {
      found: spans.map(({ spanId }) => spanId),
      complete,
      reasons: regions.flatMap(({ reason }) => reason ?? []),
      counted: records.reduce((sum, { spanCount }) => sum + spanCount, 0),
    };
  }

  /** What a process says about its peers, itself included. */
  async peersHealth(which: number): Promise<{ state: string; detail: string }> {
    const response = await fetch(`http://${HOST}:${this.options.ports[which]!.admin}/health/deep`);
    const { parts } = (await response.json()) as { parts: { part: string; state: string; detail?: string }[] };
    const peers = parts.find(({ part }) => part === 'peers');
    return { state: peers?.state ?? 'unknown', detail: peers?.detail ?? '' };
  }

  #process(name: string, role: 'region' | 'router', config: object): ManagedProcess {
    const folder = join(this.options.dataDir, name);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `${role}.json`);
    writeFileSync(file, JSON.stringify(config));
    return new ManagedProcess({
      name,
      module: compiledModule('scripts/cli/main'),
      arguments: [role, '--config', file],
      nodeFlags: [],
      logFile: join(folder, `${role}.log`),
      environment: { ...process.env, NODE_OPTIONS: '' },
      sleep: (ms, signal) => realClock.sleep(ms, signal),
      onState: () => {},
    });
  }

  #fleet(): object {
    const { region, ports, engines } = this.options;
    return {
      regions: [{ region, regionApi: `${HOST}:${ports[0].regionApi}`, standby: null, kafka: [engines.kafka] }],
    };
  }

  #regionConfig(which: number, own: RegionPorts): object {
    const { dataDir, region, ports, engines } = this.options;
    return {
      region,
      fleet: this.#fleet(),
      peers: ports.map(({ regionApi }) => `${HOST}:${regionApi}`),
      dataDir: join(dataDir, `process-${which}`),
      host: HOST,
      otlpGrpcPort: own.otlpGrpc,
      otlpHttpPort: own.otlpHttp,
      zipkinPort: own.zipkin,
      jaegerThriftPort: own.jaegerThrift,
      regionApiPort: own.regionApi,
      adminPort: own.admin,
      log: 'kafka',
      kafkaReplicationFactor: 1,
      kafkaMinInsyncReplicas: 1,
      store: 'elasticsearch',
      elasticsearchNodes: [engines.elasticsearch],
      elasticsearchReplicas: 0,
      index: 'redis',
      redisUrl: engines.redis,
      assemblerSettleMs: 150,
      reconcile: false,
      logLevel: 'warn',
    };
  }
}
