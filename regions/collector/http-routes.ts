import { readJaegerThrift } from '../../global/otlp/jaeger-thrift.js';
import { readNativeJson } from '../../global/otlp/native-json.js';
import { readOtlpJson } from '../../global/otlp/otlp-json-decode.js';
import { readZipkinJson } from '../../global/otlp/zipkin.js';
import type { Failure } from './failure.js';
import { exportResponse, exportResponseJson, statusJson, statusMessage } from './otlp-answers.js';
import { type HttpProtocol, type HttpReply, type Outcome, readOtlp, type SpansRoute } from './protocol.js';

const JSON_TYPE = 'application/json';
const PROTOBUF_TYPE = 'application/x-protobuf';
const NOTHING: HttpReply = { status: 202, contentType: null, body: Buffer.alloc(0) };

const otlpProtobuf: HttpProtocol = {
  name: 'otlp-http-protobuf',
  read: readOtlp,
  accepted: (outcome) => ({ status: 200, contentType: PROTOBUF_TYPE, body: exportResponse(outcome) }),
  failed: (failure) => ({ status: failure.httpStatus, contentType: PROTOBUF_TYPE, body: statusMessage(failure) }),
};

const otlpJson: HttpProtocol = {
  name: 'otlp-http-json',
  read: readOtlpJson,
  accepted: (outcome) => ({ status: 200, contentType: JSON_TYPE, body: exportResponseJson(outcome) }),
  failed: (failure) => ({ status: failure.httpStatus, contentType: JSON_TYPE, body: statusJson(failure) }),
};

const native: HttpProtocol = {
  name: 'native',
  read: readNativeJson,
  accepted: nativeAnswer,
  failed: problem,
};

/** Zipkin and Jaeger have no partial success: nothing in the answer where all is well, the native answer where spans were refused. */
const zipkin: HttpProtocol = {
  name: 'zipkin',
  read: readZipkinJson,
  accepted: (outcome) => (outcome.rejectedCount === 0 ? NOTHING : nativeAnswer(outcome)),
  failed: problem,
};

const jaegerThrift: HttpProtocol = { ...zipkin, name: 'jaeger-thrift', read: (body) => readJaegerThrift(body) };

/** `POST /v1/traces`, OTLP/HTTP. */
export const otlpRoute: SpansRoute = {
  path: '/v1/traces',
  mediaTypes: [PROTOBUF_TYPE, JSON_TYPE],
  protocolFor: (type) => (type === PROTOBUF_TYPE ? otlpProtobuf : type === JSON_TYPE ? otlpJson : null),
  failed: otlpJson.failed,
};

/** `POST /v1/spans`, native JSON. */
export const nativeRoute: SpansRoute = {
  path: '/v1/spans',
  mediaTypes: [JSON_TYPE],
  protocolFor: (type) => (type === undefined || type === JSON_TYPE ? native : null),
  failed: problem,
};

/** `POST /api/v2/spans`, Zipkin v2 JSON. */
export const zipkinRoute: SpansRoute = {
  path: '/api/v2/spans',
  mediaTypes: [JSON_TYPE],
  protocolFor: (type) => (type === undefined || type === JSON_TYPE ? zipkin : null),
  failed: problem,
};

const THRIFT_TYPES = [
  'application/x-thrift',
  'application/vnd.apache.thrift.binary',
  'application/vnd.apache.thrift.compact',
];

/** `POST /api/traces`, Jaeger's `Batch` in thrift; `?format=jaeger.thrift`, which senders add, changes nothing. */
export const jaegerThriftRoute: SpansRoute = {
  path: '/api/traces',
  mediaTypes: THRIFT_TYPES,
  protocolFor: (type) => (type !== undefined && THRIFT_TYPES.includes(type) ? jaegerThrift : null),
  failed: problem,
};

function nativeAnswer(outcome: Outcome): HttpReply {
  const rejected = outcome.rejected.map(({ index, code, message }) => ({ index, code, message }));
  const body = Buffer.from(JSON.stringify({ accepted: outcome.acceptedCount, rejected }));
  return { status: 202, contentType: JSON_TYPE, body };
}

/** RFC 9457. */
export function problem(failure: Failure): HttpReply {
  const body = Buffer.from(
    JSON.stringify({
      type: `urn:meridian:${failure.code}`,
      title: failure.code,
      status: failure.httpStatus,
      detail: failure.message,
      code: failure.code,
      retry: failure.retryAfterMs === undefined ? 'never' : 'later',
    }),
  );
  return { status: failure.httpStatus, contentType: 'application/problem+json', body };
}
