import { mkdirSync } from 'node:fs';
import { MIRRORED_TOPICS } from '../../global/log/topics.js';
import type { RegionId } from '../../global/model/ids.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { ProcessState } from '../fleet/managed-process.js';
import { ensureElasticsearch, startElasticsearch } from './elasticsearch.js';
import {
  type EngineKind,
  type EnginePlace,
  type EnginePorts,
  enginePlaces,
  type RegionEngines,
  readEnginesFile,
  writeEnginesFile,
} from './engine-kinds.js';
import { ensureKafka, startKafka } from './kafka-broker.js';
import { type EngineWatch, ManagedEngine, type StartedEngine } from './managed-engine.js';
import { missingForJava } from './maven-jars.js';
import { ensureMirrorMaker, startMirrorMaker } from './mirror-maker.js';
import { runningOf, stopLeftover } from './pid-file.js';
import { missingForRedis, startRedis } from './redis.js';

export interface LocalEnginesOptions {
  readonly dataDir: string;
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  readonly regions: readonly RegionEngines[];
  readonly clock: Clock;
  /** What is fetched and made on first use, a line at a time. */
  readonly onProgress: (line: string) => void;
  /** `name` is that of the engine's place, e.g. `us-east-1/kafka`. */
  readonly onState: (name: string, state: ProcessState) => void;
  /** Whether the engines go on when this process ends (`engines up`). */
  readonly outlives?: boolean;
}

/** An engine and how it is. */
export interface EngineStatus extends EnginePlace {
  readonly watch: EngineWatch;
}

export type EngineAction = 'start' | 'stop' | 'kill';

const STORES: readonly EngineKind[] = ['kafka', 'elasticsearch', 'redis'];
const LEFTOVER_BUDGET_MS = 15_000;

/** What this machine lacks for real engines, each with how to get it; null where nothing is missing. */
export async function missingForEngines(): Promise<string | null> {
  const missing = (await Promise.all([missingForJava(), missingForRedis()])).filter((text) => text !== null);
  return missing.length === 0 ? null : missing.join('\n  ');
}

/**
 * A Kafka broker, an Elasticsearch node, a Redis and (with several regions) a MirrorMaker for each region of a fleet, as processes of this
 * machine, below `DIR/{region}/engines`. Each is watched and started again when it dies. `prepare` comes first.
 */
export class LocalEngines {
  readonly #options: LocalEnginesOptions;
  readonly #places: readonly EnginePlace[];
  readonly #engines = new Map<string, ManagedEngine>();

  constructor(options: LocalEnginesOptions) {
    this.#options = options;
    this.#places = enginePlaces(options.dataDir, options.regions);
    for (const place of this.#places) this.#engines.set(place.name, this.#managed(place));
  }

  /**
   * Fetches what first use needs. Throws `configuration` that names everything that is missing on this machine before anything is fetched or
   * started.
   */
  async prepare(): Promise<void> {
    const missing = await missingForEngines();
    if (missing)
      throw new MeridianError('configuration', `--engines local: this machine lacks:\n  ${missing}`, 'never');
    const { cacheFolder, onProgress, dataDir, regions, outlives } = this.#options;
    await ensureKafka({ cacheFolder, onProgress });
    await ensureElasticsearch({ cacheFolder, onProgress });
    if (regions.length > 1) await ensureMirrorMaker({ cacheFolder, onProgress });
    mkdirSync(dataDir, { recursive: true });
    writeEnginesFile(dataDir, { startedBy: outlives ? 'up' : 'fleet', regions: [...regions] });
  }

  /** Kafka, Elasticsearch and Redis of a region, or of all. Resolves when they answer. */
  startStores(region?: string): Promise<void> {
    return this.#start(STORES, region);
  }

  /** MirrorMaker of a region, or of all; best after the regions have made their topics. */
  startMirrors(region?: string): Promise<void> {
    return this.#start(['mirror-maker'], region);
  }

  /** MirrorMakers first, then Kafka, Elasticsearch, Redis. With `kill` by SIGKILL, all at once. Of one region, or of all. */
  async stop(region?: string, kill = false): Promise<void> {
    const of = (kinds: readonly EngineKind[]) =>
      Promise.all(this.#of(kinds, region).map((engine) => engine.stop(kill)));
    if (!kill) await of(['mirror-maker']);
    await of(kill ? ['mirror-maker', ...STORES] : ['kafka']);
    await of(STORES);
  }

  /** From now on nothing is started again: for those that go on without this process. */
  leaveRunning(): void {
    for (const engine of this.#engines.values()) engine.leave();
  }

  /** On one engine, e.g. `us-east-1/redis`. `kill` is a crash: it is started again by itself. Throws `invalid` or `refused`. */
  async act(name: string, action: EngineAction): Promise<void> {
    const engine = this.#engines.get(name);
    if (!engine) {
      const known = [...this.#engines.keys()].join(', ');
      throw new MeridianError('invalid', `no engine "${name}" in this fleet; it has ${known}`, 'never');
    }
    if (action === 'start') {
      if (engine.wanted) throw new MeridianError('refused', `start ${name}: it is running already`, 'never');
      return engine.start();
    }
    if (!engine.wanted) throw new MeridianError('refused', `${action} ${name}: it is stopped already`, 'never');
    if (action === 'stop') await engine.stop(false);
    else await engine.crash();
  }

  statuses(): EngineStatus[] {
    return this.#places.map((place) => ({ ...place, watch: this.#engine(place).watch }));
  }

  /** Addresses for a region's configuration. */
  at(region: string): { readonly kafka: string; readonly elasticsearch: string; readonly redis: string } {
    const address = (kind: EngineKind) =>
      this.#places.find((place) => place.region === region && place.kind === kind)?.address ?? '';
    return { kafka: address('kafka'), elasticsearch: address('elasticsearch'), redis: address('redis') };
  }

  #engine({ name }: EnginePlace): ManagedEngine {
    return this.#engines.get(name)!;
  }

  #of(kinds: readonly EngineKind[], region: string | undefined): ManagedEngine[] {
    return this.#places
      .filter((place) => kinds.includes(place.kind) && (region === undefined || place.region === region))
      .map((place) => this.#engine(place));
  }

  /** All that are to start are waited for, so that a failure leaves none half way. */
  async #start(kinds: readonly EngineKind[], region: string | undefined): Promise<void> {
    const results = await Promise.allSettled(this.#of(kinds, region).map((engine) => engine.start()));
    const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    if (failed.length > 0) throw failed.length === 1 ? failed[0] : severalFailures(failed);
  }

  #managed(place: EnginePlace): ManagedEngine {
    const { clock, onState } = this.#options;
    return new ManagedEngine({
      launch: () => this.#launch(place),
      abortStart: () => {
        const known = runningOf(place.pidFile);
        if (known) process.kill(known.pid, 'SIGKILL');
      },
      clock,
      onState: (state) => onState(place.name, state),
    });
  }

  async #launch({ name, region, kind, folder }: EnginePlace): Promise<StartedEngine> {
    const { cacheFolder, onProgress, outlives = false } = this.#options;
    const ports = this.#portsOf(region);
    const common = { name, folder, cacheFolder, onProgress, outlives };
    switch (kind) {
      case 'kafka':
        return ofProcess(await startKafka({ ...common, port: ports.kafka, controllerPort: ports.kafkaController }));
      case 'elasticsearch':
        return startElasticsearch({ ...common, port: ports.elasticsearch, clusterName: `meridian-${region}` });
      case 'redis':
        return startRedis({ ...common, port: ports.redis, appendOnly: true });
      case 'mirror-maker':
        return ofProcess(
          await startMirrorMaker({
            ...common,
            ...this.#links(region),
            topics: MIRRORED_TOPICS,
            // Every partition of a new fleet begins at its first record: only others are worth a line.
            onProgress: (line) => {
              if (!line.endsWith('begins at its first record')) onProgress(line);
            },
          }),
        );
    }
  }

  #links(region: RegionId) {
    const end = (of: RegionId) => ({ region: of, brokers: [this.at(of).kafka] });
    const others = this.#options.regions.filter((other) => other.region !== region);
    return { target: end(region), sources: others.map((other) => end(other.region)) };
  }

  #portsOf(region: RegionId): EnginePorts {
    return this.#options.regions.find((r) => r.region === region)!.ports;
  }
}

/** Kafka and MirrorMaker tell of their process as a whole, which is another one after each restart. */
function ofProcess(engine: {
  readonly process: { readonly pid: number; readonly ended: Promise<string> };
  stop(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
}): StartedEngine {
  return {
    get pid() {
      return engine.process.pid;
    },
    get ended() {
      return engine.process.ended;
    },
    stop: () => engine.stop(),
    kill: () => engine.kill(),
    restart: () => engine.restart(),
  };
}

function severalFailures(failures: readonly unknown[]): MeridianError {
  return new MeridianError('unavailable', failures.map((failure) => messageOf(failure)).join('\n'), 'later', {
    cause: failures[0],
  });
}

/** The engines of a folder's last start that still run. */
export function runningEngines(dataDir: string): EnginePlace[] {
  const file = readEnginesFile(dataDir);
  if (!file) return [];
  return enginePlaces(dataDir, file.regions).filter((place) => runningOf(place.pidFile) !== null);
}

/**
 * Ends engines by their pid files: MirrorMakers first, then Kafka, Elasticsearch, Redis. `onEnded` is told the name of each that ran. What has the
 * pid of a dead engine by now is left alone.
 */
export async function stopRunningEngines(
  dataDir: string,
  clock: Clock,
  onEnded: (name: string, pid: number) => void,
): Promise<void> {
  const file = readEnginesFile(dataDir);
  if (!file) return;
  const places = enginePlaces(dataDir, file.regions);
  for (const kind of new Set(places.map((place) => place.kind))) {
    const stopping = places
      .filter((place) => place.kind === kind)
      .map(async ({ name, pidFile }) => {
        const ended = await stopLeftover(pidFile, LEFTOVER_BUDGET_MS, clock);
        if (ended) onEnded(name, ended.pid);
      });
    await Promise.all(stopping);
  }
}
