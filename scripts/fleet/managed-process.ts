import { type ChildProcess, fork } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';

export interface ManagedProcessOptions {
  /** For the lines that the fleet prints, e.g. `us-east-1 region`. */
  readonly name: string;
  readonly module: string;
  readonly arguments: readonly string[];
  /** Node's own flags. */
  readonly nodeFlags: readonly string[];
  /** What the process writes is appended here. */
  readonly logFile: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly onState: (state: ProcessState) => void;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

export type ProcessState =
  | { readonly state: 'up'; readonly pid: number; readonly afterMs: number }
  | { readonly state: 'stopped' }
  | { readonly state: 'died'; readonly how: string; readonly restartInMs: number }
  | { readonly state: 'failed'; readonly message: string };

const RESTART_FIRST_MS = 200;
const RESTART_MAX_MS = 10_000;
/** A process that was up for this long has recovered: its next restart is quick again. */
const STABLE_MS = 10_000;

/**
 * A child process that is kept running: it reports readiness by IPC (`{ready: true}`), is restarted with backoff when it dies by
 * itself, and ends with this process (it watches the IPC channel). A child that reports `{failed: message}` before one was ever
 * ready has a wrong configuration: it is not restarted. Once it worked, whatever is wrong may pass.
 */
export class ManagedProcess {
  readonly #options: ManagedProcessOptions;
  readonly #log: WriteStream;
  #child: ChildProcess | undefined;
  #wanted = false;
  #everReady = false;
  #backoffMs = RESTART_FIRST_MS;
  #pause = new AbortController();
  /** The restart that is under way, once there was one. */
  #revival: Promise<void> | undefined;

  constructor(options: ManagedProcessOptions) {
    this.#options = options;
    this.#log = createWriteStream(options.logFile, { flags: 'a' });
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /**
   * Resolves when the process says that it is ready; rejects when it fails before, or ends before for the `attempts`-th time (it is restarted all
   * the same).
   */
  async start(attempts = 1): Promise<void> {
    this.#wanted = true;
    if (this.#child) return;
    this.#backoffMs = RESTART_FIRST_MS;
    let starting = this.#spawn();
    for (let left = attempts - 1; ; left--) {
      try {
        return await starting;
      } catch (error) {
        if (left <= 0 || !this.#wanted || !this.#revival) throw error;
        starting = this.#revival;
      }
    }
  }

  /** Resolves when it has ended. SIGKILL is a crash that is not restarted. */
  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#wanted = false;
    this.#pause.abort();
    const child = this.#child;
    if (child) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    }
    this.#options.onState({ state: 'stopped' });
  }

  close(): void {
    this.#log.end();
  }

  #spawn(): Promise<void> {
    const { module, environment, nodeFlags, onState } = this.#options;
    const startedMs = performance.now();
    const child = fork(module, [...this.#options.arguments], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: environment,
      execArgv: [...nodeFlags],
    });
    this.#child = child;
    child.stdout?.pipe(this.#log, { end: false });
    child.stderr?.pipe(this.#log, { end: false });
    return new Promise((resolve, reject) => {
      let ready = false;
      child.on('message', (message: { ready?: boolean; failed?: string }) => {
        if (message.ready) {
          ready = true;
          this.#everReady = true;
          onState({ state: 'up', pid: child.pid!, afterMs: performance.now() - startedMs });
          resolve();
        } else if (message.failed) {
          this.#wanted = this.#everReady;
          onState({ state: 'failed', message: message.failed });
          reject(new Error(message.failed));
        }
      });
      child.on('exit', (code, signal) => {
        this.#child = undefined;
        if (performance.now() - startedMs > STABLE_MS) this.#backoffMs = RESTART_FIRST_MS;
        if (!ready) reject(new Error(`${this.#options.name} ended (${signal ?? code}) before it was ready`));
        if (!this.#wanted) return;
        this.#revival = this.#restart(String(signal ?? `exit code ${code}`));
        // A failed start ends in `exit`, which comes back here.
        this.#revival.catch(() => {});
      });
    });
  }

  async #restart(how: string): Promise<void> {
    const restartInMs = this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, RESTART_MAX_MS);
    this.#options.onState({ state: 'died', how, restartInMs });
    this.#pause = new AbortController();
    await this.#options.sleep(restartInMs, this.#pause.signal);
    if (this.#wanted && !this.#child) await this.#spawn();
  }
}
