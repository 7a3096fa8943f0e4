import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { type EngineProcess, startEngineProcess } from './engine-process.js';
import { run } from './maven-jars.js';

/**
 * The settings that the index's layout needs (`global/index/redis-layout.ts`): a bucket stays one listpack up to this many fields, and a
 * value up to this many bytes. Buckets are laid out for at most 128 fields in the mean, so that four times the expected traces still fit.
 */
export const REDIS_LISTPACK_ENTRIES_MAX = 512;
export const REDIS_LISTPACK_VALUE_BYTES_MAX = 2048;

export interface RedisEngineOptions {
  /** Data, log and pid file go here; made where it is missing. */
  readonly folder: string;
  /** A free one is taken where it is left out. */
  readonly port?: number;
  /** True for the index (`appendfsync everysec`), false for a cache. */
  readonly appendOnly: boolean;
  /** Settings as on the command line, e.g. `['--cluster-enabled', 'yes']`; they win over those given here. */
  readonly extraArgs?: readonly string[];
  /** Default: `redis-server` on the PATH. */
  readonly command?: string;
  /** Default `Redis`; for messages. */
  readonly name?: string;
  /** Whether it goes on when this process ends. */
  readonly outlives?: boolean;
}

export interface RedisEngine {
  /** `redis://127.0.0.1:{port}`; the same after a restart. */
  readonly url: string;
  readonly port: number;
  /** Of the process that runs now. */
  readonly pid: number;
  /** Resolves with how the present process ended. */
  readonly ended: Promise<string>;
  /** SIGTERM: what has to be on disk is written first. */
  stop(): Promise<void>;
  /** SIGKILL: a crash. */
  kill(): Promise<void>;
  /** Starts it again on the same port and folder, stopping it first where it runs. Resolves when it has loaded its data. */
  restart(): Promise<void>;
}

/**
 * Starts one `redis-server` (7.0 or later) on 127.0.0.1. Rejects with `configuration` where the program is missing (and says how to get it), with
 * `unavailable` where it does not come up.
 */
export async function startRedis(options: RedisEngineOptions): Promise<RedisEngine> {
  const port = options.port ?? (await freePort());
  let engine = await startOn(port, options);
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return engine.pid;
    },
    get ended() {
      return engine.ended;
    },
    stop: () => engine.stop(),
    kill: () => engine.kill(),
    restart: async () => {
      await engine.stop();
      engine = await startOn(port, options);
    },
  };
}

async function startOn(port: number, options: RedisEngineOptions): Promise<EngineProcess> {
  const { folder, outlives } = options;
  try {
    return await startEngineProcess({
      name: options.name ?? 'Redis',
      command: options.command ?? 'redis-server',
      arguments: redisArguments(port, options),
      folder,
      logFile: join(folder, 'redis.log'),
      pidFile: join(folder, 'redis.pid'),
      ready: { line: /Ready to accept connections/ },
      startBudgetMs: 60_000,
      ...(outlives === undefined ? {} : { outlives }),
    });
  } catch (error) {
    if (!(error instanceof MeridianError) || error.code !== 'configuration') throw error;
    throw new MeridianError('configuration', `${error.message}. ${REDIS_HINT}`, 'never', { cause: error });
  }
}

const REDIS_MAJOR_MIN = 7;
const REDIS_HINT = `Install Redis ${REDIS_MAJOR_MIN}.0 or later (Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis)`;

/** What is missing on this machine for Redis, with how to get it; null where nothing is. */
export async function missingForRedis(command = 'redis-server'): Promise<string | null> {
  try {
    const { code, tail } = await run(command, ['--version'], { folder: '.', budgetMs: 60_000, line: () => {} });
    if (code !== 0) return `${command} --version ended with ${code}: ${tail}. ${REDIS_HINT}`;
    const major = /v=(\d+)/.exec(tail)?.[1];
    return major !== undefined && Number(major) < REDIS_MAJOR_MIN
      ? `${command} is version ${major}, too old. ${REDIS_HINT}`
      : null;
  } catch (error) {
    return `${command} does not run (${messageOf(error)}). ${REDIS_HINT}`;
  }
}

function redisArguments(port: number, { folder, appendOnly, extraArgs = [] }: RedisEngineOptions): string[] {
  return [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--daemonize', 'no'],
    ...['--save', '', '--appendonly', appendOnly ? 'yes' : 'no', '--appendfsync', 'everysec'],
    ...['--hash-max-listpack-entries', String(REDIS_LISTPACK_ENTRIES_MAX)],
    ...['--hash-max-listpack-value', String(REDIS_LISTPACK_VALUE_BYTES_MAX)],
    ...extraArgs,
  ];
}

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
