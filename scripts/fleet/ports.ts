import { createServer } from 'node:net';
import { MeridianError } from '../../global/runtime/errors.js';
import type { EnginePorts } from '../engines/engine-kinds.js';

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

/** The same of a region's engines, with `--engines local`. */
const ENGINE_LISTENERS = {
  kafka: { port: 9092, name: 'Kafka' },
  kafkaController: { port: 9093, name: "Kafka's controller" },
  elasticsearch: { port: 9200, name: 'Elasticsearch' },
  redis: { port: 6379, name: 'Redis' },
} as const satisfies Record<keyof EnginePorts, unknown>;

type Listeners = Readonly<Record<string, { readonly port: number; readonly name: string }>>;

export type ListenerName = keyof typeof LISTENERS;
export type RegionPorts = Readonly<Record<ListenerName, number>>;

const REGION_STEP = 10_000;
/** 5 regions: 4 x 10,000 + 16,686 is the last that fits below 65,536. */
export const REGIONS_MAX = 5;

/** The promised ports: region number i adds i x 10,000, `offset` adds to all. Throws `configuration` beyond 65,535. */
export function fixedPorts(regionIndex: number, offset: number): RegionPorts {
  return fixed(LISTENERS, regionIndex, offset);
}

/** The same of a region's engines. */
export function fixedEnginePorts(regionIndex: number, offset: number): EnginePorts {
  return fixed(ENGINE_LISTENERS, regionIndex, offset);
}

function fixed<L extends Listeners>(listeners: L, regionIndex: number, offset: number): Record<keyof L, number> {
  const entries = Object.entries(listeners).map(
    ([name, { port }]) => [name, port + regionIndex * REGION_STEP + offset] as const,
  );
  const beyond = entries.find(([, port]) => port > 65_535 || port < 1);
  if (beyond) {
    throw new MeridianError(
      'configuration',
      `--port-offset ${offset}: ${beyond[0]} would be port ${beyond[1]}`,
      'never',
    );
  }
  return Object.fromEntries(entries) as Record<keyof L, number>;
}

/** Below the ports that systems hand to outgoing connections, so that nothing takes one while its process is away. */
const AUTO_FIRST = 10_240;
const AUTO_LAST = 32_000;

/** Ports that are free now, for `--port-offset auto`. `random` gives numbers from 0 to 1. */
export async function freePorts(regionCount: number, random: () => number): Promise<RegionPorts[]> {
  return dealt(LISTENERS, await freeNumbers(regionCount * Object.keys(LISTENERS).length, random, new Set()));
}

/** The same of the engines, other than those that are `spoken` for though nobody listens there yet. */
export async function freeEnginePortsOfRegions(
  regionCount: number,
  random: () => number,
  spoken: readonly RegionPorts[],
): Promise<EnginePorts[]> {
  const not = new Set(spoken.flatMap((ports) => Object.values(ports)));
  return dealt(ENGINE_LISTENERS, await freeNumbers(regionCount * Object.keys(ENGINE_LISTENERS).length, random, not));
}

function dealt<L extends Listeners>(listeners: L, numbers: readonly number[]): Record<keyof L, number>[] {
  const names = Object.keys(listeners);
  return Array.from({ length: numbers.length / names.length }, (_, region) => {
    const entries = names.map((name, i) => [name, numbers[region * names.length + i]]);
    return Object.fromEntries(entries) as Record<keyof L, number>;
  });
}

async function freeNumbers(count: number, random: () => number, not: ReadonlySet<number>): Promise<number[]> {
  const found: number[] = [];
  let port = AUTO_FIRST + Math.floor(random() * (AUTO_LAST - AUTO_FIRST));
  for (let tried = AUTO_FIRST; tried <= AUTO_LAST && found.length < count; tried++) {
    port = port < AUTO_LAST ? port + 1 : AUTO_FIRST;
    if (!not.has(port) && (await isFree(port))) found.push(port);
  }
  if (found.length === count) return found;
  throw new MeridianError(
    'configuration',
    `--port-offset auto: not enough free ports in ${AUTO_FIRST}..${AUTO_LAST}`,
    'never',
  );
}

/** Throws `configuration` that names the port, its listener and the option, where one is taken. */
export async function checkPortsFree(
  regions: readonly { readonly region: string; readonly ports: RegionPorts | EnginePorts }[],
): Promise<void> {
  const listeners: Listeners = { ...LISTENERS, ...ENGINE_LISTENERS };
  for (const { region, ports } of regions) {
    for (const [name, port] of Object.entries(ports) as [string, number][]) {
      if (!(await isFree(port))) {
        throw new MeridianError(
          'configuration',
          `port ${port} (${listeners[name]!.name} of ${region}) is taken by another process. ` +
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
