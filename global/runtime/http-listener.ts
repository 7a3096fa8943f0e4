import type { RequestListener } from 'node:http';
import type { ChannelSecurity, ListenAddress } from './channel-security.js';
import type { Clock } from './clock.js';
import { closeHttp, type ListenerName, listenHttp } from './listening.js';
import type { Service } from './service.js';

export interface HttpListener extends Service {
  /** Where it listens; the port is the real one once started. */
  readonly address: ListenAddress;
}

export interface HttpListenerOptions extends ListenerName {
  readonly listen: ListenAddress;
  readonly handler: RequestListener;
  readonly security: ChannelSecurity;
  readonly clock: Clock;
  /** How long a stop lets requests in progress finish before it closes their connections. */
  readonly drainMs: number;
}

/** An HTTP server as a service, for what people and tools ask (spans come in through the collector's own listener). */
export function createHttpListener(options: HttpListenerOptions): HttpListener {
  const { listen, handler, security, clock, drainMs } = options;
  const server = security.httpServer(handler);
  let address = listen;
  let stopped: Promise<void> | undefined;
  return {
    get address() {
      return address;
    },
    start: async () => {
      address = await listenHttp(server, listen, options);
    },
    stop: () => {
      stopped ??= closeHttp(server, drainMs, clock);
      return stopped;
    },
  };
}
