import { once } from 'node:events';
import { connect } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { MeridianError } from '../../global/runtime/errors.js';
import { traceService, WINDOWS } from './otlp-grpc.js';
import { MemoryAppender } from './testing/memory-appender.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

let running: TestCollector | null = null;
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await running?.collector.stop();
  running = null;
});

async function start(...args: Parameters<typeof startTestCollector>) {
  running = await startTestCollector(...args);
  const client = new Client(running.grpc, credentials.createInsecure());
  clients.push(client);
  return { ...running, client, call: (body: Buffer, path?: string) => call(client, body, path) };
}

const identity = (bytes: Buffer) => bytes;

function call(client: Client, body: Buffer, path: string = traceService.Export.path): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, identity, identity, body, (error, answer) =>
      error ? reject(error) : resolve(answer!),
    );
  });
}

async function refusal(answer: Promise<Buffer>): Promise<ServiceError> {
  try {
    await answer;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error('the call was not refused');
}

/** Whether the error carries a RetryInfo: what tells OTLP clients that RESOURCE_EXHAUSTED passes. */
function hasRetryInfo(error: ServiceError): boolean {
  const [details] = error.metadata.get('grpc-status-details-bin');
  return Buffer.isBuffer(details) && details.includes('type.googleapis.com/google.rpc.RetryInfo');
}

describe('OTLP/gRPC', () => {
  test('full and partial success', async () => {
    const { call, spans } = await start();
    expect(await call(encodeSpans([testSpan(1), testSpan(2)]))).toHaveLength(0);
    const answer = await call(encodeSpans([testSpan(3), testSpan(4, { spanId: Buffer.alloc(8) })]));
    expect(answer.toString()).toContain('1 of 2 spans rejected: #1');
    expect(spans()).toHaveLength(3);
    expect(await call(Buffer.alloc(0))).toHaveLength(0);
  });

  test('takes several batches of an SDK at once without round trips for more room', async () => {
    const { grpc } = await start();
    const session = connect(`http://${grpc}`);
    try {
      const [settings] = await once(session, 'remoteSettings');
      expect(settings.initialWindowSize).toBe(WINDOWS.streamBytes);
      // The connection's window comes in a frame of its own.
      while (session.state.remoteWindowSize !== WINDOWS.connectionBytes) {
        await new Promise((resolve) => session.ping(resolve));
      }
    } finally {
      session.destroy();
    }
  });

  test('malformed: INVALID_ARGUMENT, not to be sent again', async () => {
    const { call } = await start();
    const error = await refusal(call(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(hasRetryInfo(error)).toBe(false);
  });

  test.each([
    ['unavailable', status.UNAVAILABLE],
    ['overloaded', status.RESOURCE_EXHAUSTED],
  ] as const)('a log that is %s: retryable, with a RetryInfo', async (code, grpcStatus) => {
    const { call, log } = await start();
    log.failWith = new MeridianError(code, 'half a pair: \ud83d', 'later');
    const error = await refusal(call(encodeSpans([testSpan(1)])));
    expect(error.code).toBe(grpcStatus);
    expect(error.details).toContain('half a pair');
    expect(hasRetryInfo(error)).toBe(true);
  });

  test('message size at the limit and one past it: permanent, without a RetryInfo', async () => {
    const body = encodeSpans([testSpan(1)]);
    const exact = await start({ requestBytesMax: body.length });
    expect(await exact.call(body)).toHaveLength(0);
    await running?.collector.stop();
    const past = await start({ requestBytesMax: body.length - 1 });
    const error = await refusal(past.call(body));
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(hasRetryInfo(error)).toBe(false);
  });

  test('a compressed bomb is refused at the limit', async () => {
    const { grpc } = await start({ requestBytesMax: 100_000 });
    expect(gzipSync(Buffer.alloc(20_000_000)).length).toBeLessThan(100_000);
    const client = new Client(grpc, credentials.createInsecure(), { 'grpc.default_compression_algorithm': 2 });
    clients.push(client);
    const error = await refusal(call(client, Buffer.alloc(20_000_000)));
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(hasRetryInfo(error)).toBe(false);
  });

  test('spans in a request, one past the limit: permanent', async () => {
    const { call } = await start({ spansPerRequestMax: 2 });
    expect(await call(encodeSpans([testSpan(1), testSpan(2)]))).toHaveLength(0);
    expect(await refusal(call(encodeSpans([testSpan(1), testSpan(2), testSpan(3)])))).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });

  test('other services are not served', async () => {
    const { call } = await start();
    const path = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
    expect(await refusal(call(Buffer.alloc(0), path))).toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test('with as many requests in flight as may be, one more is refused at once and retryable', async () => {
    const log = new MemoryAppender(true);
    const { call } = await start({ inFlightRequestsMax: 2 }, log);
    const held = [call(encodeSpans([testSpan(1)])), call(encodeSpans([testSpan(1)]))];
    while (log.pending.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const error = await refusal(call(encodeSpans([testSpan(2)])));
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(error.details).toContain('inFlightRequestsMax');
    expect(hasRetryInfo(error)).toBe(true);
    log.manual = false;
    log.settle();
    expect(await Promise.all(held)).toHaveLength(2);
  });

  test('a call whose message never comes is ended, and one too many of them is refused', async () => {
    const { client, grpc } = await start({ requestTimeoutMs: 200, grpcReceivingMax: 1 });
    const openStream = (from: Client) =>
      new Promise<ServiceError>((resolve) => {
        from
          .makeClientStreamRequest(traceService.Export.path, identity, identity, new Metadata(), (error) =>
            resolve(error!),
          )
          .on('error', () => {});
      });
    const other = new Client(grpc, credentials.createInsecure());
    clients.push(other);
    const errors = await Promise.all([openStream(client), openStream(other)]);
    expect(errors.map((error) => error.code).sort((a, b) => a - b)).toEqual([
      status.RESOURCE_EXHAUSTED,
      status.UNAVAILABLE,
    ]);
    expect(errors.map(hasRetryInfo)).toEqual([true, true]);
  });
});
