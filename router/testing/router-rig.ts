import { Registry } from 'prom-client';
import { afterEach } from 'vitest';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { silentLogger } from '../../global/runtime/logger.js';
import { createRouter, type Router, type RouterOptions } from '../router.js';
import { spanId, TRACE } from './otlp-spans.js';
import { EAST, QueryRig, testFleet, WEST } from './query-rig.js';

export const NOW = BigInt(Date.now()) * 1_000_000n;
export const MS = 1_000_000n;

const open: Router[] = [];
afterEach(async () => {
  for (const router of open.splice(0)) await router.stop();
});

/** A router on a port of its own, over fake regions that hold `TRACE` in two parts; stopped after the test. */
export async function startRouter(
  options: Partial<RouterOptions> = {},
): Promise<{ rig: QueryRig; url: string; router: Router }> {
  const rig = new QueryRig(realClock);
  rig.store(EAST, [
    { traceId: TRACE, spanId: spanId(1), service: 'gateway', name: 'GET /', kind: 2, start: NOW, end: NOW + 50n * MS },
  ]);
  rig.store(WEST, [
    {
      traceId: TRACE,
      spanId: spanId(2),
      parentSpanId: spanId(1),
      service: 'orders',
      start: NOW + 5n * MS,
      end: NOW + 30n * MS,
      error: true,
      attributes: { 'customer.id': '12345' },
    },
  ]);
  const router = createRouter({
    home: EAST,
    fleet: testFleet(),
    index: rig.index,
    clients: rig.regions,
    listen: { http: { host: '127.0.0.1', port: 0 } },
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
    security: plaintext,
    random: () => 0,
    poll: { everyMs: 20, deadlineMs: 200 },
    ...options,
  });
  await router.start();
  open.push(router);
  return { rig, router, url: `http://127.0.0.1:${router.addresses.http.port}` };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

/** A JSON answer of any status. */
export async function get(url: string, accept = 'application/json'): Promise<Answer> {
  const response = await fetch(url, { headers: { accept } });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}
