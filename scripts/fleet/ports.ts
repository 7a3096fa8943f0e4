import { createServer } from 'node:net';
import { MeridianError } from '../../global/runtime/errors.js';

/** The listeners of one region and its router, with the port that the first region of a local fleet uses. */
const LISTENERS = {
  otlpGrpc: { port: 4317, name: 'OTLP gRPC' },
  otlpHttp: { port: 4318, name: 'OTLP HTTP' },
  zipkin: { port: 9411, name: 'Zipkin' },
  jaegerThrift: { port: 14268, name: 'Jaeger thrift' },
  regionApi: { port: 7001, name: 'region API' },
  admin: { port: 7002, name: 'region health and metrics' },
  routerHttp: { port: 16686, name: 'router HTTP' },
} as const;

export type ListenerName = keyof typeof LISTENERS;
export type RegionPorts = Readonly<Record<ListenerName, number>>;

const REGION_STEP = 10_000;
/** 5 regions: 4 x 10,000 + 16,686 is the last that fits below 65,536. */
export const REGIONS_MAX = 5;

/** The promised ports: region number i adds i x 10,000, `offset` adds to all. Throws `configuration` beyond 65,535. */
export function fixedPorts(regionIndex: number, offset: number): RegionPorts {
  const entries = Object.entries(LISTENERS).map(([name, { port }]) => [
    name,
    port + regionIndex * REGION_STEP + offset,
  ]);
  const beyond = entries.find(([, port]) => (port as number) > 65_535 || (port as number) < 1);
  if (beyond) {
    throw new MeridianError(
      'configuration',
      `--port-offset ${offset}: ${beyond[0]} would be port ${beyond[1]}`,
      'never',
    );
  }
  return Object.fromEntries(entries) as unknown as RegionPorts;
}

/** Below the ports that systems hand to outgoing connections, so that nothing takes one while its process is away. */
const AUTO_FIRST = 10_240;
const AUTO_LAST = 32_000;

/** Ports that are free now, for `--port-offset auto`. `random` gives numbers from 0 to 1. */
export async function freePorts(regionCount: number, random: () => number): Promise<RegionPorts[]> {
  const names = Object.keys(LISTENERS);
  const found: number[] = [];
  let port = AUTO_FIRST + Math.floor(random() * (AUTO_LAST - AUTO_FIRST));
  for (let tried = AUTO_FIRST; tried <= AUTO_LAST && found.length < regionCount * names.length; tried++) {
    port = port < AUTO_LAST ? port + 1 : AUTO_FIRST;
    if (await isFree(port)) found.push(port);
  }
  if (found.length < regionCount * names.length) {
    throw new MeridianError(
      'configuration',
      `--port-offset auto: not enough free ports in ${AUTO_FIRST}..${AUTO_LAST}`,
      'never',
    );
  }
  return Array.from({ length: regionCount }, (_, region) => {
    return Object.fromEntries(
      names.map((name, i) => [name, found[region * names.length + i]]),
    ) as unknown as RegionPorts;
  });
}

/** Throws `configuration` that names the port, its listener and the option, where one is taken. */
export async function checkPortsFree(regions: readonly { region: string; ports: RegionPorts }[]): Promise<void> {
  for (const { region, ports } of regions) {
    for (const [name, port] of Object.entries(ports)) {
      if (!(await isFree(port))) {
        throw new MeridianError(
          'configuration',
          `port ${port} (${LISTENERS[name as ListenerName].name} of ${region}) is taken by another process. ` +
            'Choose others with --port-offset N, or --port-offset auto',
          'never',
        );
      }
    }
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
