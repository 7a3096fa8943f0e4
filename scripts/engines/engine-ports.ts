import { createServer } from 'node:net';
import { MeridianError } from '../../global/runtime/errors.js';

/** Below the ports that systems hand to outgoing connections, so that nothing takes one while its engine restarts. */
const FIRST = 10_240;
const LAST = 32_000;

/** Ports of 127.0.0.1 that are free now, all different. `random` gives numbers from 0 to 1. */
export async function freeEnginePorts(count: number, random: () => number = Math.random): Promise<number[]> {
  const found: number[] = [];
  let port = FIRST + Math.floor(random() * (LAST - FIRST));
  for (let tried = FIRST; tried <= LAST && found.length < count; tried++) {
    port = port < LAST ? port + 1 : FIRST;
    if (await isFree(port)) found.push(port);
  }
  if (found.length === count) return found;
  throw new MeridianError('configuration', `${count} ports for engines: none free in ${FIRST}..${LAST}`, 'never');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
