import type { Clock } from '../../global/runtime/clock.js';
import { messageOf } from '../../global/runtime/errors.js';
import type { ProcessState } from '../fleet/managed-process.js';

/** An engine that a launcher has started. */
export interface StartedEngine {
  /** Of the process that runs now. */
  readonly pid: number;
  /** Resolves with how the present process ended. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  restart(): Promise<void>;
}

export interface ManagedEngineOptions {
  /** Starts it for the first time. Rejects with nothing left running. */
  readonly launch: () => Promise<StartedEngine>;
  /** Ends a process that is still on its way up, so that whoever stops need not wait for it; its start then rejects. */
  readonly abortStart: () => void;
  readonly clock: Clock;
  readonly onState: (state: ProcessState) => void;
}

/** What is known of an engine without asking it. */
export interface EngineWatch {
  readonly state: 'up' | 'starting' | 'stopped' | 'died';
  /** When it went into this state; of one that died, when it was last up. */
  readonly sinceMs: number;
  readonly pid: number | null;
  /** How it died, or why it does not come up. */
  readonly detail: string | null;
}

const RESTART_FIRST_MS = 200;
const RESTART_MAX_MS = 10_000;
/** One that was up for this long has recovered: its next restart is quick again. */
const STABLE_MS = 10_000;
const MESSAGE_MAX = 300;

/**
 * An engine that is kept running: one that dies by itself is started again on its port and data, at first after 200 ms, then after twice as
 * long each time, up to 10 s. Starting, stopping and crashing may be called at any time and from several callers.
 */
export class ManagedEngine {
  readonly #options: ManagedEngineOptions;
  #engine: StartedEngine | undefined;
  #watch: EngineWatch;
  #wanted = false;
  #backoffMs = RESTART_FIRST_MS;
  #pause = new AbortController();
  /** The start or restart that is under way. */
  #underWay: Promise<void> | undefined;
  #comingUp = false;

  constructor(options: ManagedEngineOptions) {
    this.#options = options;
    this.#watch = { state: 'stopped', sinceMs: options.clock.nowMs(), pid: null, detail: null };
  }

  get watch(): EngineWatch {
    return this.#watch;
  }

  /** Whether somebody wants it up, be it so or not. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /** Resolves when it is ready; rejects where it does not come up (then it is not tried again). */
  async start(): Promise<void> {
    if (this.#wanted) return this.#underWay;
    this.#wanted = true;
    this.#underWay = this.#spawn();
    try {
      await this.#underWay;
    } catch (error) {
      this.#wanted = false;
      this.#set('stopped', messageOf(error));
      throw error;
    }
  }

  /** Ends it for good, by SIGKILL where `kill` says so. Resolves when it has ended. */
  async stop(kill: boolean): Promise<void> {
    this.#wanted = false;
    this.#pause.abort();
    if (this.#comingUp) this.#options.abortStart();
    await this.#underWay?.catch(() => {});
    await (kill ? this.#engine?.kill() : this.#engine?.stop());
    if (this.#watch.state === 'stopped') return;
    this.#set('stopped', null);
    this.#options.onState({ state: 'stopped' });
  }

  /** SIGKILL, as a crash: it is started again as after any other death. */
  async crash(): Promise<void> {
    if (this.#watch.state === 'up') await this.#engine?.kill();
  }

  /** Leaves it as it is, and watches it no longer. */
  leave(): void {
    this.#wanted = false;
    this.#pause.abort();
  }

  async #spawn(): Promise<void> {
    const { clock, launch, onState } = this.#options;
    const startedMs = clock.monotonicMs();
    // One that died stays `died` since it was last up, until it is up again.
    if (this.#watch.state === 'stopped') this.#set('starting', null);
    this.#comingUp = true;
    try {
      if (this.#engine) await this.#engine.restart();
      else this.#engine = await launch();
    } finally {
      this.#comingUp = false;
    }
    const { pid, ended } = this.#engine;
    const upMs = clock.monotonicMs();
    this.#watch = { state: 'up', sinceMs: clock.nowMs(), pid, detail: null };
    onState({ state: 'up', pid, afterMs: upMs - startedMs });
    void ended.then((how) => {
      if (!this.#wanted) return;
      if (clock.monotonicMs() - upMs > STABLE_MS) this.#backoffMs = RESTART_FIRST_MS;
      this.#underWay = this.#revive(how);
    });
  }

  async #revive(how: string): Promise<void> {
    const { clock, onState } = this.#options;
    let what = how;
    this.#set('died', what);
    this.#pause = new AbortController();
    while (this.#wanted) {
      const restartInMs = this.#backoffMs;
      this.#backoffMs = Math.min(this.#backoffMs * 2, RESTART_MAX_MS);
      onState({ state: 'died', how: what, restartInMs });
      await clock.sleep(restartInMs, this.#pause.signal);
      if (!this.#wanted) return;
      try {
        return await this.#spawn();
      } catch (error) {
        what = messageOf(error).slice(0, MESSAGE_MAX);
        this.#watch = { ...this.#watch, detail: `${how}; does not come back: ${what}` };
      }
    }
  }

  #set(state: 'starting' | 'stopped' | 'died', detail: string | null): void {
    this.#watch = { state, sinceMs: this.#options.clock.nowMs(), pid: null, detail };
  }
}
