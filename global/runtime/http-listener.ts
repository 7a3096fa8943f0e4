import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ChannelSecurity, ListenAddress } from './channel-security.js';
import { MeridianError, messageOf } from './errors.js';
import type { Service } from './service.js';

export interface HttpListener extends Service {
  /** Where it listens; the port is the real one once started. */
  readonly address: ListenAddress;
}

/**
 * An HTTP server as a service. `name` and `option` appear in the error when the port is taken. Stopping lets requests in progress finish
 * for `drainMs`, then closes their connections.
 */
export function createHttpListener(options: {
  name: string;
  option: string;
  listen: ListenAddress;
  handler: RequestListener;
  security: ChannelSecurity;
  drainMs: number;
}): HttpListener {
  const { name, option, listen, handler, security, drainMs } = options;
  const server: Server = security.httpServer(handler);
  let address = listen;
  let stopped: Promise<void> | undefined;
  return {
    get address() {
      return address;
    },
    start: () =>
      new Promise((resolve, reject) => {
        server.once('error', (error) => reject(listenError(error, name, option, listen)));
        server.listen(listen.port, listen.host, () => {
          address = { host: listen.host, port: (server.address() as AddressInfo).port };
          resolve();
        });
      }),
    stop: () => {
      stopped ??= new Promise((resolve) => {
        const force = setTimeout(() => server.closeAllConnections(), drainMs);
        server.close(() => {
          clearTimeout(force);
          resolve();
        });
        server.closeIdleConnections();
      });
      return stopped;
    },
  };
}

/** A listener that cannot bind: names the port, the listener and the option that moves it. */
export function listenError(error: unknown, name: string, option: string, listen: ListenAddress): MeridianError {
  const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
  const why = taken ? 'the port is taken by another process' : messageOf(error);
  return new MeridianError(
    'configuration',
    `${name}: cannot listen on ${listen.host}:${listen.port}: ${why}. Choose another with ${option}`,
    'never',
    { cause: error },
  );
}
