import { Cluster, Redis } from 'ioredis';
import type { Clock } from '../runtime/clock.js';
import { MeridianError, messageOf } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';

/** A command's name and arguments; replies come as Buffers. */
export type RedisCommand = readonly [name: string, ...args: (string | Buffer | number)[]];

/** Where Redis is: one node by its URL (`redis://` or `rediss://`, user and password in it), or nodes of a cluster to begin with. */
export type RedisAddress =
  | { readonly url: string }
  | { readonly nodes: readonly { readonly host: string; readonly port: number }[]; readonly password?: string };

export interface RedisLinkOptions {
  readonly address: RedisAddress;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A round trip that takes longer is given up, and so is its connection. */
  readonly commandBudgetMs: number;
  readonly connectBudgetMs: number;
}

/** Round trips that wait for an answer at once; beyond it `overloaded`. */
export const ROUND_TRIPS_MAX = 512;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 1_000;
const SCAN_COUNT = 1_000;

/**
 * The connection to Redis: everything goes through `roundTrip`, in bounded time. It connects again by itself; while it is not connected, calls
 * reject at once with `unavailable` (nothing waits in a queue, nothing is sent twice).
 */
export class RedisLink {
  readonly where: string;
  readonly #client: Redis | Cluster;
  readonly #clock: Clock;
  readonly #budgetMs: number;
  #waiting = 0;
  #closed = false;

  private constructor(client: Redis | Cluster, where: string, options: RedisLinkOptions) {
    this.#client = client;
    this.where = where;
    this.#clock = options.clock;
    this.#budgetMs = options.commandBudgetMs;
    let told = false;
    client.on('error', (error: unknown) => {
      if (!told) options.logger.warn({ redis: where, err: error }, 'index: Redis cannot be reached; trying again');
      told = true;
    });
    client.on('ready', () => {
      if (told) options.logger.info({ redis: where }, 'index: Redis is back');
      told = false;
    });
  }

  /** Connects. Rejects with `unavailable` within the budget, unless `tolerant`: then it goes on trying. */
  static async open(options: RedisLinkOptions, tolerant: boolean): Promise<RedisLink> {
    const { address, connectBudgetMs, clock } = options;
    const common = {
      protocol: 2 as const,
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: connectBudgetMs,
      retryStrategy: retryAfterMs,
    };
    const client =
      'url' in address
        ? new Redis(address.url, common)
        : new Cluster(
            address.nodes.map(({ host, port }) => ({ host, port })),
            {
              lazyConnect: true,
              enableOfflineQueue: false,
              clusterRetryStrategy: retryAfterMs,
              redisOptions: { ...common, ...(address.password === undefined ? {} : { password: address.password }) },
            },
          );
    const where =
      'url' in address ? withoutSecrets(address.url) : address.nodes.map((n) => `${n.host}:${n.port}`).join(', ');
    const link = new RedisLink(client, where, options);
    try {
      await within(clock, connectBudgetMs, client.connect(), `no connection within ${connectBudgetMs} ms`);
    } catch (error) {
      if (tolerant) return link;
      await link.close();
      throw new MeridianError('unavailable', `index: connecting to Redis at ${where}: ${messageOf(error)}`, 'later', {
        cause: error,
      });
    }
    return link;
  }

  /**
   * Sends all commands in one go and gives their replies in order. In a cluster all keys belong to one shard. Rejects with `unavailable` where
   * any fails; then any of them may have been done.
   */
  async roundTrip(attempted: string, commands: readonly RedisCommand[]): Promise<unknown[]> {
    if (this.#closed) throw new MeridianError('shutting-down', `${attempted}: the index is closed`, 'later');
    if (this.#waiting >= ROUND_TRIPS_MAX) {
      throw new MeridianError('overloaded', `${attempted}: ${ROUND_TRIPS_MAX} round trips wait already`, 'later');
    }
    this.#waiting++;
    try {
      const pipeline = this.#client.pipeline();
      for (const [name, ...args] of commands) pipeline.callBuffer(name, ...args);
      const replies = await within(
        this.#clock,
        this.#budgetMs,
        pipeline.exec(),
        `no answer within ${this.#budgetMs} ms`,
        () => this.#dropConnections(),
      );
      return (replies ?? []).map(([error, reply]) => {
        if (error) throw error;
        return reply;
      });
    } catch (error) {
      // Commands in a transaction are not redirected: without this it would go to the same wrong node for ever.
      if (this.#client instanceof Cluster && !this.#closed) this.#client.refreshSlotsCache(() => {});
      throw this.#unavailable(attempted, error);
    } finally {
      this.#waiting--;
    }
  }

  /** As `roundTrip`, and of one moment: nothing else is done between the commands. */
  async transaction(attempted: string, commands: readonly RedisCommand[]): Promise<unknown[]> {
    const replies = await this.roundTrip(attempted, [['MULTI'], ...commands, ['EXEC']]);
    const results = replies.at(-1);
    if (!Array.isArray(results)) throw this.#unavailable(attempted, new Error('the transaction was given up'));
    for (const result of results) if (result instanceof Error) throw this.#unavailable(attempted, result);
    return results;
  }

  /** Keys that match, from every node, in pages; a key may come twice. */
  async *keys(attempted: string, pattern: string): AsyncGenerator<Buffer[]> {
    for (const node of this.#client instanceof Cluster ? this.#client.nodes('master') : [this.#client]) {
      let cursor = '0';
      do {
        const scan = node.callBuffer('SCAN', cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT) as Promise<unknown>;
        const late = `no answer within ${this.#budgetMs} ms`;
        const reply = await within(this.#clock, this.#budgetMs, scan, late, () => this.#dropConnections()).catch(
          (error: unknown) => {
            throw this.#unavailable(attempted, error);
          },
        );
        const [next, keys] = reply as [Buffer, Buffer[]];
        cursor = next.toString();
        if (keys.length > 0) yield keys;
      } while (cursor !== '0');
    }
  }

  /** What was sent on them will never be answered in time: their queue is emptied, and they connect again. */
  #dropConnections(): void {
    if (!this.#closed) this.#client.disconnect(true);
  }

  #unavailable(attempted: string, error: unknown): MeridianError {
    if (error instanceof MeridianError) return error;
    if (this.#closed) return new MeridianError('shutting-down', `${attempted}: the index is closed`, 'later');
    const message = `${attempted} on Redis at ${this.where}: ${messageOf(error)}`;
    return new MeridianError('unavailable', message, 'later', { cause: error });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.disconnect();
  }
}

function retryAfterMs(attempt: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * attempt);
}

function withoutSecrets(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//');
}

/** Rejects where the time is over; `late` is then called once. */
async function within<T>(
  clock: Clock,
  budgetMs: number,
  work: Promise<T>,
  message: string,
  late: () => void = () => {},
): Promise<T> {
  const done = new AbortController();
  const timer = clock.sleep(budgetMs, done.signal).then((): never => {
    if (!done.signal.aborted) {
      late();
      work.catch(() => {});
    }
    throw new Error(message);
  });
  try {
    return await Promise.race([work, timer]);
  } finally {
    done.abort();
    timer.catch(() => {});
  }
}
