import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { MeridianError } from '../../global/runtime/errors.js';
import { packageRoot } from '../../global/runtime/package-root.js';
import type { EngineProcess } from './engine-process.js';
import { ensureArchive, startJava } from './java-process.js';
import { ensureJars, type JarSet, run } from './maven-jars.js';

export interface ElasticsearchOptions {
  /** Data, configuration, logs, `repo` (for snapshots) and the process's own files; made where it is missing. */
  readonly folder: string;
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  /** For messages. Default `Elasticsearch`. */
  readonly name?: string;
  /** HTTP port on loopback; 0, the default, takes a free one and keeps it for restarts. */
  readonly port?: number;
  /** Default `meridian`. */
  readonly clusterName?: string;
  /** Further settings of the node, e.g. `{ 'node.processors': '1' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Default 256. */
  readonly heapMegabytes?: number;
  readonly onProgress?: (line: string) => void;
  /** See `EngineProcessOptions.outlives`. */
  readonly outlives?: boolean;
}

export interface RunningElasticsearch {
  readonly url: string;
  readonly port: number;
  /** Of the process that runs now. */
  readonly pid: number;
  readonly logFile: string;
  /** Resolves with how the present process ended. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts again on the same port and data; stops it before if it runs. `settings` take the place of those that it was started with. */
  restart(settings?: Readonly<Record<string, string>>): Promise<void>;
}

/** The launcher calls package-private constructors, so it belongs to this very version. */
export const ELASTICSEARCH_VERSION = '8.19.21';

const ARTIFACTS = [
  { group: 'org.elasticsearch', name: 'elasticsearch', version: ELASTICSEARCH_VERSION },
  { group: 'org.elasticsearch.plugin', name: 'transport-netty4', version: ELASTICSEARCH_VERSION },
];
const MAIN_CLASS = 'org.elasticsearch.node.EsLauncher';
const SOURCES = [
  'org/elasticsearch/node/EsLauncher.java',
  'org/elasticsearch/node/RootRestPlugin.java',
  'org/elasticsearch/plugins/ClasspathPluginsService.java',
];
const COMPILE_BUDGET_MS = 120_000;
const READY = /^ES_READY (\d+)$/m;

/**
 * Starts a single-node Elasticsearch of the Maven artifacts (no ingest, ILM or security: those modules are not published). Jars, launcher
 * and class-data archive are made on first use. Rejects with `configuration` where Java, javac or Maven are missing.
 */
export async function startElasticsearch(options: ElasticsearchOptions): Promise<RunningElasticsearch> {
  const jarSet = await ensureElasticsearch(options);
  const node = new Node(options, jarSet);
  await node.start();
  return node;
}

/** Fetches and prepares what a start needs, unless the cache has it. */
export async function ensureElasticsearch({
  cacheFolder,
  onProgress = () => {},
}: Pick<ElasticsearchOptions, 'cacheFolder' | 'onProgress'>): Promise<JarSet> {
  const sources = SOURCES.map((path) => join(packageRoot, 'scripts/engines/es-launcher', path));
  const hash = createHash('sha256');
  for (const source of sources) hash.update(readFileSync(source));
  const jarSet = await ensureJars({
    engine: 'elasticsearch',
    artifacts: ARTIFACTS,
    cacheFolder,
    onProgress,
    prepare: { key: hash.digest('hex'), run: (folder) => compileLauncher(folder, sources) },
  });
  await ensureArchive(jarSet, MAIN_CLASS, onProgress, async (flags, scratch) => {
    const options = { folder: scratch, cacheFolder, name: 'Elasticsearch (for its class-data archive)' };
    const node = new Node(options, jarSet, flags);
    await node.start();
    await node.stop();
  });
  return jarSet;
}

async function compileLauncher(folder: string, sources: readonly string[]): Promise<void> {
  const jars = join(folder, 'jars');
  const classes = join(folder, 'launcher-classes');
  mkdirSync(classes, { recursive: true });
  const options = { folder, budgetMs: COMPILE_BUDGET_MS, line: () => {} };
  const steps: [string, string[]][] = [
    ['javac', ['--release', '17', '-nowarn', '-cp', [join(jars, '*')].join(delimiter), '-d', classes, ...sources]],
    ['jar', ['--create', '--file', join(jars, 'meridian-es-launcher.jar'), '-C', classes, '.']],
  ];
  for (const [command, args] of steps) {
    const { code, tail } = await run(command, args, options).catch((error: unknown) => {
      const message = `${command} does not run: the Elasticsearch launcher needs a JDK, 17 or later, not only a JRE`;
      throw new MeridianError('configuration', message, 'never', { cause: error });
    });
    if (code !== 0) {
      throw new MeridianError(
        'configuration',
        `compiling the Elasticsearch launcher: ${command} (${code}):\n${tail}`,
        'never',
      );
    }
  }
}

class Node implements RunningElasticsearch {
  readonly #options: ElasticsearchOptions;
  readonly #jarSet: JarSet;
  readonly #extraFlags: readonly string[];
  #process: EngineProcess | null = null;
  #settings: Readonly<Record<string, string>>;
  port: number;

  constructor(options: ElasticsearchOptions, jarSet: JarSet, extraFlags: readonly string[] = []) {
    this.#options = options;
    this.#jarSet = jarSet;
    this.#extraFlags = extraFlags;
    this.#settings = options.settings ?? {};
    this.port = options.port ?? 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#running().pid;
  }

  get ended(): Promise<string> {
    return this.#running().ended;
  }

  get logFile(): string {
    return join(this.#options.folder, 'elasticsearch.log');
  }

  async start(): Promise<void> {
    const { folder, name = 'Elasticsearch', clusterName = 'meridian', heapMegabytes = 256, outlives } = this.#options;
    const scratch = join(folder, 'tmp');
    mkdirSync(scratch, { recursive: true });
    const settings = Object.entries(this.#settings).map(([key, value]) => `${key}=${value}`);
    this.#process = await startJava({
      name,
      jarSet: this.#jarSet,
      mainClass: MAIN_CLASS,
      arguments: [String(this.port), folder, clusterName, ...settings],
      jvmFlags: [
        ...this.#extraFlags,
        '-Xms128m',
        `-Xmx${heapMegabytes}m`,
        '-XX:MaxDirectMemorySize=128m',
        '-Dio.netty.noUnsafe=true',
        '-Dlog4j2.level=WARN',
        '-Des.distribution.type=tar',
        `-Djna.tmpdir=${scratch}`,
        `-Djava.io.tmpdir=${scratch}`,
      ],
      folder,
      logFile: this.logFile,
      pidFile: join(folder, 'elasticsearch.pid'),
      ready: { line: READY },
      ...(outlives === undefined ? {} : { outlives }),
    });
    this.port = Number(this.#process.readyMatch![1]);
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async restart(settings?: Readonly<Record<string, string>>): Promise<void> {
    if (settings) this.#settings = settings;
    await this.stop();
    await this.start();
  }

  #running(): EngineProcess {
    if (!this.#process) throw new MeridianError('unavailable', 'Elasticsearch has not been started', 'later');
    return this.#process;
  }
}
