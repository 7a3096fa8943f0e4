import { once } from 'node:events';
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { MeridianError } from '../../global/runtime/errors.js';
import { Admission } from './admission.js';
import { BufferPool } from './buffer-pool.js';
import { ClientGone } from './failure.js';
import { contentEncodingOf, discardBody, readBody } from './http-body.js';

const limits = { requestBytesMax: 1000, requestInflatedBytesMax: 5000 };
const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** A server that reads one body per request; `bodies` yields what reading gave. */
async function setUp(inFlightBytesMax = 100_000) {
  const pool = new BufferPool(1_000_000);
  const admission = new Admission({ inFlightBytesMax, inFlightRequestsMax: 10 });
  const results: (Buffer | Error)[] = [];
  let heldMax = 0;
  let wake = () => {};
  const server = createServer((request, response) => {
    const ticket = admission.enter();
    readBody(request, contentEncodingOf(request.headers['content-encoding'])!, limits, ticket, pool)
      .then((body) => results.push(Buffer.from(body.bytes)))
      .catch((error: unknown) => results.push(error as Error))
      .finally(() => {
        heldMax = Math.max(heldMax, admission.inFlightBytes);
        ticket.leave();
        response.end('answered');
        discardBody(request, 50_000);
        wake();
      });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const result = async () => {
    while (results.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return results.shift()!;
  };
  const send = async (body: Buffer, encoding?: string, chunked = false) => {
    const request = httpRequest({ port, method: 'POST', host: '127.0.0.1' });
    if (encoding) request.setHeader('Content-Encoding', encoding);
    if (!chunked) request.setHeader('Content-Length', body.length);
    else request.setHeader('Transfer-Encoding', 'chunked');
    request.end(body);
    const [response] = await once(request, 'response');
    response.resume();
    await once(response, 'end');
    return result();
  };
  return { send, result, port, admission, heldMax: () => heldMax };
}

describe('reading a body', () => {
  test.each([false, true])('as sent, chunked %s: at the limit and one past it', async (chunked) => {
    const { send, admission } = await setUp();
    expect(await send(Buffer.alloc(1000, 1), undefined, chunked)).toEqual(Buffer.alloc(1000, 1));
    expect(await send(Buffer.alloc(1001, 1), undefined, chunked)).toMatchObject({ code: 'too-large', retry: 'never' });
    expect(await send(Buffer.alloc(0), undefined, chunked)).toEqual(Buffer.alloc(0));
    expect(admission.inFlightBytes).toBe(0);
  });

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ] as const)('%s: inflated, at the limit and one past it', async (encoding, compress) => {
    const { send } = await setUp();
    const body = Buffer.from('{"a":[1,2,3]}'.repeat(100));
    expect(await send(compress(body), encoding)).toEqual(body);
    expect(await send(compress(Buffer.alloc(5000)), encoding)).toEqual(Buffer.alloc(5000));
    expect(await send(compress(Buffer.alloc(5001)), encoding)).toMatchObject({ code: 'too-large', retry: 'never' });
  });

  test('a gzip bomb costs no more than the limit and a chunk', async () => {
    const { send, heldMax } = await setUp();
    const bomb = gzipSync(Buffer.alloc(900_000));
    expect(bomb.length).toBeLessThan(limits.requestBytesMax);
    const error = (await send(bomb, 'gzip')) as MeridianError;
    expect(error).toMatchObject({ code: 'too-large' });
    expect(error.message).toContain('after decompression');
    expect(heldMax()).toBeLessThanOrEqual(limits.requestInflatedBytesMax);
  });

  test('broken and cut compression is malformed', async () => {
    const { send } = await setUp();
    expect(await send(Buffer.from('this is not gzip'), 'gzip')).toMatchObject({ code: 'malformed' });
    const whole = gzipSync(Buffer.from('some text that goes on for a while'));
    expect(await send(whole.subarray(0, whole.length - 9), 'gzip')).toMatchObject({ code: 'malformed' });
  });

  test('a full collector refuses before it holds more', async () => {
    const { send, heldMax } = await setUp(800);
    expect(await send(Buffer.alloc(800))).toHaveLength(800);
    expect(await send(Buffer.alloc(801))).toMatchObject({ code: 'overloaded', retry: 'later' });
    expect(await send(Buffer.alloc(801), undefined, true)).toMatchObject({ code: 'overloaded' });
    expect(await send(gzipSync(Buffer.alloc(801)), 'gzip')).toMatchObject({ code: 'overloaded' });
    expect(heldMax()).toBeLessThanOrEqual(800);
  });

  test('a client that goes away in the middle ends the reading and gives its room back', async () => {
    const { port, result, admission } = await setUp();
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf');
    socket.end();
    expect(await result()).toBeInstanceOf(ClientGone);
    expect(admission.inFlightBytes).toBe(0);
  });

  test('encodings by name', () => {
    expect(
      [undefined, '', 'identity', 'gzip', 'X-GZIP', ' deflate ', 'br', 'gzip, gzip'].map(contentEncodingOf),
    ).toEqual(['identity', 'identity', 'identity', 'gzip', 'gzip', 'deflate', null, null]);
  });
});
