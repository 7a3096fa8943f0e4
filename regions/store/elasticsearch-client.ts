import { Client } from '@elastic/elasticsearch';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { CircuitBreaker } from './elasticsearch-breaker.js';
import { failureOf, isFailure } from './elasticsearch-errors.js';
import { Lanes } from './elasticsearch-lanes.js';

export interface ClientOptions {
  /** URLs of the nodes; `http://user:password@host:9200` carries credentials. */
  readonly nodes: readonly string[];
  readonly clock: Clock;
  readonly registry: Registry;
  /** Connections in use at once, over all nodes. Default 50. */
  readonly connectionsMax?: number;
  /** Default 10. */
  readonly connectionsPerNodeMax?: number;
  /** Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** Default 30 s. */
  readonly requestTimeoutMs?: number;
  /** How long an idle connection is kept. Default 30 s. */
  readonly keepAliveMs?: number;
  /** How long all connections may be in use with callers waiting before the circuit opens. Default 5 s. */
  readonly exhaustedMsMax?: number;
  /** Failures in a row that open the circuit. Default 5. */
  readonly breakerFailuresMax?: number;
  /** Default 5 s. */
  readonly breakerOpenMs?: number;
  /** Root certificates (PEM), for https. */
  readonly certificateAuthority?: Buffer;
}

export interface Call {
  /** For messages: what is attempted, on what. */
  readonly what: string;
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: object;
  /** In the place of `body`: lines, each ended. */
  readonly lines?: string;
  readonly signal?: AbortSignal;
}

export const CLIENT_DEFAULTS = {
  connectionsMax: 50,
  connectionsPerNodeMax: 10,
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 30_000,
  keepAliveMs: 30_000,
  exhaustedMsMax: 5_000,
  breakerFailuresMax: 5,
  breakerOpenMs: 5_000,
} as const;
/** Calls that wait for a connection; one more is refused. */
export const WAITING_CALLS_MAX = 1_000;
/** A read that finds a node dead goes on to another, at most so often. */
const OTHER_NODES_MAX = 2;

export interface Requests {
  request<T>(call: Call): Promise<T>;
}

/** Requests to Elasticsearch within the limits of St5. Every rejection is a `MeridianError`. */
export class ElasticsearchClient implements Requests {
  readonly #client: Client;
  readonly #lanes: Lanes;
  readonly #breaker: CircuitBreaker;
  readonly #exhaustedMsMax: number;
  readonly #requests: Counter<'result'>;

  constructor(options: ClientOptions) {
    const defined = { ...CLIENT_DEFAULTS, ...options };
    const { nodes, clock, registry, connectionsPerNodeMax, connectionsMax, certificateAuthority } = defined;
    if (nodes.length === 0) throw new MeridianError('configuration', 'Elasticsearch: no node is named', 'never');
    // undici's own options; the client's type knows only some of them.
    const agent = {
      connections: connectionsPerNodeMax,
      connectTimeout: defined.connectTimeoutMs,
      keepAliveTimeout: defined.keepAliveMs,
      keepAliveMaxTimeout: defined.keepAliveMs,
    };
    this.#client = new Client({
      nodes: [...nodes],
      agent,
      requestTimeout: defined.requestTimeoutMs,
      maxRetries: Math.min(OTHER_NODES_MAX, nodes.length - 1),
      ...(certificateAuthority ? { tls: { ca: certificateAuthority } } : {}),
    });
    this.#lanes = new Lanes(Math.min(connectionsMax, connectionsPerNodeMax * nodes.length), clock, WAITING_CALLS_MAX);
    this.#breaker = new CircuitBreaker('Elasticsearch', clock, {
      failuresMax: defined.breakerFailuresMax,
      openMs: defined.breakerOpenMs,
    });
    this.#exhaustedMsMax = defined.exhaustedMsMax;
    this.#requests = new Counter({
      name: 'meridian_store_requests_total',
      help: 'Requests to Elasticsearch by how they ended',
      labelNames: ['result'],
      registers: [registry],
    });
    this.#gauges(registry);
  }

  get circuitOpen(): boolean {
    return this.#breaker.isOpen;
  }

  async request<T>(call: Call): Promise<T> {
    const { what, signal } = call;
    if (this.#lanes.exhaustedMs > this.#exhaustedMsMax) {
      this.#breaker.trip(`all ${this.#lanes.size} connections have been in use for ${this.#exhaustedMsMax} ms`);
    }
    await this.#lanes.enter(what);
    try {
      this.#breaker.pass(what);
      return await this.#send<T>(call, signal);
    } finally {
      this.#lanes.release();
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #send<T>({ what, method, path, query, body, lines }: Call, signal: AbortSignal | undefined): Promise<T> {
    try {
      const result = await this.#client.transport.request<T>(
        {
          method,
          path,
          ...(query ? { querystring: { ...query } } : {}),
          ...(lines === undefined ? {} : { bulkBody: lines }),
          ...(body ? { body } : {}),
        },
        { retryBackoff: () => 0, ...(signal ? { signal } : {}) },
      );
      this.#breaker.succeeded();
      this.#requests.inc({ result: 'ok' });
      return result;
    } catch (error) {
      const failure = failureOf(what, error);
      if (isFailure(failure, 'unreachable')) this.#breaker.failed(failure.message);
      else if (isFailure(failure, 'aborted')) this.#breaker.left();
      else this.#breaker.succeeded();
      this.#requests.inc({ result: 'kind' in failure ? String(failure.kind) : failure.code });
      throw failure;
    }
  }

  #gauges(registry: Registry): void {
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          this.set(value());
        },
      });
    gauge('meridian_store_pool_size_connections', 'Connections to Elasticsearch at most', () => this.#lanes.size);
    gauge('meridian_store_pool_used_connections', 'Connections to Elasticsearch in use', () => this.#lanes.used);
    gauge('meridian_store_circuit_open_state', 'Whether requests to Elasticsearch are refused at once', () =>
      this.#breaker.isOpen ? 1 : 0,
    );
  }
}
