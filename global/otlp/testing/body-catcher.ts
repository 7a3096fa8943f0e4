import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The first body that `send` posts to a listener of its own, and its content type. */
export async function catchBody(send: (port: number) => void): Promise<{ body: Buffer; contentType: string }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await new Promise((resolve, reject) => {
      server.on('request', (request, response) => {
        const parts: Buffer[] = [];
        request.on('data', (part: Buffer) => parts.push(part));
        request.on('error', reject);
        request.on('end', () => {
          response.writeHead(202, { connection: 'close' }).end();
          resolve({ body: Buffer.concat(parts), contentType: request.headers['content-type'] ?? '' });
        });
      });
      send((server.address() as AddressInfo).port);
    });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
