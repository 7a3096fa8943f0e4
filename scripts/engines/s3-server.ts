import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freeEnginePorts } from './engine-ports.js';
import type { EngineProcess } from './engine-process.js';
import { startJava } from './java-process.js';
import { ensureJars, type JarSet } from './maven-jars.js';

export interface S3ServerOptions {
  /** Objects, log and pid file go here; made where it is missing. */
  readonly folder: string;
  /** `enginesCache(environment)`. */
  readonly cacheFolder: string;
  /** Made at the start where they are not there yet. */
  readonly buckets: readonly string[];
  /** HTTP port; a free one is taken where it is left out. */
  readonly port?: number;
  /** For messages. Default `S3 server`. */
  readonly name?: string;
  readonly onProgress?: (line: string) => void;
  /** See `EngineProcessOptions.outlives`. */
  readonly outlives?: boolean;
}

export interface RunningS3Server {
  /** `http://127.0.0.1:{port}`; any credentials are taken. */
  readonly endpoint: string;
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL: a crash. */
  kill(): Promise<void>;
  /** Starts it again on the same port and folder, stopping it first where it runs. */
  restart(): Promise<void>;
}

export const S3_SERVER_VERSION = '4.7.0';

const ARTIFACTS = [
  { group: 'com.adobe.testing', name: 's3mock', version: S3_SERVER_VERSION },
  // Its dependencies name an older one, which its logging refuses.
  { group: 'org.slf4j', name: 'slf4j-api', version: '2.0.17' },
];
const MAIN_CLASS = 'com.adobe.testing.s3mock.S3MockApplication';

/**
 * Starts an S3 server (Adobe's S3Mock: objects are files in the folder, and stay). Rejects with `configuration` where Java or Maven are missing,
 * `unavailable` where it does not come up.
 */
export async function startS3Server(options: S3ServerOptions): Promise<RunningS3Server> {
  const jarSet = await ensureS3Server(options);
  const port = options.port ?? (await freeEnginePorts(1))[0]!;
  let server = await startOn(port, jarSet, options);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    get pid() {
      return server.pid;
    },
    stop: () => server.stop(),
    kill: () => server.kill(),
    restart: async () => {
      await server.stop();
      server = await startOn(port, jarSet, options);
    },
  };
}

/** Fetches what a start needs, unless the cache has it. */
export function ensureS3Server({
  cacheFolder,
  onProgress = () => {},
}: Pick<S3ServerOptions, 'cacheFolder' | 'onProgress'>): Promise<JarSet> {
  return ensureJars({ engine: 's3', artifacts: ARTIFACTS, cacheFolder, onProgress });
}

async function startOn(port: number, jarSet: JarSet, options: S3ServerOptions): Promise<EngineProcess> {
  const { folder, buckets, name = 'S3 server', outlives } = options;
  const objects = join(folder, 'objects');
  const scratch = join(folder, 'tmp');
  for (const path of [objects, scratch]) mkdirSync(path, { recursive: true });
  const server = await startJava({
    name,
    jarSet,
    mainClass: MAIN_CLASS,
    arguments: [
      // Its HTTPS port, which nobody uses.
      '--server.port=0',
      `--com.adobe.testing.s3mock.http-port=${port}`,
      '--spring.main.banner-mode=off',
      '--logging.level.root=WARN',
      `--com.adobe.testing.s3mock.store.root=${objects}`,
      '--com.adobe.testing.s3mock.store.retain-files-on-exit=true',
    ],
    jvmFlags: ['-Xmx192m', `-Djava.io.tmpdir=${scratch}`],
    folder,
    logFile: join(folder, 's3.log'),
    pidFile: join(folder, 's3.pid'),
    ready: { probe: async () => (await fetch(`http://127.0.0.1:${port}/`)).ok },
    ...(outlives === undefined ? {} : { outlives }),
  });
  for (const bucket of buckets) {
    if (!existsSync(join(objects, bucket))) await fetch(`http://127.0.0.1:${port}/${bucket}`, { method: 'PUT' });
  }
  return server;
}
