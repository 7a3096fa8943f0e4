import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { ChannelSecurity, ListenAddress } from '../../global/runtime/channel-security.js';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { closeHttp, type ListenerName, listenHttp } from '../../global/runtime/listening.js';
import type { Service } from '../../global/runtime/service.js';

/** What bounds a listener's clients. */
export interface HttpListenerLimits {
  /** From the connection, or the end of the last answer, to the end of the headers. */
  readonly headersTimeoutMs: number;
  /** From the first byte of a request to the end of its body. */
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly connectionsMax: number;
  /** How long a stop waits for requests in flight before it closes their connections. */
  readonly drainMs: number;
}

export interface HttpListenerOptions extends HttpListenerLimits, ListenerName {
  readonly listen: ListenAddress;
  readonly security: ChannelSecurity;
  readonly clock: Clock;
  handle(request: IncomingMessage, response: ServerResponse): void;
}

/** How often overdue requests are looked for: Node's default of 30 s would let a slow client have that much more. */
const CHECK_INTERVAL_MS_MAX = 1000;

/** A `node:http` server with its limits set and a bounded drain. One start, one stop. */
export class HttpListener implements Service {
  readonly #options: HttpListenerOptions;
  readonly #server: Server;
  readonly #answering = new Set<ServerResponse>();
  #address: ListenAddress | null = null;
  #stopping: Promise<void> | null = null;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
    const server = options.security.httpServer((request, response) => {
      if (this.#stopping) response.setHeader('Connection', 'close');
      this.#answering.add(response);
      response.on('close', () => this.#answering.delete(response));
      options.handle(request, response);
    });
    // The handler answers before it asks for the body where it refuses it, so `100 Continue` is its business.
    server.on('checkContinue', (request, response) => server.emit('request', request, response));
    server.headersTimeout = options.headersTimeoutMs;
    server.requestTimeout = options.requestTimeoutMs;
    server.keepAliveTimeout = options.keepAliveTimeoutMs;
    server.maxConnections = options.connectionsMax;
    const shortest = Math.min(options.headersTimeoutMs, options.requestTimeoutMs);
    // Read by Node when the server begins to listen; the types know it as an option of createServer only.
    Object.assign(server, { connectionsCheckingInterval: Math.max(10, Math.min(CHECK_INTERVAL_MS_MAX, shortest / 2)) });
    this.#server = server;
  }

  /** Where it listens; the port that was taken where 0 was asked. Throws `unavailable` before the start. */
  get address(): ListenAddress {
    if (this.#address) return this.#address;
    throw new MeridianError('unavailable', `${this.#options.name} does not listen yet`, 'later');
  }

  async start(): Promise<void> {
    this.#address = await listenHttp(this.#server, this.#options.listen, this.#options);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#drain();
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    // Connections that are idle are closed at once; the others end with their answer.
    for (const response of this.#answering) if (!response.headersSent) response.setHeader('Connection', 'close');
    await closeHttp(this.#server, this.#options.drainMs, this.#options.clock);
  }
}
