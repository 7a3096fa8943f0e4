import type * as Http from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import type * as Express from 'express';
import type { CallSpec, RouteSpec, ServiceSpec } from './services.js';
import { startTelemetry } from './telemetry.js';

/** What the workload tells a service process when it starts it. */
export interface ServiceStart {
  readonly service: ServiceSpec;
  readonly region: string;
  readonly otlpHttp: string;
}

/** Told by IPC: first the ports of all services, once all are up. */
export interface ServicePeers {
  readonly ports: Readonly<Record<string, number>>;
}

// The instrumentation patches modules when they are required, so these are required after it has started.
const require = createRequire(import.meta.url);

/** Runs one service of the workload; resolves with its port. `peers` resolves once all services are up. */
export async function runService(
  { service, region, otlpHttp }: ServiceStart,
  peers: Promise<ServicePeers>,
): Promise<{ port: number; stop: () => Promise<void> }> {
  const stopTelemetry = startTelemetry({ service: service.name, region, otlpHttp });
  const http = require('node:http') as typeof Http;
  const express = require('express') as typeof Express.default;
  const app = express();
  for (const route of service.routes) {
    app[route.method](route.path, async (_request, response) => {
      const { ports } = await peers;
      const failure = await handle(http, route, ports);
      response.status(failure ? 500 : 200).json(failure ? { error: failure } : { ok: true });
    });
  }
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await stopTelemetry();
    },
  };
}

/** Own work, then the calls, step by step. Returns why it failed, or null. */
async function handle(http: typeof Http, route: RouteSpec, ports: Record<string, number>): Promise<string | null> {
  const span = trace.getActiveSpan();
  span?.setAttribute('customer.id', `c-${Math.floor(Math.random() * 5000)}`);
  span?.setAttribute('order.items', 1 + Math.floor(Math.random() * 5));
  const slow = Math.random() < route.slowShare;
  await wait(route.workMs * (0.5 + Math.random()) * (slow ? 10 : 1));
  if (slow) span?.addEvent('lock contention', { 'lock.wait_ms': route.workMs * 9 });
  if (Math.random() < route.errorShare) {
    const error = new Error(`${route.path}: dependency answered with garbage`);
    span?.recordException(error);
    span?.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    return error.message;
  }
  const steps = [...new Set(route.calls.map((c) => c.step))].sort((a, b) => a - b);
  for (const step of steps) {
    const statuses = await Promise.all(route.calls.filter((c) => c.step === step).map((c) => request(http, c, ports)));
    if (statuses.some((status) => status >= 500)) return `a call of step ${step} failed`;
  }
  return null;
}

function request(
  http: typeof Http,
  { service, method, path }: CallSpec,
  ports: Record<string, number>,
): Promise<number> {
  return new Promise((resolve) => {
    const outgoing = http.request(
      { host: '127.0.0.1', port: ports[service], path, method: method.toUpperCase(), timeout: 5000 },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 500));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy());
    outgoing.on('error', () => resolve(503));
    outgoing.end();
  });
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
