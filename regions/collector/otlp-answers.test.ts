import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import type { Failure } from './failure.js';
import { exportResponse, exportResponseJson, statusJson, statusMessage } from './otlp-answers.js';
import type { Outcome } from './protocol.js';

// From opentelemetry-proto (trace_service.proto) and googleapis (rpc/status.proto, rpc/error_details.proto).
const { root } = protobuf.parse(`
  syntax = "proto3";
  message ExportTraceServiceResponse { ExportTracePartialSuccess partial_success = 1; }
  message ExportTracePartialSuccess { int64 rejected_spans = 1; string error_message = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
`);

function decode(type: string, bytes: Uint8Array): Record<string, unknown> {
  const message = root.lookupType(type);
  return message.toObject(message.decode(bytes), { longs: String });
}

const outcome = (rejectedCount: number): Outcome => ({
  spanCount: 512,
  acceptedCount: 512 - rejectedCount,
  rejectedCount,
  rejected: Array.from({ length: rejectedCount }, (_, i) => ({
    index: i * 2,
    ...(i === 0 ? {} : { spanIdHex: `00000000000000${10 + i}` }),
    code: 'invalid',
    message: `reason ${i}`,
  })),
});

const failure = (retryAfterMs?: number): Failure => ({
  code: 'unavailable',
  httpStatus: 503,
  grpcStatus: 14,
  message: 'the log is down: Größe ✓',
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

describe('OTLP answers', () => {
  test('full success leaves partial_success unset', () => {
    expect(exportResponse(outcome(0))).toHaveLength(0);
    expect(exportResponseJson(outcome(0)).toString()).toBe('{}');
  });

  test('partial success counts and names the first rejected spans', () => {
    const text = '2 of 512 spans rejected: #0 invalid: reason 0; #2 span 0000000000000011 invalid: reason 1';
    expect(decode('ExportTraceServiceResponse', exportResponse(outcome(2)))).toEqual({
      partialSuccess: { rejectedSpans: '2', errorMessage: text },
    });
    expect(JSON.parse(exportResponseJson(outcome(2)).toString())).toEqual({
      partialSuccess: { rejectedSpans: '2', errorMessage: text },
    });
  });

  test('five rejected spans are named, of six the last is only counted', () => {
    const messageOf = (count: number) => JSON.parse(exportResponseJson(outcome(count)).toString()).partialSuccess;
    expect(messageOf(5).errorMessage).toContain('reason 4');
    expect(messageOf(5).errorMessage).not.toContain('more');
    expect(messageOf(6).errorMessage).not.toContain('reason 5');
    expect(messageOf(6).errorMessage).toMatch(/; and 1 more$/);
    const many = decode('ExportTraceServiceResponse', exportResponse(outcome(300)));
    expect(many).toMatchObject({ partialSuccess: { rejectedSpans: '300' } });
  });

  test('a permanent failure is a Status without details', () => {
    expect(decode('Status', statusMessage(failure()))).toEqual({ code: 14, message: 'the log is down: Größe ✓' });
    expect(JSON.parse(statusJson(failure()).toString())).toEqual({
      code: 14,
      message: 'the log is down: Größe ✓',
      details: [],
    });
  });

  test.each([
    [1500, { seconds: '1', nanos: 500_000_000 }, '1.500s'],
    [2000, { seconds: '2' }, '2.000s'],
    [20, { nanos: 20_000_000 }, '0.020s'],
    [400_000, { seconds: '400' }, '400.000s'],
  ])('a passing failure carries a RetryInfo of %i ms', (retryAfterMs, retryDelay, json) => {
    const status = decode('Status', statusMessage(failure(retryAfterMs))) as {
      details: { typeUrl: string; value: Uint8Array }[];
    };
    expect(status.details).toHaveLength(1);
    expect(status.details[0]!.typeUrl).toBe('type.googleapis.com/google.rpc.RetryInfo');
    expect(decode('RetryInfo', status.details[0]!.value)).toEqual({ retryDelay });
    expect(JSON.parse(statusJson(failure(retryAfterMs)).toString()).details).toEqual([
      { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: json },
    ]);
  });
});
