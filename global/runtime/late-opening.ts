import { type BackoffRange, untilDone } from './backoff.js';
import type { Clock } from './clock.js';
import { MeridianError, messageOf } from './errors.js';
import type { Logger } from './logger.js';

export interface LateOpeningOptions<T> {
  /** For messages, e.g. `the store in Elasticsearch at http://es:9200`. */
  readonly what: string;
  readonly open: () => Promise<T>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export const LATE_OPENING_WAITS: BackoffRange = { firstMs: 250, maxMs: 5_000 };

/** An engine that is open, or stands in until it is. */
export interface Opened<T> {
  readonly engine: T;
  /** Whether it was away when it was asked for first. */
  readonly late: boolean;
  /** Resolves when it is open; rejects when it cannot be opened, or was closed before. */
  whenOpen(): Promise<void>;
  /** A part of the engine that is itself a port, e.g. its snapshots. */
  member<M extends object>(pick: (engine: T) => M): M;
}

/**
 * Opens an engine that may be away at the moment, so that a process can start without it and the rest of its work goes on. Resolves with the engine
 * itself where it is there. Where opening fails with something that passes (`retry: 'later'`), it resolves with a stand-in and goes on
 * trying: until the engine is open each call of the stand-in rejects with `unavailable`, saying since when and why; afterwards it is passed on. A failure
 * that does not pass (a wrong configuration, another build's data) rejects at once; when it comes later, the calls reject with it.
 *
 * `T` is a port: what is called of it are methods that return promises, and `close` is one of them.
 */
export async function openOrLater<T extends Closing>(options: LateOpeningOptions<T>): Promise<Opened<T>> {
  try {
    const engine = await options.open();
    return { engine, late: false, whenOpen: async () => {}, member: (pick) => pick(engine) };
  } catch (error) {
    if (!isPassing(error)) throw error;
    const late = new LateOpening(options, error);
    const engine = standIn(() => late.opened(), { close: () => late.close() });
    const member: Opened<T>['member'] = (pick) => standIn(() => pick(late.opened()));
    return { engine, late: true, whenOpen: () => late.whenOpen(), member };
  }
}

interface Closing {
  close(): Promise<void>;
}

function isPassing(error: unknown): boolean {
  return error instanceof MeridianError && error.retry === 'later';
}

class LateOpening<T extends Closing> {
  readonly #stopped = new AbortController();
  readonly #sinceMs: number;
  readonly #trying: Promise<void>;
  #opened: T | null = null;
  #failure: unknown;

  constructor(
    private readonly options: LateOpeningOptions<T>,
    failure: unknown,
  ) {
    this.#failure = failure;
    this.#sinceMs = options.clock.nowMs();
    options.logger.warn({ error: messageOf(failure) }, `${options.what} is not there; trying again`);
    this.#trying = this.#try();
  }

  /** The engine, or the reason why it is not there. */
  opened(): T {
    if (this.#opened) return this.#opened;
    if (!isPassing(this.#failure)) throw this.#failure;
    const since = new Date(this.#sinceMs).toISOString();
    throw new MeridianError(
      'unavailable',
      `${this.options.what} was not reached since ${since}: ${messageOf(this.#failure)}`,
      'later',
      { cause: this.#failure },
    );
  }

  async whenOpen(): Promise<void> {
    await this.#trying;
    this.opened();
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#trying;
    await this.#opened?.close();
  }

  async #try(): Promise<void> {
    const { what, open, clock, logger } = this.options;
    const { signal } = this.#stopped;
    await clock.sleep(LATE_OPENING_WAITS.firstMs, signal);
    if (signal.aborted) return;
    try {
      const onRetry = (error: MeridianError) => {
        this.#failure = error;
      };
      this.#opened = await untilDone(open, { ...LATE_OPENING_WAITS, clock, signal, onRetry });
      logger.info({ afterMs: clock.nowMs() - this.#sinceMs }, `${what} is there`);
    } catch (error) {
      this.#failure = error;
      if (!signal.aborted) logger.error({ error: messageOf(error) }, `${what} cannot be opened`);
    }
  }
}

type Methods = Readonly<Record<PropertyKey, (...given: unknown[]) => Promise<unknown>>>;

function standIn<T extends object>(opened: () => T, own: Partial<Methods> = {}): T {
  return new Proxy({} as T, {
    get: (_, name) => {
      // What is awaited is asked for `then`: a stand-in is no promise.
      if (name === 'then') return undefined;
      return (
        own[name] ??
        (async (...given: unknown[]) => {
          const engine = opened();
          return (engine as unknown as Methods)[name]!.apply(engine, given);
        })
      );
    },
  });
}
