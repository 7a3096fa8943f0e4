import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import { createGunzip, createInflate } from 'node:zlib';
import { MeridianError } from '../../global/runtime/errors.js';
import type { Ticket } from './admission.js';
import type { BufferPool, PooledBuffer } from './buffer-pool.js';
import { ClientGone } from './failure.js';

export interface BodyLimits {
  /** As sent. */
  readonly requestBytesMax: number;
  /** After decompression. */
  readonly requestInflatedBytesMax: number;
}

/** Content encodings taken, for the answer to others. */
export const CONTENT_ENCODINGS = ['identity', 'gzip', 'deflate'] as const;
export type ContentEncoding = (typeof CONTENT_ENCODINGS)[number];

/** By the header's value; null where it is not taken. */
export function contentEncodingOf(header: string | undefined): ContentEncoding | null {
  const name = header?.trim().toLowerCase() ?? '';
  if (name === '' || name === 'identity') return 'identity';
  if (name === 'gzip' || name === 'x-gzip') return 'gzip';
  return name === 'deflate' ? 'deflate' : null;
}

/** The announced length of the body, or null where the sender does not know it (chunked). */
export function contentLengthOf(request: IncomingMessage): number | null {
  const header = request.headers['content-length'];
  return header === undefined ? null : Number(header);
}

/**
 * Reads a body whole, inflating on the way, into memory from the pool; whoever gets it releases it. The ticket grows by every byte that
 * is held before it is held: a body of known length at once, others as they come. Throws `too-large` (never) beyond a limit, having
 * inflated no more than one chunk past it; `overloaded` (later) from the ticket; `malformed` for a broken compression; ClientGone
 * where that is so. On a throw the rest of the body is still unread: see `discardBody`.
 */
export function readBody(
  request: IncomingMessage,
  encoding: ContentEncoding,
  limits: BodyLimits,
  ticket: Ticket,
  pool: BufferPool,
): Promise<PooledBuffer> {
  const length = contentLengthOf(request);
  const plainMax = Math.min(limits.requestBytesMax, limits.requestInflatedBytesMax);
  const lengthMax = encoding === 'identity' ? plainMax : limits.requestBytesMax;
  if (length !== null && length > lengthMax) return Promise.reject(tooLarge(lengthMax));
  if (encoding !== 'identity') {
    const inflate = encoding === 'gzip' ? createGunzip(INFLATE) : createInflate(INFLATE);
    return readInflated(request, inflate, limits, ticket, pool);
  }
  return length === null
    ? readChunked(request, plainMax, ticket, pool)
    : readKnownLength(request, length, ticket, pool);
}

const INFLATE = { chunkSize: 64 * 1024 };

/** The chunks go to their place as they come: nothing else is held. Node has checked that they are no more than announced. */
function readKnownLength(
  request: IncomingMessage,
  length: number,
  ticket: Ticket,
  pool: BufferPool,
): Promise<PooledBuffer> {
  return new Promise((resolve, reject) => {
    ticket.grow(length);
    const body = pool.take(length);
    let at = 0;
    const settle = collect(request, resolve, reject, {
      chunk(chunk) {
        at += chunk.copy(body.bytes, at);
      },
      end: () => settle(body),
    });
  });
}

function readChunked(
  request: IncomingMessage,
  bytesMax: number,
  ticket: Ticket,
  pool: BufferPool,
): Promise<PooledBuffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = collect(request, resolve, reject, {
      chunk(chunk) {
        bytes += chunk.length;
        if (bytes > bytesMax) throw tooLarge(bytesMax);
        ticket.grow(chunk.length);
        chunks.push(chunk);
      },
      end: () => settle(pool.join(chunks, bytes)),
    });
  });
}

function readInflated(
  request: IncomingMessage,
  inflate: Transform,
  limits: BodyLimits,
  ticket: Ticket,
  pool: BufferPool,
): Promise<PooledBuffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let sentBytes = 0;
    let bytes = 0;
    const done = (body: PooledBuffer) => {
      inflate.destroy();
      resolve(body);
    };
    const fail = (error: Error) => {
      inflate.destroy();
      reject(error);
    };
    const settle = collect(request, done, fail, {
      chunk(chunk) {
        sentBytes += chunk.length;
        if (sentBytes > limits.requestBytesMax) throw tooLarge(limits.requestBytesMax);
        if (inflate.write(chunk)) return;
        request.pause();
        inflate.once('drain', () => request.resume());
      },
      end: () => inflate.end(),
    });
    inflate.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limits.requestInflatedBytesMax) {
        return settle(tooLarge(limits.requestInflatedBytesMax, ' after decompression'));
      }
      try {
        ticket.grow(chunk.length);
      } catch (error) {
        return settle(error as Error);
      }
      chunks.push(chunk);
    });
    inflate.on('end', () => settle(pool.join(chunks, bytes)));
    inflate.on('error', (cause) =>
      settle(new MeridianError('malformed', `decompressing the request body: ${cause.message}`, 'never', { cause })),
    );
  });
}

/** Listens to a request until the returned function is called, once, with the body or an error. */
function collect(
  request: IncomingMessage,
  resolve: (body: PooledBuffer) => void,
  reject: (error: Error) => void,
  on: { chunk(chunk: Buffer): void; end(): void },
): (result: PooledBuffer | Error) => void {
  let settled = false;
  const settle = (result: PooledBuffer | Error) => {
    if (settled) return;
    settled = true;
    request.off('data', data);
    request.off('end', on.end);
    request.off('close', closed);
    if (result instanceof Error) reject(result);
    else resolve(result);
  };
  const data = (chunk: Buffer) => {
    try {
      on.chunk(chunk);
    } catch (error) {
      settle(error as Error);
    }
  };
  const closed = () => {
    if (request.complete) return;
    settle(new ClientGone('the client went away before its request was complete'));
  };
  request.on('data', data);
  request.on('end', on.end);
  request.on('close', closed);
  // An aborted request also emits 'error'; 'close' follows and settles.
  request.on('error', () => {});
  return settle;
}

/**
 * Reads what is left of a request that was answered early and keeps none of it, so that the client sees the answer instead of a
 * reset, and the connection stays of use. Beyond `bytesMax` the connection is closed.
 */
export function discardBody(request: IncomingMessage, bytesMax: number): void {
  if (request.complete && request.readableEnded) return;
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bytesMax) request.destroy();
  });
  request.resume();
}

function tooLarge(bytesMax: number, how = ''): MeridianError {
  return new MeridianError('too-large', `the request body is larger than ${bytesMax} bytes${how}`, 'never');
}
