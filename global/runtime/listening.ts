import type { Server as HttpServer } from 'node:http';
import type { Server as GrpcServer } from '@grpc/grpc-js';
import type { ChannelSecurity, ListenAddress } from './channel-security.js';
import type { Clock } from './clock.js';
import { MeridianError, messageOf } from './errors.js';

/** What a listener is called in messages. */
export interface ListenerName {
  readonly name: string;
  /** The option that moves it elsewhere, where the listener knows it. */
  readonly option?: string;
}

/** Resolves with where it listens (the port is the real one where 0 was asked); rejects with `configuration` where it cannot. */
export function listenHttp(server: HttpServer, listen: ListenAddress, name: ListenerName): Promise<ListenAddress> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(listenError(name, listen, cause)));
    server.listen(listen.port, listen.host, () => {
      const bound = server.address();
      resolve({ host: listen.host, port: bound !== null && typeof bound === 'object' ? bound.port : listen.port });
    });
  });
}

/** The same for gRPC. */
export function listenGrpc(
  server: GrpcServer,
  listen: ListenAddress,
  name: ListenerName,
  security: ChannelSecurity,
): Promise<ListenAddress> {
  return new Promise((resolve, reject) => {
    server.bindAsync(hostAndPort(listen), security.grpcServer(), (cause, port) => {
      if (cause) reject(listenError(name, listen, cause));
      else resolve({ host: listen.host, port });
    });
  });
}

/** Takes no new connection, lets requests in progress finish for `drainMs`, then closes their connections. */
export async function closeHttp(server: HttpServer, drainMs: number, clock: Clock): Promise<void> {
  if (!server.listening) return;
  await closeWithin(
    drainMs,
    clock,
    (closed) => {
      server.close(closed);
      server.closeIdleConnections();
    },
    () => server.closeAllConnections(),
  );
}

/** The same for gRPC; calls that are cut off end as cancelled. */
export function closeGrpc(server: GrpcServer, drainMs: number, clock: Clock): Promise<void> {
  return closeWithin(
    drainMs,
    clock,
    (closed) => server.tryShutdown(() => closed()),
    () => server.forceShutdown(),
  );
}

async function closeWithin(
  drainMs: number,
  clock: Clock,
  close: (closed: () => void) => void,
  force: () => void,
): Promise<void> {
  const drained = new AbortController();
  const done = new Promise<void>((resolve) => {
    close(() => {
      drained.abort();
      resolve();
    });
  });
  void clock.sleep(drainMs, drained.signal).then(() => {
    if (!drained.signal.aborted) force();
  });
  await done;
}

/** A port that is taken or an address that is not ours: names the listener, the address and what to change. */
function listenError({ name, option }: ListenerName, listen: ListenAddress, cause: unknown): MeridianError {
  // The code of a system error reaches gRPC's callers in the message only.
  const taken = messageOf(cause).includes('EADDRINUSE');
  const why = taken ? 'the port is taken by another process' : messageOf(cause);
  const advice = option === undefined ? '' : `. Choose another with ${option}`;
  return new MeridianError(
    'configuration',
    `the ${name} listener cannot bind ${hostAndPort(listen)}: ${why}${advice}`,
    'never',
    { cause },
  );
}

function hostAndPort({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
