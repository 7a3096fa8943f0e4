import type { Failure } from './failure.js';
import type { Outcome } from './pipeline.js';

/**
 * The answers of OTLP in their encodings, written by hand: `ExportTraceServiceResponse` (opentelemetry-proto v1,
 * collector/trace/v1/trace_service.proto), `google.rpc.Status` with `google.rpc.RetryInfo` (googleapis, rpc/status.proto and
 * rpc/error_details.proto), in protobuf and in protobuf's JSON.
 */

const REJECTED_NAMED_MAX = 5;
const NONE = Buffer.alloc(0);

/** Names the first rejected spans, so that whoever reads the client's log can find them. Empty where none was rejected. */
export function rejectionMessage(outcome: Outcome): string {
  if (outcome.rejectedCount === 0) return '';
  const named = outcome.rejected
    .slice(0, REJECTED_NAMED_MAX)
    .map(
      (span) =>
        `#${span.index}${span.spanIdHex === undefined ? '' : ` span ${span.spanIdHex}`} ${span.code}: ${span.message}`,
    );
  const rest = outcome.rejectedCount - named.length;
  return `${outcome.rejectedCount} of ${outcome.spanCount} spans rejected: ${named.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}`;
}

/** `ExportTraceServiceResponse`; no bytes at all where every span was taken, as the specification asks. */
export function exportResponse(outcome: Outcome): Buffer {
  if (outcome.rejectedCount === 0) return NONE;
  return bytesField(1, Buffer.concat([varintField(1, outcome.rejectedCount), textField(2, rejectionMessage(outcome))]));
}

export function exportResponseJson(outcome: Outcome): Buffer {
  if (outcome.rejectedCount === 0) return Buffer.from('{}');
  const partialSuccess = { rejectedSpans: String(outcome.rejectedCount), errorMessage: rejectionMessage(outcome) };
  return Buffer.from(JSON.stringify({ partialSuccess }));
}

const RETRY_INFO_TYPE = 'type.googleapis.com/google.rpc.RetryInfo';

/** `google.rpc.Status`, with a RetryInfo where the failure passes. */
export function statusMessage(failure: Failure): Buffer {
  const parts = [varintField(1, failure.grpcStatus), textField(2, failure.message)];
  if (failure.retryAfterMs !== undefined) {
    const delay = Buffer.concat([
      varintField(1, Math.floor(failure.retryAfterMs / 1000)),
      varintField(2, Math.round((failure.retryAfterMs % 1000) * 1_000_000)),
    ]);
    parts.push(bytesField(3, Buffer.concat([textField(1, RETRY_INFO_TYPE), bytesField(2, bytesField(1, delay))])));
  }
  return Buffer.concat(parts);
}

export function statusJson(failure: Failure): Buffer {
  const details =
    failure.retryAfterMs === undefined
      ? []
      : [{ '@type': RETRY_INFO_TYPE, retryDelay: `${(failure.retryAfterMs / 1000).toFixed(3)}s` }];
  return Buffer.from(JSON.stringify({ code: failure.grpcStatus, message: failure.message, details }));
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function varintField(field: number, value: number): Buffer {
  return value === 0 ? NONE : Buffer.concat([varint(field << 3), varint(value)]);
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(bytes.length), bytes]);
}

function textField(field: number, text: string): Buffer {
  return text === '' ? NONE : bytesField(field, Buffer.from(text));
}
