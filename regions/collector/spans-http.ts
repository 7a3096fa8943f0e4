import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../global/runtime/clock.js';
import type { Logger } from '../../global/runtime/logger.js';
import type { Admission, Ticket } from './admission.js';
import type { BufferPool } from './buffer-pool.js';
import { type CorsOptions, corsHeaders, preflightHeaders } from './cors.js';
import {
  detailOf,
  type Failure,
  failureOf,
  methodNotAllowed,
  retryAfterSeconds,
  unknownPath,
  unsupportedMediaType,
} from './failure.js';
import {
  type BodyLimits,
  CONTENT_ENCODINGS,
  contentEncodingOf,
  contentLengthOf,
  discardBody,
  readBody,
} from './http-body.js';
import { problem } from './http-routes.js';
import { acceptSpans, type Pipeline } from './pipeline.js';
import type { HttpProtocol, HttpReply, SpansRoute } from './protocol.js';

export interface SpansHttpOptions {
  readonly routes: readonly SpansRoute[];
  readonly pipeline: Pipeline;
  readonly admission: Admission;
  readonly pool: BufferPool;
  readonly limits: BodyLimits;
  readonly cors: CorsOptions;
  readonly retryAfterMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The request handler of a listener that takes spans on some paths. Every request is answered, whatever is thrown. */
export function spansHttpHandler(
  options: SpansHttpOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  const routes = new Map(options.routes.map((route) => [route.path, route]));
  return (request, response) => {
    const url = request.url ?? '/';
    const query = url.indexOf('?');
    const path = query < 0 ? url : url.slice(0, query);
    const route = routes.get(path);
    if (!route) return refuse(options, request, response, unknownPath(path), problem);
    if (request.method === 'OPTIONS') return preflight(options, request, response);
    const allowed = corsHeaders(options.cors, request.headers.origin);
    if (allowed) for (const [name, value] of Object.entries(allowed)) response.setHeader(name, value);
    if (request.method !== 'POST') {
      return refuse(options, request, response, methodNotAllowed(request.method ?? '', path), route.failed);
    }
    const protocol = route.protocolFor(mediaTypeOf(request));
    if (!protocol) {
      const failure = unsupportedMediaType('the content type', request.headers['content-type'], route.mediaTypes);
      return refuse(options, request, response, failure, route.failed);
    }
    void takeSpans(options, request, response, protocol);
  };
}

async function takeSpans(
  options: SpansHttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
  protocol: HttpProtocol,
): Promise<void> {
  const { admission, clock, limits, logger, pipeline, pool, retryAfterMs } = options;
  const { metrics } = pipeline;
  const startedMs = clock.monotonicMs();
  const encoding = contentEncodingOf(request.headers['content-encoding']);
  if (!encoding) {
    const failure = unsupportedMediaType(
      'the content encoding',
      request.headers['content-encoding'],
      CONTENT_ENCODINGS,
    );
    return refuse(options, request, response, failure, protocol.failed, protocol.name);
  }
  let ticket: Ticket | null = null;
  try {
    ticket = admission.enter();
    const reading = readBody(request, encoding, limits, ticket, pool);
    if (request.headers.expect) response.writeContinue();
    const body = await reading;
    const outcome = await acceptSpans(pipeline, protocol.name, body, protocol.read, ticket);
    metrics.acknowledged(protocol.name, outcome.acceptedCount, clock.monotonicMs() - startedMs);
    answer(response, protocol.accepted(outcome));
  } catch (error) {
    const failure = failureOf(error, retryAfterMs);
    if (failure.code === 'internal') {
      logger.error({ protocol: protocol.name, detail: detailOf(error) }, 'a request failed for a reason of ours');
    }
    refuse(options, request, response, failure, protocol.failed, protocol.name);
  } finally {
    ticket?.leave();
  }
}

function preflight(options: SpansHttpOptions, request: IncomingMessage, response: ServerResponse): void {
  const { origin } = request.headers;
  const asked = request.headers['access-control-request-headers'];
  const headers = preflightHeaders(options.cors, origin, asked) ?? { Allow: 'POST, OPTIONS' };
  response.writeHead(204, headers).end();
  discardBody(request, options.limits.requestBytesMax);
}

/**
 * How much of a body that is refused is read all the same, in largest requests: closing at once would let the client see a reset
 * connection in place of the answer, and send again what will never be taken.
 */
const DISCARDED_REQUESTS_MAX = 4;

/** Answers a request whose body may not be read yet. */
function refuse(
  options: SpansHttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
  failure: Failure,
  write: (failure: Failure) => HttpReply,
  protocol: HttpProtocol['name'] | 'none' = 'none',
): void {
  options.pipeline.metrics.failed(protocol, failure.code);
  if (response.destroyed || response.headersSent) return;
  for (const [name, value] of Object.entries(failure.headers ?? {})) response.setHeader(name, value);
  if (failure.retryAfterMs !== undefined) response.setHeader('Retry-After', retryAfterSeconds(failure.retryAfterMs));
  const bytesMax = options.limits.requestBytesMax * DISCARDED_REQUESTS_MAX;
  // A client that waits for `100 Continue` may never send its body, and too large a body is not waited for: what follows is no request.
  if (request.headers.expect || (contentLengthOf(request) ?? 0) > bytesMax) response.setHeader('Connection', 'close');
  answer(response, write(failure));
  discardBody(request, bytesMax);
}

function answer(response: ServerResponse, reply: HttpReply): void {
  if (response.destroyed) return;
  if (reply.contentType !== null) response.setHeader('Content-Type', reply.contentType);
  response.setHeader('Content-Length', reply.body.length);
  response.writeHead(reply.status).end(reply.body);
}

/** The content type without its parameters, lower case. */
function mediaTypeOf(request: IncomingMessage): string | undefined {
  const header = request.headers['content-type'];
  if (header === undefined) return undefined;
  const end = header.indexOf(';');
  return (end < 0 ? header : header.slice(0, end)).trim().toLowerCase();
}
