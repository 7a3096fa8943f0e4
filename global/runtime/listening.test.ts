import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import { Server as GrpcServer } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { plaintext } from './channel-security.js';
import { ManualClock, realClock } from './clock.js';
import { closeHttp, listenGrpc, listenHttp } from './listening.js';

const FREE = { host: '127.0.0.1', port: 0 };
const open: Server[] = [];

/** It answers nothing by itself. */
function httpServer(): Server {
  const server = createServer();
  open.push(server);
  return server;
}

afterEach(() => {
  for (const server of open.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

describe('binding', () => {
  test('port 0 takes a free one and tells it', async () => {
    const address = await listenHttp(httpServer(), FREE, { name: 'test' });
    expect(address.host).toBe(FREE.host);
    expect(address.port).toBeGreaterThan(0);
  });

  test.each(['http', 'grpc'] as const)('%s: a port that is taken names listener, address and option', async (kind) => {
    const taken = await listenHttp(httpServer(), FREE, { name: 'first' });
    const name = { name: 'second', option: 'secondPort' };
    const bound =
      kind === 'http' ? listenHttp(httpServer(), taken, name) : listenGrpc(new GrpcServer(), taken, name, plaintext);
    await expect(bound).rejects.toMatchObject({
      code: 'configuration',
      retry: 'never',
      message:
        `the second listener cannot bind 127.0.0.1:${taken.port}: the port is taken by another process. ` +
        'Choose another with secondPort',
    });
  });

  test('an address that is not ours is named with the reason', async () => {
    const listen = { host: '2001:db8::1', port: 4317 };
    await expect(listenHttp(httpServer(), listen, { name: 'far' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(
        /^the far listener cannot bind \[2001:db8::1\]:4317: .*(EADDRNOTAVAIL|EAFNOSUPPORT)/,
      ),
    });
  });
});

describe('closing', () => {
  test('lets a request in progress finish', async () => {
    const server = httpServer();
    const { port } = await listenHttp(server, FREE, { name: 'test' });
    const asked = once(get({ port, host: FREE.host, agent: false }), 'response');
    const [, response] = await once(server, 'request');
    const closed = closeHttp(server, 60_000, realClock);
    response.end('done');
    const [answer] = (await asked) as [IncomingMessage];
    expect(answer.statusCode).toBe(200);
    answer.resume();
    await closed;
  });

  test('cuts off what has not finished when the time is over, and not before', async () => {
    const server = httpServer();
    const { port } = await listenHttp(server, FREE, { name: 'test' });
    const request = get({ port, host: FREE.host, agent: false });
    const cut = once(request, 'error');
    await once(server, 'request');
    const clock = new ManualClock();
    let isClosed = false;
    const closed = closeHttp(server, 1000, clock).then(() => {
      isClosed = true;
    });
    await clock.advance(999);
    expect(isClosed).toBe(false);
    await clock.advance(1);
    await closed;
    expect((await cut)[0]).toMatchObject({ code: 'ECONNRESET' });
  });

  test('of a server that never listened is nothing to do', async () => {
    await closeHttp(httpServer(), 1000, new ManualClock());
    expect(open[0]!.listening).toBe(false);
  });
});
