import { gzipSync } from 'node:zlib';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { traceService } from './otlp-grpc.js';
import { encodeSpans, startTestCollector, type TestCollector, testSpan } from './testing/test-collector.js';

let collector: TestCollector;
let grpc: Client;

beforeAll(async () => {
  collector = await startTestCollector();
  grpc = new Client(collector.grpc, credentials.createInsecure());
});

afterAll(async () => {
  grpc.close();
  await collector.collector.stop();
});

const OTLP = encodeSpans([testSpan(1), testSpan(2, { attributes: [{ key: 'k', value: { stringValue: 'v' } }] })]);
const JSON_BODY = Buffer.from(
  JSON.stringify([
    { traceId: '4bf92f3577b34da6', id: '00f067aa0ba902b7', name: 'a', timestamp: 1, tags: { a: 'b' } },
    { trace_id: '4bf92f3577b34da6', span_id: '00f067aa0ba902b7', operation_name: 'a', start_time: 1, duration: 1 },
  ]),
);

/** A valid body with bytes changed, cut off or doubled, or no body at all. */
const damaged = (body: Buffer) =>
  fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc
      .record({
        at: fc.nat(body.length - 1),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
        cut: fc.option(fc.nat(body.length)),
      })
      .map(({ at, bytes, cut }) => {
        const copy = Buffer.from(body);
        copy.set(bytes.subarray(0, copy.length - at), at);
        return cut === null ? copy : copy.subarray(0, cut);
      }),
  );

describe('whatever is sent', () => {
  const targets = [
    ['/v1/traces', 'application/x-protobuf', OTLP, () => collector.http],
    ['/v1/traces', 'application/json', JSON_BODY, () => collector.http],
    ['/v1/spans', 'application/json', JSON_BODY, () => collector.http],
    ['/api/v2/spans', 'application/json', JSON_BODY, () => collector.zipkin],
    ['/api/traces', 'application/x-thrift', OTLP, () => collector.jaegerThrift],
  ] as const;

  test.each(targets)('%s %s answers with success or a permanent refusal', async (path, type, valid, base) => {
    await fc.assert(
      fc.asyncProperty(damaged(valid), fc.boolean(), async (body, gzip) => {
        const response = await fetch(`${base()}${path}`, {
          method: 'POST',
          body: gzip ? gzipSync(body) : body,
          headers: { 'Content-Type': type, ...(gzip && { 'Content-Encoding': 'gzip' }) },
        });
        await response.arrayBuffer();
        expect([200, 202, 400, 413]).toContain(response.status);
      }),
      { numRuns: 120 },
    );
  });

  test('OTLP/gRPC answers with success or a permanent refusal', async () => {
    const identity = (bytes: Buffer) => bytes;
    await fc.assert(
      fc.asyncProperty(damaged(OTLP), async (body) => {
        const error = await new Promise<ServiceError | null>((resolve) => {
          grpc.makeUnaryRequest(traceService.Export.path, identity, identity, body, (failure) => resolve(failure));
        });
        expect([undefined, status.INVALID_ARGUMENT]).toContain(error?.code);
      }),
      { numRuns: 120 },
    );
  });

  test('nothing of it stays behind', async () => {
    const metrics = await collector.registry.metrics();
    expect(metrics).toMatch(/meridian_collector_in_flight_bytes 0/);
    expect(metrics).toMatch(/meridian_collector_in_flight_requests 0/);
    expect(metrics).not.toMatch(/code="internal"/);
    expect(await collector.collector.health().check()).toMatchObject({ state: 'ok' });
  });
});
