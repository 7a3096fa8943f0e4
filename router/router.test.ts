import { describe, expect, test } from 'vitest';
import { readSpanViews } from '../global/otlp/span-view.js';
import { MeridianError } from '../global/runtime/errors.js';
import { ROUTES } from './api/routes.js';
import { spanId, TRACE, traceId } from './testing/otlp-spans.js';
import { EAST, EUROPE, WEST } from './testing/query-rig.js';
import { get, MS, NOW, startRouter } from './testing/router-rig.js';

describe('GET /v1/traces/{traceId}', () => {
  test('native JSON as the surface promises', async () => {
    const { url } = await startRouter();
    const { status, headers, body } = await get(`${url}/v1/traces/${TRACE}`);
    expect(status).toBe(200);
    expect(headers.get('meridian-complete')).toBe('true');
    expect(Object.keys(body)).toEqual([
      'traceId',
      'complete',
      'regions',
      'root',
      'startTimeUnixNano',
      'durationNano',
      'spanCount',
      'errorCount',
      'services',
      'spans',
      'warnings',
    ]);
    expect(body).toMatchObject({
      traceId: TRACE,
      complete: true,
      root: { spanId: spanId(1), service: 'gateway', operation: 'GET /' },
      startTimeUnixNano: String(NOW),
      durationNano: String(50n * MS),
      spanCount: 2,
      errorCount: 1,
      services: [
        { name: 'gateway', spanCount: 1, errorCount: 0 },
        { name: 'orders', spanCount: 1, errorCount: 1 },
      ],
      warnings: [],
      spans: [
        { spanId: spanId(1), parentSpanId: null, region: EAST, kind: 'server', depth: 0, onCriticalPath: true },
        {
          spanId: spanId(2),
          parentSpanId: spanId(1),
          region: WEST,
          operation: 'work',
          status: { code: 'error' },
          attributes: { 'customer.id': '12345' },
          resource: { 'service.name': 'orders' },
          depth: 1,
          onCriticalPath: true,
        },
      ],
    });
  });

  test('ids in capitals are found; protobuf and OTLP JSON by Accept', async () => {
    const { url } = await startRouter();
    const protobuf = await fetch(`${url}/v1/traces/${TRACE.toUpperCase()}`, {
      headers: { accept: 'application/x-protobuf' },
    });
    expect(protobuf.headers.get('content-type')).toBe('application/x-protobuf');
    expect(protobuf.headers.get('meridian-complete')).toBe('true');
    const views = readSpanViews(Buffer.from(await protobuf.arrayBuffer()));
    expect(views.map((v) => v.service)).toEqual(['gateway', 'orders']);
    const otlpJson = await get(`${url}/v1/traces/${TRACE}`, 'application/otlp+json');
    expect(otlpJson.headers.get('content-type')).toContain('application/otlp+json');
    expect((otlpJson.body.resourceSpans as unknown[]).length).toBe(2);
  });

  test('explain adds plan and times', async () => {
    const { url } = await startRouter();
    const { body } = await get(`${url}/v1/traces/${TRACE}?explain=1`);
    expect(body.explain).toMatchObject({
      plan: [{ code: 'has-record' }, { code: 'has-record' }, { action: 'ask', code: 'no-watermark' }],
      timingsMs: { index: expect.any(Number), regions: expect.any(Number) },
    });
  });

  test('a region down: partial with warn, 503 with refuse, for protobuf in headers', async () => {
    const { rig, url } = await startRouter();
    rig.at(WEST).mode = { kind: 'failing', error: new MeridianError('unavailable', 'connection refused', 'later') };
    const warned = await get(`${url}/v1/traces/${TRACE}?deadline=300ms`);
    expect(warned.status).toBe(200);
    expect(warned.body).toMatchObject({ complete: false, spanCount: 1 });
    const missing = (warned.body.regions as { region: string; state: string; reason: string; since: string }[])[1]!;
    expect(missing).toMatchObject({ region: WEST, state: 'unavailable' });
    expect(missing.reason).toContain('connection refused');
    expect(Number.isNaN(Date.parse(missing.since))).toBe(false);
    const refused = await get(`${url}/v1/traces/${TRACE}?deadline=300ms&partial=refuse`);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('content-type')).toContain('application/problem+json');
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.body).toMatchObject({ code: 'unavailable', retry: 'later', status: 503 });
    const bytes = await fetch(`${url}/v1/traces/${TRACE}?deadline=300ms`, {
      headers: { accept: 'application/x-protobuf' },
    });
    expect(bytes.headers.get('meridian-complete')).toBe('false');
    expect(bytes.headers.get('meridian-missing-regions')).toBe(WEST);
    await bytes.arrayBuffer();
  });

  test('unknown everywhere: 404; not so while a region is missing; 503 where none could be asked', async () => {
    const { rig, url } = await startRouter();
    const other = traceId(99);
    const absent = await get(`${url}/v1/traces/${other}`);
    expect(absent.status).toBe(404);
    expect(absent.body).toMatchObject({ code: 'not-found', complete: true });
    rig.at(WEST).mode = { kind: 'failing', error: new MeridianError('refused', 'no', 'never') };
    const partly = await get(`${url}/v1/traces/${other}`);
    expect(partly.status).toBe(200);
    expect(partly.body).toMatchObject({ complete: false, spans: [], root: null, startTimeUnixNano: '0' });
    for (const region of [EAST, EUROPE]) rig.at(region).mode = rig.at(WEST).mode;
    expect((await get(`${url}/v1/traces/${other}`)).status).toBe(503);
  });

  test.each([
    ['/v1/traces/xyz', 'no trace id'],
    [`/v1/traces/${'0'.repeat(32)}`, 'no trace id'],
    [`/v1/traces/${TRACE}?partail=warn`, 'did you mean "partial"?'],
    [`/v1/traces/${TRACE}?partial=maybe`, 'one of warn, refuse'],
    [`/v1/traces/${TRACE}?deadline=9ms`, 'between 10ms and 60s'],
    [`/v1/traces/${TRACE}?deadline=60001ms`, 'between 10ms and 60s'],
    [`/v1/traces/${TRACE}?deadline=5`, 'a duration such as'],
    [`/v1/traces/${TRACE}?explain=1&explain=1`, 'more than once'],
    ['/v1/traces?limit=0', 'from 1 to 1000'],
    ['/v1/traces?limit=1001', 'from 1 to 1000'],
    ['/v1/traces?start=yesterday', 'a time'],
    ['/v1/traces?start=20&end=10', 'after end'],
    ['/v1/traces?timeRange=5m&start=10', 'without start and end'],
    ['/v1/traces?attr=novalue', 'key=value'],
    ['/v1/traces?regions=us-east-2', 'did you mean "us-east-1"?'],
    ['/v1/traces?kind=sever', 'one of unspecified'],
    ['/v1/traces?minDuration=2s&maxDuration=1s', 'larger than maxDuration'],
    ['/v1/traces?cursor=abc', 'cursor'],
    [`/v1/traces?${'attr=a%3Db&'.repeat(17)}`, 'more than 16 values'],
    ['/v1/fleet?x=1', 'there are none here'],
  ])('400: %s', async (path, detail) => {
    const { url } = await startRouter();
    const { status, body } = await get(`${url}${path}`);
    expect(status).toBe(400);
    expect(body).toMatchObject({ status: 400, retry: 'never', instance: path.split('?')[0] });
    expect(body.detail).toContain(detail);
    expect(body.type).toMatch(/^urn:meridian:problem:/);
  });
});

describe('the other routes', () => {
  test('GET /v1/traces: a page, then the next by cursor', async () => {
    const { rig, url } = await startRouter();
    for (let i = 0; i < 5; i++) {
      const at = NOW - BigInt(i + 1) * 1000n * MS;
      rig.store(EUROPE, [
        { traceId: traceId(1000 + i), spanId: spanId(1), service: 'gateway', start: at, end: at + MS },
      ]);
    }
    const first = await get(`${url}/v1/traces?service=gateway&limit=4`);
    expect(first.body).toMatchObject({
      complete: true,
      traces: [
        {
          traceId: TRACE,
          root: { service: 'gateway', operation: 'GET /' },
          startTimeUnixNano: String(NOW),
          durationNano: String(50n * MS),
          spanCount: 2,
          errorCount: 1,
          regions: [EAST, WEST],
        },
        { traceId: traceId(1000) },
        { traceId: traceId(1001) },
        { traceId: traceId(1002) },
      ],
    });
    const cursor = encodeURIComponent(String(first.body.nextCursor));
    const second = await get(`${url}/v1/traces?service_name=gateway&limit=4&cursor=${cursor}`);
    expect(second.body).toMatchObject({
      nextCursor: null,
      traces: [{ traceId: traceId(1003) }, { traceId: traceId(1004) }],
    });
    const other = await get(`${url}/v1/traces?service=orders&cursor=${cursor}`);
    expect(other.status).toBe(400);
    expect(other.body.detail).toContain('other conditions');
  });

  test('GET /v1/traces: a service that is elsewhere in the trace', async () => {
    const { url } = await startRouter();
    const found = await get(`${url}/v1/traces?service=gateway&service=orders`);
    expect(found.body.traces).toHaveLength(1);
    const none = await get(`${url}/v1/traces?service=gateway&service=payments`);
    expect(none.body).toMatchObject({ traces: [], nextCursor: null, complete: true });
  });

  test('GET /v1/index/{traceId}', async () => {
    const { rig, url } = await startRouter();
    rig.index.watermarkAll(EUROPE, 8, NOW - 1000n * MS);
    const { body } = await get(`${url}/v1/index/${TRACE}`);
    expect(body).toMatchObject({
      traceId: TRACE,
      records: [
        { region: EAST, startTimeUnixNano: String(NOW), endTimeUnixNano: String(NOW + 50n * MS), spanCount: 1 },
        { region: WEST, errorCount: 1, root: null, services: [{ name: 'orders', spanCount: 1, errorCount: 1 }] },
      ],
      watermarks: [{ region: EUROPE, watermarkUnixNano: String(NOW - 1000n * MS), lagMs: expect.any(Number) }],
      plan: [
        { region: EAST, action: 'ask' },
        { region: WEST, action: 'ask' },
        { region: EUROPE, action: 'ask', why: expect.stringContaining('short of the end') },
      ],
    });
    expect(body.folded).toEqual([]);
    rig.index.fold(TRACE, { region: EUROPE, startUnixNanoMin: 5n, endUnixNanoMax: 9n });
    const folded = (await get(`${url}/v1/index/${TRACE}`)).body;
    expect(folded).toMatchObject({
      folded: [{ region: EUROPE, startTimeUnixNanoMin: '5', endTimeUnixNanoMax: '9' }],
      plan: [{ code: 'has-record' }, { code: 'has-record' }, { region: EUROPE, action: 'ask', code: 'may-be-folded' }],
    });
    rig.index.error = new Error('gone');
    expect((await get(`${url}/v1/index/${TRACE}`)).status).toBe(503);
  });

  test('GET /v1/services, operations and dependencies', async () => {
    const { rig, url } = await startRouter();
    rig.index.entries.push(
      { region: EAST, service: 'gateway', operation: 'GET /', kind: 2, lastSeenMs: 5 },
      { region: WEST, service: 'gateway', operation: 'GET /', kind: 2, lastSeenMs: 7 },
      { region: WEST, service: 'orders', operation: 'work', kind: 1, lastSeenMs: 6 },
    );
    expect((await get(`${url}/v1/services`)).body).toEqual({
      services: [
        { name: 'gateway', regions: [EAST, WEST], operationCount: 1, lastSeenUnixNano: '7000000' },
        { name: 'orders', regions: [WEST], operationCount: 1, lastSeenUnixNano: '6000000' },
      ],
    });
    expect((await get(`${url}/v1/services/gateway/operations`)).body).toEqual({
      service: 'gateway',
      operations: [{ name: 'GET /', kind: 'server', regions: [EAST, WEST], lastSeenUnixNano: '7000000' }],
    });
    expect((await get(`${url}/v1/services/nobody/operations`)).status).toBe(404);
    expect((await get(`${url}/v1/dependencies`)).body).toMatchObject({
      dependencies: [{ parent: 'gateway', child: 'orders', callCount: 1, errorCount: 1 }],
      traceCount: 1,
      complete: true,
    });
  });

  test('GET /v1/fleet follows a region down and up', async () => {
    const { rig, url } = await startRouter();
    const stateOf = async (region: string) => {
      const { body } = await get(`${url}/v1/fleet`);
      return (body.regions as { region: string; state: string; since: string | null }[]).find(
        (r) => r.region === region,
      )!;
    };
    const until = async (state: string) => {
      for (;;) {
        const now = await stateOf(WEST);
        if (now.state === state) return now;
      }
    };
    expect(await until('healthy')).toMatchObject({ standby: EUROPE, standbyFor: [EAST], ingestPointsAt: WEST });
    rig.at(WEST).mode = { kind: 'failing', error: new MeridianError('unavailable', 'connection refused', 'later') };
    expect(await until('suspect')).toMatchObject({ reason: 'connection refused', since: expect.any(String) });
    rig.at(WEST).mode = { kind: 'well' };
    await until('healthy');
    const { body } = await get(`${url}/v1/traces/${TRACE}`);
    expect(body.complete).toBe(true);
  });

  test('health, metrics, the document, the pointer page, what is not there', async () => {
    const { url } = await startRouter();
    expect((await get(`${url}/healthz`)).status).toBe(200);
    expect((await get(`${url}/readyz`)).status).toBe(200);
    const deep = await get(`${url}/health/deep`);
    expect((deep.body.parts as { part: string }[]).map((p) => p.part)).toEqual([
      'index',
      `region ${EAST}`,
      `region ${WEST}`,
      `region ${EUROPE}`,
    ]);
    await get(`${url}/v1/traces/${TRACE}`);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toContain('meridian_router_requests_total{route="/v1/traces/{traceId}",code="200"} 1');
    expect(metrics).toContain(
      `meridian_router_region_outcomes_total{region="${WEST}",operation="trace",outcome="answered"} 1`,
    );
    expect(metrics).toContain(`meridian_router_breaker_open_state{region="${WEST}"} 0`);
    expect((await fetch(url)).status).toBe(200);
    const lost = await get(`${url}/v2/traces`);
    expect(lost.status).toBe(404);
    expect(lost.body.code).toBe('not-found');
    const posted = await fetch(`${url}/v1/traces`, { method: 'POST' });
    expect(posted.status).toBe(405);
    expect(posted.headers.get('allow')).toBe('GET, HEAD');
  });

  test('the OpenAPI document describes every route and parameter, and nothing else', async () => {
    const { url } = await startRouter();
    const { body } = await get(`${url}/v1/openapi.json`);
    const paths = body.paths as Record<string, { get: { parameters: { name: string }[]; responses: object } }>;
    expect(Object.keys(paths).sort()).toEqual(ROUTES.map((r) => r.path).sort());
    for (const route of ROUTES) {
      const names = [...route.pathParameters, ...route.parameters].flatMap((p) => [p.name, ...(p.aliases ?? [])]);
      expect(paths[route.path]!.get.parameters.map((p) => p.name)).toEqual(names);
    }
    const text = JSON.stringify(body);
    const schemas = (body.components as { schemas: Record<string, object> }).schemas;
    for (const [, name] of text.matchAll(/#\/components\/schemas\/(\w+)/g)) expect(schemas).toHaveProperty(name!);
    expect(body.openapi).toBe('3.1.0');
  });
});

test('a taken port is named; stopping twice is harmless; a stopping router takes nothing', async () => {
  const { router } = await startRouter();
  const { host, port } = router.addresses.http;
  await expect(startRouter({ listen: { http: { host, port } } })).rejects.toMatchObject({
    code: 'configuration',
    message: expect.stringContaining(String(port)),
  });
  await router.stop();
  await router.stop();
  await expect(fetch(`http://${host}:${port}/healthz`)).rejects.toThrow();
});
