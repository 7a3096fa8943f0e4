import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeridianError } from '../../global/runtime/errors.js';
import { freeEnginePorts } from './engine-ports.js';
import type { EngineProcess } from './engine-process.js';
import { ensureArchive, runJavaTool, startJava } from './java-process.js';
import { type Artifact, ensureJars, type JarSet } from './maven-jars.js';

export const KAFKA_VERSION = '3.9.2';

const KAFKA_ARTIFACTS: readonly Artifact[] = [
  { group: 'org.apache.kafka', name: 'kafka_2.13', version: KAFKA_VERSION },
  { group: 'org.slf4j', name: 'slf4j-reload4j', version: '1.7.36' },
];
const MAIN_CLASS = 'kafka.Kafka';
const HEAP_FLAGS = ['-Xms128m', '-Xmx512m'];
const FORMAT_BUDGET_MS = 60_000;

export interface KafkaSource {
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  readonly onProgress: (line: string) => void;
}

export interface KafkaOptions extends KafkaSource {
  /** Configuration, data, log and pid file. A folder that was used before goes on with its data. */
  readonly folder: string;
  /** For messages. Default `Kafka`. */
  readonly name?: string;
  /** Of the listener on 127.0.0.1. Default: a free one, kept over restarts. */
  readonly port?: number;
  /** Of the controller's listener, for nobody but the broker itself. Default: a free one, kept over restarts. */
  readonly controllerPort?: number;
  /** server.properties on top of ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** See `EngineProcessOptions`. */
  readonly outlives?: boolean;
}

export interface KafkaBroker {
  /** `host:port`, for clients. */
  readonly brokers: string;
  readonly port: number;
  readonly process: EngineProcess;
  /** Resolves when it has ended. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Stops it where it runs, starts it on the same port and data, and resolves when it is ready. */
  restart(): Promise<void>;
}

/** The jars of Kafka 3.9.2 with a class-data archive; 48 MB are fetched the first time. */
export async function ensureKafka(source: KafkaSource): Promise<JarSet> {
  const jarSet = await ensureJars({ engine: 'kafka', artifacts: KAFKA_ARTIFACTS, ...source });
  await ensureArchive(jarSet, MAIN_CLASS, source.onProgress, async (flags, folder) => {
    source.onProgress('kafka: making a class-data archive (once)');
    const [port, controllerPort] = await freeEnginePorts(2);
    const files = await prepareFolder(jarSet, { folder, settings: {} }, port!, controllerPort!);
    const broker = await startJava({
      ...processOptions(jarSet, folder, files, 'Kafka'),
      jvmFlags: jvmFlags(files, flags),
    });
    await broker.stop();
  });
  return jarSet;
}

/**
 * One Kafka broker that is its own controller (KRaft), listening on 127.0.0.1 without encryption: for tests and for a fleet on one
 * machine. Resolves when it takes requests. Topics are never made by being mentioned.
 */
export async function startKafka(options: KafkaOptions): Promise<KafkaBroker> {
  const jarSet = await ensureKafka(options);
  const [free, freeController] = await freeEnginePorts(2);
  const port = options.port ?? free!;
  const files = await prepareFolder(jarSet, options, port, options.controllerPort ?? freeController!);
  const start = () =>
    startJava({
      ...processOptions(jarSet, options.folder, files, options.name ?? 'Kafka'),
      jvmFlags: jvmFlags(files, []),
      ...(options.outlives === undefined ? {} : { outlives: options.outlives }),
    });
  let engine = await start();
  return {
    brokers: `127.0.0.1:${port}`,
    port,
    get process() {
      return engine;
    },
    stop: () => engine.stop(),
    kill: () => engine.kill(),
    restart: async () => {
      await engine.stop();
      engine = await start();
    },
  };
}

interface KafkaFiles {
  readonly properties: string;
  readonly logging: string;
}

function processOptions(jarSet: JarSet, folder: string, files: KafkaFiles, name: string) {
  return {
    name,
    jarSet,
    folder,
    mainClass: MAIN_CLASS,
    arguments: [files.properties],
    logFile: join(folder, 'kafka.log'),
    pidFile: join(folder, 'kafka.pid'),
    ready: { line: /Kafka Server started/ },
  };
}

function jvmFlags(files: KafkaFiles, more: readonly string[]): string[] {
  return [...HEAP_FLAGS, `-Dlog4j.configuration=file:${files.logging}`, ...more];
}

/** Warnings and worse, and the one line that says that the broker is up. */
const LOGGING = `log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
log4j.logger.kafka.server.KafkaRaftServer=INFO
`;

async function prepareFolder(
  jarSet: JarSet,
  { folder, settings }: Pick<KafkaOptions, 'folder' | 'settings'>,
  port: number,
  controllerPort: number,
): Promise<KafkaFiles> {
  mkdirSync(folder, { recursive: true });
  const data = join(folder, 'data');
  const files = { properties: join(folder, 'server.properties'), logging: join(folder, 'log4j.properties') };
  writeFileSync(files.properties, propertiesOf({ ...serverSettings(data, port, controllerPort), ...settings }));
  writeFileSync(files.logging, LOGGING);
  if (!existsSync(join(data, 'meta.properties'))) await format(jarSet, folder, files);
  return files;
}

function propertiesOf(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

function serverSettings(data: string, port: number, controllerPort: number): Record<string, string> {
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': data,
    'auto.create.topics.enable': 'false',
    'default.replication.factor': '1',
    'min.insync.replicas': '1',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'group.initial.rebalance.delay.ms': '0',
    // The default of 128 MiB is most of our heap.
    'log.cleaner.dedupe.buffer.size': '2097152',
    // With the default of 9 s a killed broker needs 10 s to come back.
    'broker.session.timeout.ms': '2000',
    'broker.heartbeat.interval.ms': '500',
  };
}

async function format(jarSet: JarSet, folder: string, files: KafkaFiles): Promise<void> {
  const clusterId = randomBytes(16).toString('base64url');
  const { code, tail } = await runJavaTool({
    jarSet,
    folder,
    mainClass: 'kafka.tools.StorageTool',
    jvmFlags: ['-Xmx128m', `-Dlog4j.configuration=file:${files.logging}`],
    arguments: ['format', '-t', clusterId, '-c', files.properties],
    budgetMs: FORMAT_BUDGET_MS,
  });
  if (code !== 0) {
    throw new MeridianError(
      'unavailable',
      `formatting the data of Kafka in ${folder} failed (${code}):\n${tail}`,
      'later',
    );
  }
}
