import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type MirrorCluster,
  mirrorMakerLogging,
  mirrorMakerProperties,
} from '../../global/replication/mirror-maker-config.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { EngineProcess } from './engine-process.js';
import { ensureArchive, startJava } from './java-process.js';
import { startKafka } from './kafka-broker.js';
import { type Artifact, ensureJars, type JarSet } from './maven-jars.js';
import { placeLines, prepareMirrors } from './mirror-places.js';

export const MIRROR_MAKER_VERSION = '3.9.2';

const MIRROR_MAKER_ARTIFACTS: readonly Artifact[] = [
  { group: 'org.apache.kafka', name: 'connect-mirror', version: MIRROR_MAKER_VERSION },
  { group: 'org.apache.kafka', name: 'connect-runtime', version: MIRROR_MAKER_VERSION },
  { group: 'org.slf4j', name: 'slf4j-reload4j', version: '1.7.36' },
];
const MAIN_CLASS = 'org.apache.kafka.connect.mirror.MirrorMaker';
const HEAP_FLAGS = ['-Xms64m', '-Xmx384m'];
/** Three at once on two cores, with a cold cache of the disk. */
const START_BUDGET_MS = 120_000;

/** Where the jars are, and who is told about fetching them. */
export interface MirrorMakerSource {
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  readonly onProgress: (line: string) => void;
}

export interface MirrorMakerOptions extends MirrorMakerSource {
  /** Configuration, logs and pid file; what it has mirrored stands in the target. */
  readonly folder: string;
  /** For messages. Default: `MirrorMaker of <target>`. */
  readonly name?: string;
  readonly target: MirrorCluster;
  readonly sources: readonly MirrorCluster[];
  /** By their names at the sources. */
  readonly topics: readonly string[];
  /** See `EngineProcessOptions`. */
  readonly outlives?: boolean;
}

export interface MirrorMakerProcess {
  /** The present one; another after `restart`. */
  readonly process: EngineProcess;
  /** Resolves when it has ended. To be stopped before its brokers: without them it hangs on until it is killed. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Stops it where it runs, starts it again, and resolves when it is ready. */
  restart(): Promise<void>;
}

/** The jars of MirrorMaker 2 with a class-data archive; 32 MB (and those of Kafka) are fetched the first time. */
export async function ensureMirrorMaker(source: MirrorMakerSource): Promise<JarSet> {
  const jarSet = await ensureJars({ engine: 'mirrormaker', artifacts: MIRROR_MAKER_ARTIFACTS, ...source });
  await ensureArchive(jarSet, MAIN_CLASS, source.onProgress, async (flags, folder) => {
    source.onProgress('mirrormaker: making a class-data archive (once)');
    const kafka = await startKafka({ ...source, folder: join(folder, 'kafka') });
    try {
      const brokers = [kafka.brokers];
      // A cluster that mirrors to itself loads what there is to load.
      const clusters = {
        target: { region: 'here', brokers },
        sources: [{ region: 'there', brokers }],
        topics: ['none'],
      };
      const mirror = await launch(jarSet, { ...source, ...clusters, folder: join(folder, 'mirror') }, flags);
      await mirror.stop();
    } finally {
      await kafka.stop();
    }
  });
  return jarSet;
}

/**
 * One MirrorMaker near a target that takes the topics from every source, to where they have the same place and time as at their source. Gives it
 * its places first (`prepareMirrors`). Resolves when all of its links are configured; records come a moment later. Does not need the sources
 * to be there; rejects with `unavailable` where the target is not.
 */
export async function startMirrorMaker(options: MirrorMakerOptions): Promise<MirrorMakerProcess> {
  const jarSet = await ensureMirrorMaker(options);
  const start = async () => {
    await givePlaces(options);
    return launch(jarSet, options, []);
  };
  let engine = await start();
  return {
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

/** Without places it waits for them, and says so with every step of a busy loop; it skips nothing. */
async function givePlaces({ target, sources, topics, onProgress }: MirrorMakerOptions): Promise<void> {
  const say = (line: string) => onProgress(`mirror to ${target.region}: ${line}`);
  try {
    for (const line of placeLines(await prepareMirrors({ target, sources, topics }))) say(line);
  } catch (error) {
    say(messageOf(error));
  }
}

function launch(
  jarSet: JarSet,
  { folder, target, sources, topics, name = `MirrorMaker of ${target.region}`, outlives }: MirrorMakerOptions,
  flags: readonly string[],
): Promise<EngineProcess> {
  mkdirSync(folder, { recursive: true });
  const properties = join(folder, 'mirror-maker.properties');
  const logging = join(folder, 'log4j.properties');
  const logFile = join(folder, 'mirror-maker.log');
  writeFileSync(
    properties,
    mirrorMakerProperties({ target, sources, topics, replicationFactor: 1, refreshSeconds: 1 }),
  );
  writeFileSync(logging, mirrorMakerLogging(join(folder, 'mirror-maker-tasks.log')));
  const logStart = existsSync(logFile) ? statSync(logFile).size : 0;
  const links = sources
    .filter(({ region }) => region !== target.region)
    .map(({ region }) => `${region}->${target.region}`);
  const configured = async () => {
    const log = readFileSync(logFile).subarray(logStart).toString();
    // It says the one the first time and the other ever after.
    return links.every(
      (link) =>
        log.includes(`MirrorSourceConnector connector configured for ${link}`) ||
        log.includes(`leader for ${link} and configuration for MirrorSourceConnector is already up to date`),
    );
  };
  return startJava({
    name,
    jarSet,
    folder,
    mainClass: MAIN_CLASS,
    arguments: [properties],
    jvmFlags: [...HEAP_FLAGS, `-Dlog4j.configuration=file:${logging}`, ...flags],
    logFile,
    pidFile: join(folder, 'mirror-maker.pid'),
    ready: { probe: configured },
    startBudgetMs: START_BUDGET_MS,
    ...(outlives === undefined ? {} : { outlives }),
  });
}
