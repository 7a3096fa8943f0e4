import type { RejectedSpan } from '../../global/otlp/verdict.js';
import type { Failure } from './failure.js';

/** Names of the protocols: labels of metrics. */
export type ProtocolName =
  | 'otlp-grpc'
  | 'otlp-http-protobuf'
  | 'otlp-http-json'
  | 'native'
  | 'zipkin'
  | 'jaeger-thrift';

/** Spans of a request as OTLP, and those that could not even become it. */
export interface ReadResult {
  readonly tracesData: Buffer;
  /** Index in the request as it was sent, in order. The spans of `tracesData` are the others, in their order. */
  readonly rejected: readonly RejectedSpan[];
}

/** Reads a body into OTLP bytes. Pure; throws `malformed` or `too-large` where nothing can be made of it. */
export type ReadSpans = (body: Buffer) => ReadResult;

/** What became of a request's spans: each is durable or refused. */
export interface Outcome {
  readonly spanCount: number;
  readonly acceptedCount: number;
  /** The first of the refused (a bounded number), in order of index; the index counts the spans of the request as it was sent. */
  readonly rejected: readonly RejectedSpan[];
  readonly rejectedCount: number;
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string | null;
  readonly body: Buffer;
}

/** One protocol over HTTP: how its body is read, and how its answers are written. All pure. */
export interface HttpProtocol {
  readonly name: ProtocolName;
  readonly read: ReadSpans;
  accepted(outcome: Outcome): HttpReply;
  failed(failure: Failure): HttpReply;
}

/** One path that takes spans by POST. */
export interface SpansRoute {
  readonly path: string;
  /** The media types taken, for the answer to others. */
  readonly mediaTypes: readonly string[];
  /** By media type (lower case, without parameters; undefined where the header is missing); null where it is not taken. */
  protocolFor(mediaType: string | undefined): HttpProtocol | null;
  /** Writes failures that come before a protocol is known. */
  failed(failure: Failure): HttpReply;
}

/** OTLP protobuf is the canonical form: reading it is doing nothing. */
export const readOtlp: ReadSpans = (body) => ({ tracesData: body, rejected: [] });
