import { ProtoWriter } from '../../global/otlp/proto-writer.js';
import type { Failure } from './failure.js';
import type { Outcome } from './protocol.js';

/**
 * The answers of OTLP in their encodings: `ExportTraceServiceResponse` (opentelemetry-proto v1,
 * collector/trace/v1/trace_service.proto), `google.rpc.Status` with `google.rpc.RetryInfo` (googleapis, rpc/status.proto and
 * rpc/error_details.proto), in protobuf and in protobuf's JSON.
 */

/** Rejected spans that a message names; the outcome knows more of them. */
const MESSAGE_SPANS_MAX = 5;
const NONE = Buffer.alloc(0);

/** Names the first rejected spans, so that whoever reads the client's log can find them. Empty where none was rejected. */
export function rejectionMessage(outcome: Outcome): string {
  if (outcome.rejectedCount === 0) return '';
  const named = outcome.rejected
    .slice(0, MESSAGE_SPANS_MAX)
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
  const out = new ProtoWriter();
  const partialSuccess = out.begin(1);
  out.uintField(1, outcome.rejectedCount);
  out.stringField(2, rejectionMessage(outcome));
  out.end(partialSuccess);
  return out.finish();
}

export function exportResponseJson(outcome: Outcome): Buffer {
  if (outcome.rejectedCount === 0) return Buffer.from('{}');
  const partialSuccess = { rejectedSpans: String(outcome.rejectedCount), errorMessage: rejectionMessage(outcome) };
  return Buffer.from(JSON.stringify({ partialSuccess }));
}

const RETRY_INFO_TYPE = 'type.googleapis.com/google.rpc.RetryInfo';

/** `google.rpc.Status`, with a RetryInfo where the failure passes. */
export function statusMessage(failure: Failure): Buffer {
  const out = new ProtoWriter();
  if (failure.grpcStatus !== 0) out.uintField(1, failure.grpcStatus);
  if (failure.message !== '') out.stringField(2, failure.message);
  if (failure.retryAfterMs !== undefined) {
    const detail = out.begin(3);
    out.stringField(1, RETRY_INFO_TYPE);
    const retryInfo = out.begin(2);
    const delay = out.begin(1);
    const seconds = Math.floor(failure.retryAfterMs / 1000);
    const nanos = Math.round((failure.retryAfterMs % 1000) * 1_000_000);
    if (seconds !== 0) out.uintField(1, seconds);
    if (nanos !== 0) out.uintField(2, nanos);
    out.end(delay);
    out.end(retryInfo);
    out.end(detail);
  }
  return out.finish();
}

export function statusJson(failure: Failure): Buffer {
  const details =
    failure.retryAfterMs === undefined
      ? []
      : [{ '@type': RETRY_INFO_TYPE, retryDelay: `${(failure.retryAfterMs / 1000).toFixed(3)}s` }];
  return Buffer.from(JSON.stringify({ code: failure.grpcStatus, message: failure.message, details }));
}
