import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import { realClock } from '../runtime/clock.js';
import { silentLogger } from '../runtime/logger.js';
import { openRedisTraceIndex, type RedisTraceIndexOptions } from './redis-trace-index.js';
import { HOME } from './trace-index.contract.js';
import type { TraceIndex } from './trace-index.js';

export const WEEK_MS = 7 * 86_400_000;
/** The contract's times lie in 2025: a retention in which they have days of their own. */
export const YEARS_MS = 20 * 365 * 86_400_000;

let prefixes = 0;

/** An index of its own in a Redis that others use too. */
export function openIn(url: string, over: Partial<RedisTraceIndexOptions> = {}): Promise<TraceIndex> {
  return openRedisTraceIndex({
    address: { url },
    home: HOME,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    retentionMs: YEARS_MS,
    bucketBits: 6,
    // Of a machine that does other things too; a Redis that is away is noticed by its connection.
    commandBudgetMs: 30_000,
    connectBudgetMs: 30_000,
    prefix: `t${prefixes++}:`,
    ...over,
  });
}

export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'meridian-redis-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs commands of a test's own. */
export async function withClient<T>(url: string, run: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { protocol: 2 });
  try {
    return await run(client);
  } finally {
    client.disconnect();
  }
}

export async function keysIn(url: string, pattern: string): Promise<string[]> {
  return withClient(url, (client) => client.keys(pattern));
}

/** Passes bytes on to Redis and counts how often the client spoke after Redis had: round trips. */
export async function countingProxy(port: number): Promise<{ url: string; turns(): number; close(): void }> {
  let turns = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const redis = connect(port, '127.0.0.1');
    let answered = true;
    client.on('data', (bytes) => {
      if (answered) turns++;
      answered = false;
      redis.write(bytes);
    });
    redis.on('data', (bytes) => {
      answered = true;
      client.write(bytes);
    });
    for (const socket of [client, redis]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        redis.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    turns: () => turns,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
