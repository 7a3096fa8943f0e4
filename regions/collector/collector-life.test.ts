import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Client, credentials } from '@grpc/grpc-js';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, test } from 'vitest';
import { traceService } from './otlp-grpc.js';
import { MemoryAppender } from './testing/memory-appender.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

let running: TestCollector | null = null;

afterEach(async () => {
  running?.log.settle();
  await running?.collector.stop();
  running = null;
});

async function start(...args: Parameters<typeof startTestCollector>): Promise<TestCollector> {
  running = await startTestCollector(...args);
  return running;
}

const tick = () => new Promise((resolve) => setImmediate(resolve));
const until = async (condition: () => boolean) => {
  while (!condition()) await tick();
};

async function post(url: string, body: Buffer, agent?: Agent): Promise<IncomingMessage> {
  const request = httpRequest(`${url}/v1/traces`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-protobuf', 'Content-Length': body.length },
    ...(agent && { agent }),
  });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  return response;
}

async function rawConnection(url: string, head: string): Promise<{ socket: Socket; answer: () => string }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk.toString();
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(head);
  return { socket, answer: () => answer };
}

describe('a log that hangs', () => {
  test('what is in flight never exceeds the limit; beyond it the answer is 429 at once', async () => {
    const log = new MemoryAppender(true);
    const body = encodeSpans(Array.from({ length: 50 }, (_, i) => testSpan(i)));
    // A split repeats resource and scope, so a request weighs a little more than its body.
    const inFlightBytesMax = body.length * 6;
    const { http, registry } = await start({ inFlightBytesMax, requestInflatedBytesMax: body.length }, log);
    const inFlight = async () => {
      const text = await registry.metrics();
      return Number(/meridian_collector_in_flight_bytes (\d+)/.exec(text)![1]);
    };
    const statuses: number[] = [];
    const requests = Array.from({ length: 20 }, () =>
      post(http, body).then((response) => statuses.push(response.statusCode!)),
    );
    // All that is refused is refused while nothing was settled.
    await until(() => statuses.length >= 14);
    expect(statuses.every((status) => status === 429)).toBe(true);
    expect(await inFlight()).toBeGreaterThan(body.length * 3);
    expect(await inFlight()).toBeLessThanOrEqual(inFlightBytesMax);
    log.manual = false;
    log.settle();
    await Promise.all(requests);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(4);
    expect(statuses.filter((status) => status === 200 || status === 429)).toHaveLength(20);
    expect(await inFlight()).toBe(0);
  });

  test('a body is refused before it is read: the sender still waits for `100 Continue`', async () => {
    const log = new MemoryAppender(true);
    const { http } = await start({ inFlightRequestsMax: 1 }, log);
    const held = post(http, encodeSpans([testSpan(1)]));
    await until(() => log.pending.length > 0);
    const { socket, answer } = await rawConnection(
      http,
      'POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n',
    );
    await once(socket, 'close');
    expect(answer()).toMatch(/^HTTP\/1\.1 429 /);
    expect(answer()).not.toContain('100 Continue');
    log.settle();
    expect((await held).statusCode).toBe(200);
  });

  test('`Expect: 100-continue` is answered where there is room', async () => {
    const { http } = await start();
    const body = encodeSpans([testSpan(1)]);
    const { socket, answer } = await rawConnection(
      http,
      `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
    );
    await until(() => answer().includes('100 Continue'));
    socket.write(body);
    await once(socket, 'close');
    expect(answer()).toContain('HTTP/1.1 200 OK');
  });
});

describe('slow and many clients', () => {
  test('headers that never end, and a body that never ends, are cut off', async () => {
    const { http } = await start({ headersTimeoutMs: 60, requestTimeoutMs: 120 });
    const headers = await rawConnection(http, 'POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Slow: ');
    const body = await rawConnection(
      http,
      'POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 5000\r\n\r\nslow',
    );
    await Promise.all([once(headers.socket, 'close'), once(body.socket, 'close')]);
    expect(headers.answer()).toContain('408');
    expect(running!.spans()).toEqual([]);
    expect(await running!.registry.metrics()).toMatch(/meridian_collector_in_flight_bytes 0/);
  });

  test('connections at the limit and one past it', async () => {
    const { http } = await start({ connectionsMax: 2 });
    const head = 'POST /v1/traces HTTP/1.1\r\nHost: x\r\n';
    const first = await rawConnection(http, head);
    const second = await rawConnection(http, head);
    const third = await rawConnection(http, head);
    await once(third.socket, 'close');
    expect([first.socket.destroyed, second.socket.destroyed]).toEqual([false, false]);
    first.socket.destroy();
    second.socket.destroy();
  });
});

describe('draining', () => {
  test('requests in flight are finished and acknowledged, then nothing listens', async () => {
    const log = new MemoryAppender(true);
    const { collector, http, grpc } = await start({}, log);
    const agent = new Agent({ keepAlive: true });
    const overHttp = post(http, encodeSpans([testSpan(1)]), agent);
    const client = new Client(grpc, credentials.createInsecure());
    const identity = (bytes: Buffer) => bytes;
    const overGrpc = new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        traceService.Export.path,
        identity,
        identity,
        encodeSpans([testSpan(2)]),
        (error, answer) => (error ? reject(error) : resolve(answer!)),
      );
    });
    const entries = () => log.pending.reduce((sum, { entries }) => sum + entries.length, 0);
    await until(() => entries() >= 2 || log.pending.some(({ entries }) => entries[0]!.value.length > 200));
    let stopped = false;
    const stopping = collector.stop().then(() => {
      stopped = true;
    });
    expect(await collector.health().check()).toMatchObject({ state: 'down', detail: 'draining or stopped' });
    await tick();
    expect(stopped).toBe(false);
    log.manual = false;
    log.settle();
    const response = await overHttp;
    expect([response.statusCode, response.headers.connection]).toEqual([200, 'close']);
    expect(await overGrpc).toHaveLength(0);
    await stopping;
    expect(log.appended.length).toBeGreaterThan(0);
    await expect(post(http, encodeSpans([testSpan(3)]))).rejects.toThrow('ECONNREFUSED');
    agent.destroy();
    client.close();
    await collector.stop();
  });

  test('a request that does not end holds the drain no longer than its limit', async () => {
    const log = new MemoryAppender(true);
    const { collector, http } = await start({ drainMs: 30 }, log);
    const lost = post(http, encodeSpans([testSpan(1)])).catch((error: Error) => error);
    await until(() => log.pending.length > 0);
    await collector.stop();
    expect(await lost).toBeInstanceOf(Error);
  });

  test('a port that is taken names the listener and the address, and nothing else stays open', async () => {
    const { collector } = await start();
    const taken = collector.addresses.zipkin;
    const free = { host: '127.0.0.1', port: 0 };
    const listen = { otlpGrpc: free, otlpHttp: free, zipkin: taken, jaegerThrift: free };
    await expect(startTestCollector({ listen, registry: new Registry() })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining(`Zipkin listener cannot bind 127.0.0.1:${taken.port}`),
    });
  });

  test('limits that cannot hold together are refused', async () => {
    await expect(startTestCollector({ inFlightBytesMax: 10, requestInflatedBytesMax: 11 })).rejects.toMatchObject({
      code: 'configuration',
    });
    await expect(startTestCollector({ gatherBytesMax: 10, recordBytesMax: 9 })).rejects.toMatchObject({
      code: 'configuration',
    });
  });
});
