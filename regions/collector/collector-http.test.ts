import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../global/model/limits.js';
import { MeridianError } from '../../global/runtime/errors.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

let running: TestCollector | null = null;

afterEach(async () => {
  await running?.collector.stop();
  running = null;
});

async function start(...args: Parameters<typeof startTestCollector>): Promise<TestCollector> {
  running = await startTestCollector(...args);
  return running;
}

const PROTOBUF = { 'Content-Type': 'application/x-protobuf' };
const JSON_TYPE = { 'Content-Type': 'application/json' };

function post(url: string, body: Buffer | string, headers: Record<string, string> = PROTOBUF): Promise<Response> {
  return fetch(url, { method: 'POST', body, headers });
}

/** The JSON of an answer, in all the shapes that are looked at here. */
interface Answer {
  code?: string;
  message: string;
  accepted: number;
  rejected: { index: number }[];
}
const jsonOf = async (response: Response) => (await response.json()) as Answer;

const nativeSpan = (number: number, more: object = {}) => ({
  trace_id: `${number}`.padStart(32, 'a'),
  span_id: `${number}`.padStart(16, 'b'),
  service_name: number % 2 ? 'odd' : 'even',
  operation_name: `op ${number}`,
  start_time: Date.now() * 1000,
  duration: 1000,
  ...more,
});

describe('OTLP/HTTP', () => {
  test('full success is an empty response, in the encoding of the request', async () => {
    const { http, spans } = await start();
    const protobuf = await post(`${http}/v1/traces`, encodeSpans([testSpan(1), testSpan(2)]));
    expect([protobuf.status, protobuf.headers.get('content-type')]).toEqual([200, 'application/x-protobuf']);
    expect(await protobuf.arrayBuffer()).toHaveProperty('byteLength', 0);
    const json = await post(`${http}/v1/traces`, '{"resourceSpans":[]}', JSON_TYPE);
    expect([json.status, json.headers.get('content-type'), await json.text()]).toEqual([200, 'application/json', '{}']);
    expect(spans()).toHaveLength(2);
  });

  test('a bad span is named and the others are stored', async () => {
    const { http, spans, registry } = await start();
    const long = { attributes: [{ key: 'k', value: { stringValue: 'x'.repeat(LIMITS.attributeValueBytesMax + 1) } }] };
    const fits = { attributes: [{ key: 'k', value: { stringValue: 'x'.repeat(LIMITS.attributeValueBytesMax) } }] };
    const bad = testSpan(2, { traceId: Buffer.alloc(16) });
    const body = encodeSpans([testSpan(0), testSpan(1, fits), bad, testSpan(3, long)]);
    const response = await post(`${http}/v1/traces`, body);
    expect(response.status).toBe(200);
    const answer = Buffer.from(await response.arrayBuffer()).toString();
    expect(answer).toContain('2 of 4 spans rejected: #2 span 0000000000000003');
    expect(answer).toContain('#3 span 0000000000000004');
    expect(
      spans()
        .map(({ span }) => span.name)
        .sort(),
    ).toEqual(['span 0', 'span 1']);
    const metrics = await registry.metrics();
    expect(metrics).toMatch(/meridian_collector_spans_accepted_total\{protocol="otlp-http-protobuf"\} 2/);
    expect(metrics).toMatch(/meridian_collector_spans_rejected_total\{protocol="otlp-http-protobuf",code="[^"]+"\} 1/);
    expect(metrics).toMatch(/meridian_collector_in_flight_bytes 0/);
  });

  test('partial success in JSON', async () => {
    const { http, spans } = await start();
    const span = { spanId: '00f067aa0ba902b7', name: 'a', startTimeUnixNano: `${Date.now()}000000`, kind: 1 };
    const body = {
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                { ...span, traceId: '4bf92f3577b34da6a3ce929d0e0e4736' },
                { ...span, traceId: '0'.repeat(32) },
              ],
            },
          ],
        },
      ],
    };
    const response = await post(`${http}/v1/traces`, JSON.stringify(body), JSON_TYPE);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      partialSuccess: { rejectedSpans: '1', errorMessage: expect.stringContaining('1 of 2 spans rejected: #1') },
    });
    expect(spans()).toHaveLength(1);
  });

  test('what cannot be parsed is a Status with 400', async () => {
    const { http } = await start();
    const protobuf = await post(`${http}/v1/traces`, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    expect([protobuf.status, protobuf.headers.get('content-type')]).toEqual([400, 'application/x-protobuf']);
    expect(Buffer.from(await protobuf.arrayBuffer()).subarray(0, 2)).toEqual(Buffer.from([0x08, 3]));
    const json = await post(`${http}/v1/traces`, '{"resourceSpans":', JSON_TYPE);
    expect(json.status).toBe(400);
    expect(await json.json()).toMatchObject({ code: 3, message: expect.any(String) });
    expect(json.headers.get('retry-after')).toBeNull();
  });

  test.each([
    ['unavailable', 503, 14],
    ['overloaded', 429, 8],
  ] as const)('a log that is %s: %i with Retry-After, and nothing acknowledged', async (code, status, grpcStatus) => {
    const { http, log, collector } = await start();
    log.failWith = new MeridianError(code, 'the log says no', 'later', { retryAfterMs: 2500 });
    const response = await post(`${http}/v1/traces`, '{"resourceSpans":[]}', JSON_TYPE);
    expect(response.status).toBe(200);
    const refused = await post(`${http}/v1/traces`, encodeSpans([testSpan(1)]));
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([status, '3']);
    expect(Buffer.from(await refused.arrayBuffer()).subarray(0, 2)).toEqual(Buffer.from([0x08, grpcStatus]));
    expect(await collector.health().check()).toMatchObject({
      state: 'down',
      detail: expect.stringContaining('says no'),
    });
    log.failWith = null;
    expect((await post(`${http}/v1/traces`, encodeSpans([testSpan(1)]))).status).toBe(200);
    expect(await collector.health().check()).toMatchObject({ state: 'ok' });
  });

  test('what is not served says what is', async () => {
    const { http } = await start();
    const unknown = await post(`${http}/v1/metrics`, 'x');
    expect([unknown.status, (await jsonOf(unknown)).code]).toEqual([404, 'unknown-path']);
    const get = await fetch(`${http}/v1/traces`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST, OPTIONS']);
    const text = await post(`${http}/v1/traces`, 'x', { 'Content-Type': 'text/plain' });
    expect(text.status).toBe(415);
    expect((await jsonOf(text)).message).toContain('application/x-protobuf');
    const brotli = await post(`${http}/v1/traces`, 'x', { ...PROTOBUF, 'Content-Encoding': 'br' });
    expect(brotli.status).toBe(415);
    const parameters = await post(`${http}/v1/traces?x=1`, '{}', { 'Content-Type': 'Application/JSON; charset=utf-8' });
    expect(parameters.status).toBe(200);
  });

  test('body limits, as sent and inflated, at the limit and one past it', async () => {
    const body = encodeSpans([testSpan(1, { attributes: [{ key: 'k', value: { stringValue: 'x'.repeat(2000) } }] })]);
    const exact = { requestBytesMax: body.length, requestInflatedBytesMax: body.length };
    const { http } = await start(exact);
    expect((await post(`${http}/v1/traces`, body)).status).toBe(200);
    expect((await post(`${http}/v1/traces`, gzipSync(body), { ...PROTOBUF, 'Content-Encoding': 'gzip' })).status).toBe(
      200,
    );
    await running?.collector.stop();
    const past = await start({ requestBytesMax: body.length - 1, requestInflatedBytesMax: body.length - 1 });
    expect((await post(`${past.http}/v1/traces`, body)).status).toBe(413);
    const inflated = await post(`${past.http}/v1/traces`, gzipSync(body), { ...PROTOBUF, 'Content-Encoding': 'gzip' });
    expect([inflated.status, inflated.headers.get('retry-after')]).toEqual([413, null]);
  });

  test('a body far beyond the limit still gets its answer', async () => {
    const { http } = await start({ requestBytesMax: 1_000_000 });
    for (const body of [Buffer.alloc(3_900_000), new Blob([Buffer.alloc(3_900_000)]).stream()]) {
      const init = { method: 'POST', body, headers: PROTOBUF, duplex: 'half' } as RequestInit;
      const response = await fetch(`${http}/v1/traces`, init);
      expect(response.status).toBe(413);
      await response.arrayBuffer();
    }
    expect((await post(`${http}/v1/traces`, encodeSpans([testSpan(1)]))).status).toBe(200);
  });

  test('spans in a request, at the limit and one past it', async () => {
    const { http } = await start({ spansPerRequestMax: 3 });
    const request = (count: number) => encodeSpans(Array.from({ length: count }, (_, i) => testSpan(i)));
    expect((await post(`${http}/v1/traces`, request(3))).status).toBe(200);
    expect((await post(`${http}/v1/traces`, request(4))).status).toBe(413);
  });

  test('pages of listed origins may send', async () => {
    const { http } = await start({ corsOrigins: ['https://shop.example'] });
    const asked = {
      Origin: 'https://shop.example',
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'content-type',
    };
    const preflight = await fetch(`${http}/v1/traces`, { method: 'OPTIONS', headers: asked });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([
      204,
      'https://shop.example',
    ]);
    const sent = await post(`${http}/v1/traces`, '{}', { ...JSON_TYPE, Origin: 'https://shop.example' });
    expect([sent.status, sent.headers.get('access-control-allow-origin')]).toEqual([200, 'https://shop.example']);
    const foreign = await post(`${http}/v1/traces`, '{}', { ...JSON_TYPE, Origin: 'https://other.example' });
    expect(foreign.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('redaction', () => {
  test('nothing sensitive reaches the log', async () => {
    const { http, log, registry } = await start();
    const attributes = [
      { key: 'user.password', value: { stringValue: 'hunter2-secret' } },
      { key: 'user.id', value: { stringValue: 'customer-4711' } },
      { key: 'kept', value: { stringValue: 'harmless' } },
    ];
    expect((await post(`${http}/v1/traces`, encodeSpans([testSpan(1, { attributes })]))).status).toBe(200);
    const stored = Buffer.concat(log.values()).toString('latin1');
    expect(stored).toContain('harmless');
    expect(stored).not.toContain('hunter2-secret');
    expect(stored).not.toContain('customer-4711');
    expect(await registry.metrics()).toMatch(/meridian_collector_spans_redacted_total 1/);
  });
});

describe('native spans', () => {
  test('202 with what was accepted and what was not, by index in the request', async () => {
    const { http, spans } = await start();
    const body = {
      spans: [
        nativeSpan(1),
        nativeSpan(2, { span_id: 'nonsense' }),
        nativeSpan(3, { tags: { k: 'x'.repeat(LIMITS.attributeValueBytesMax + 1) } }),
        nativeSpan(4),
        nativeSpan(5, { tags: { ['k'.repeat(LIMITS.attributeKeyBytesMax + 1)]: 1 } }),
      ],
    };
    const response = await post(`${http}/v1/spans`, JSON.stringify(body), JSON_TYPE);
    expect(response.status).toBe(202);
    const answer = await jsonOf(response);
    expect(answer.accepted).toBe(2);
    expect(answer.rejected.map(({ index }) => index)).toEqual([1, 2, 4]);
    for (const rejected of answer.rejected) {
      expect(rejected).toEqual({ index: expect.any(Number), code: expect.any(String), message: expect.any(String) });
    }
    expect(
      spans()
        .map(({ span }) => span.name)
        .sort(),
    ).toEqual(['op 1', 'op 4']);
  });

  test('a bare array, gzip, and all rejected: 202; what cannot be parsed: 400 and a problem', async () => {
    const { http } = await start();
    const bare = await post(`${http}/v1/spans`, JSON.stringify([nativeSpan(1)]), JSON_TYPE);
    expect([bare.status, await bare.json()]).toEqual([202, { accepted: 1, rejected: [] }]);
    const gzip = { ...JSON_TYPE, 'Content-Encoding': 'gzip' };
    const zipped = await post(`${http}/v1/spans`, gzipSync(JSON.stringify([nativeSpan(1)])), gzip);
    expect((await jsonOf(zipped)).accepted).toBe(1);
    const none = await post(`${http}/v1/spans`, JSON.stringify([{}]), JSON_TYPE);
    expect([none.status, (await jsonOf(none)).accepted]).toEqual([202, 0]);
    const broken = await post(`${http}/v1/spans`, '[{', JSON_TYPE);
    expect([broken.status, broken.headers.get('content-type')]).toEqual([400, 'application/problem+json']);
    expect(await broken.json()).toMatchObject({ code: 'malformed', retry: 'never', status: 400 });
  });
});

describe('Zipkin and Jaeger', () => {
  const zipkinSpan = (id: string) => ({
    traceId: '4bf92f3577b34da6',
    id,
    name: 'get',
    timestamp: Date.now() * 1000,
    duration: 5,
    localEndpoint: { serviceName: 'z' },
  });

  test('Zipkin: 202 and nothing, or the names of the rejected', async () => {
    const { zipkin, spans } = await start();
    const good = await post(`${zipkin}/api/v2/spans`, JSON.stringify([zipkinSpan('00000000000000aa')]), JSON_TYPE);
    expect([good.status, await good.text()]).toEqual([202, '']);
    const mixed = JSON.stringify([zipkinSpan('nonsense'), zipkinSpan('00000000000000ab')]);
    const partly = await post(`${zipkin}/api/v2/spans`, mixed, JSON_TYPE);
    expect(partly.status).toBe(202);
    expect(await partly.json()).toMatchObject({ accepted: 1, rejected: [{ index: 0 }] });
    expect(spans()).toHaveLength(2);
    expect((await post(`${zipkin}/api/v2/spans`, '{}', JSON_TYPE)).status).toBe(400);
    expect((await post(`${zipkin}/v1/traces`, '{}', JSON_TYPE)).status).toBe(404);
  });

  test('Jaeger: its content types and no others; garbage is malformed', async () => {
    const { jaegerThrift } = await start();
    const url = `${jaegerThrift}/api/traces?format=jaeger.thrift`;
    for (const type of ['application/x-thrift', 'application/vnd.apache.thrift.binary']) {
      const garbage = await post(url, Buffer.from([0xff, 0xff, 0xff]), { 'Content-Type': type });
      expect([garbage.status, (await jsonOf(garbage)).code]).toEqual([400, 'malformed']);
    }
    expect((await post(url, '{}', JSON_TYPE)).status).toBe(415);
  });
});
