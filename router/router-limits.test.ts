import { request as httpRequest } from 'node:http';
import { describe, expect, test } from 'vitest';
import { TRACE } from './testing/otlp-spans.js';
import { WEST } from './testing/query-rig.js';
import { get, startRouter } from './testing/router-rig.js';

describe('limits of the router', () => {
  test('one request more than it takes at a time is told to come back', async () => {
    const { rig, url, router } = await startRouter({ requestsMax: 1, drainMs: 10 });
    rig.at(WEST).mode = { kind: 'hung' };
    rig.at(WEST).statusMode = { kind: 'well' };
    const slow = get(`${url}/v1/traces/${TRACE}?deadline=60s`).catch(() => null);
    while (rig.at(WEST).callCount('getTrace') === 0) await new Promise((resolve) => setImmediate(resolve));
    const second = await get(`${url}/v1/fleet`);
    expect(second.status).toBe(503);
    expect(second.body.code).toBe('overloaded');
    await router.stop();
    expect(await slow).toBeNull();
  });

  test('a query string at the limit is read, one character longer is not', async () => {
    const { url } = await startRouter();
    const path = '/v1/traces?operation=';
    const room = 14_000 - 'operation='.length;
    expect((await get(`${url}${path}${'x'.repeat(room)}`)).status).toBe(200);
    const longer = await get(`${url}${path}${'x'.repeat(room + 1)}`);
    expect(longer.status).toBe(413);
    expect(longer.body.code).toBe('too-large');
  });

  test('a caller that hangs up ends the calls to the regions', async () => {
    const { rig, url } = await startRouter();
    rig.at(WEST).mode = { kind: 'slow', ms: 60_000 };
    const calling = httpRequest(`${url}/v1/traces/${TRACE}?deadline=60s`);
    calling.on('error', () => {});
    calling.end();
    while (rig.at(WEST).callCount('getTrace') === 0) await new Promise((resolve) => setImmediate(resolve));
    calling.destroy();
    for (;;) {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      if (metrics.includes('code="499"')) break;
    }
    expect((await get(`${url}/healthz`)).status).toBe(200);
  });
});
