import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, realClock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { writePidFile } from './pid-file.js';
import { watchOver } from './watchdog.js';

/** When an engine counts as started: a line that its log shows, or a question that it answers with yes (a rejection is a no). */
export type Ready = { readonly line: RegExp } | { readonly probe: () => Promise<boolean> };

export interface EngineProcessOptions {
  /** For messages, e.g. `Kafka of us-east-1`. */
  readonly name: string;
  readonly command: string;
  readonly arguments: readonly string[];
  /** Where the process runs; made where it is missing. */
  readonly folder: string;
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** Written once the process runs and removed when it has ended, so that a later command finds what was left behind. */
  readonly pidFile: string;
  readonly ready: Ready;
  /** Time until it has to be ready. Default 60 s. */
  readonly startBudgetMs?: number;
  /** Time from SIGTERM to SIGKILL. Default 15 s. */
  readonly stopBudgetMs?: number;
  /** Whether the process goes on when this one ends (`engines up`). Default: it never outlives this process, however that ends. */
  readonly outlives?: boolean;
  readonly clock?: Clock;
}

export interface EngineProcess {
  readonly name: string;
  readonly pid: number;
  /** The match of `ready.line`; null where readiness is a probe. */
  readonly readyMatch: RegExpExecArray | null;
  readonly running: boolean;
  /** Resolves with `exit code N` or the signal's name when the process has ended, whyever. */
  readonly ended: Promise<string>;
  /** SIGTERM, then SIGKILL when the stop budget is over. Resolves when it has ended; at once where it has already. */
  stop(): Promise<void>;
  /** SIGKILL: a crash. Resolves when it has ended. */
  kill(): Promise<void>;
}

const START_BUDGET_MS = 60_000;
const STOP_BUDGET_MS = 15_000;
const POLL_MS = 50;
/** How much of its log an error quotes, characters. */
const QUOTED_MAX = 1_500;

/**
 * Starts an engine and resolves when it is ready. Rejects with `configuration` when the command is not there, with `unavailable` when it
 * ends or is not ready in time; the message quotes the end of its log, and nothing is left running.
 */
export async function startEngineProcess(options: EngineProcessOptions): Promise<EngineProcess> {
  for (const folder of [options.folder, dirname(options.logFile), dirname(options.pidFile)]) {
    mkdirSync(folder, { recursive: true });
  }
  const logStart = existsSync(options.logFile) ? statSync(options.logFile).size : 0;
  const engine = new SpawnedEngine(options, await spawnInto(options));
  try {
    await engine.untilReady(logStart);
    return engine;
  } catch (error) {
    await engine.kill();
    throw error;
  }
}

/** Standard output goes to the file itself: no pipe that would break with this process. */
async function spawnInto(options: EngineProcessOptions): Promise<ChildProcess> {
  const log = openSync(options.logFile, 'a');
  try {
    const child = spawn(options.command, [...options.arguments], {
      cwd: options.folder,
      stdio: ['ignore', log, log],
      // A process group of its own: Ctrl-C is for the fleet, which stops its engines in the right order.
      detached: true,
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return child;
  } catch (error) {
    throw new MeridianError(
      'configuration',
      `starting ${options.name} with ${options.command}: ${messageOf(error)}`,
      'never',
      { cause: error },
    );
  } finally {
    closeSync(log);
  }
}

class SpawnedEngine implements EngineProcess {
  readonly name: string;
  readonly pid: number;
  readonly ended: Promise<string>;
  readyMatch: RegExpExecArray | null = null;
  running = true;
  readonly #clock: Clock;

  constructor(
    private readonly options: EngineProcessOptions,
    private readonly child: ChildProcess,
  ) {
    this.name = options.name;
    this.pid = child.pid!;
    this.#clock = options.clock ?? realClock;
    writePidFile(options.pidFile, options.name, this.pid);
    const release = options.outlives ? () => {} : watchOver(this.pid);
    if (options.outlives) child.unref();
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.running = false;
        release();
        rmSync(options.pidFile, { force: true });
        resolve(signal ?? `exit code ${code}`);
      });
    });
  }

  async untilReady(logStart: number): Promise<void> {
    const { ready, name } = this.options;
    const budgetMs = this.options.startBudgetMs ?? START_BUDGET_MS;
    const deadlineMs = this.#clock.monotonicMs() + budgetMs;
    for (;;) {
      if ('line' in ready) {
        this.readyMatch = ready.line.exec(this.#logFrom(logStart));
        if (this.readyMatch) return;
      } else if (await ready.probe().catch(() => false)) return;
      if (!this.running) throw this.#failure(`${name} ended (${await this.ended}) before it was ready`, logStart);
      if (this.#clock.monotonicMs() > deadlineMs) {
        throw this.#failure(`${name} was not ready within ${budgetMs} ms`, logStart);
      }
      await this.#clock.sleep(POLL_MS);
    }
  }

  async stop(): Promise<void> {
    if (!this.running) return;
    this.child.kill('SIGTERM');
    const patience = new AbortController();
    const budgetMs = this.options.stopBudgetMs ?? STOP_BUDGET_MS;
    await Promise.race([this.ended, this.#clock.sleep(budgetMs, patience.signal)]);
    patience.abort();
    await this.kill();
  }

  async kill(): Promise<void> {
    if (this.running) this.child.kill('SIGKILL');
    await this.ended;
  }

  #logFrom(start: number): string {
    return readFileSync(this.options.logFile).subarray(start).toString();
  }

  #failure(what: string, logStart: number): MeridianError {
    const log = this.#logFrom(logStart).trim().slice(-QUOTED_MAX);
    return new MeridianError('unavailable', `${what}; the end of ${this.options.logFile}:\n${log}`, 'later');
  }
}
