import { parseFleet } from '../../global/fleet/fleet.js';
import { resolveOptions } from '../../global/runtime/options.js';
import { REGION_OPTIONS, type RegionOptions } from '../../regions/config/region-options.js';
import { ROUTER_OPTIONS, type RouterConfig } from '../../router/router-options.js';
import { type Compose, type Files, mountedFile, mountsOf, REGIONS } from './deployment.js';

export interface RoleConfigs {
  readonly regions: ReadonlyMap<string, RegionOptions>;
  readonly routers: ReadonlyMap<string, RouterConfig>;
}

/** The configuration files of all regions and routers, through the parser that the processes use. Throws what they would refuse. */
export function readRoleConfigs(files: Files, compose: Compose): RoleConfigs {
  const file = (role: 'region' | 'router', region: string) => {
    const one = compose.services[`${role}-${region}`];
    const inside = one?.command[one.command.indexOf('--config') + 1];
    const path = one && inside ? mountedFile(one, inside) : undefined;
    if (!path) throw new Error(`${role}-${region}: ${inside} is not mounted`);
    return { path, value: JSON.parse(files.text(path)) as unknown };
  };
  return {
    regions: new Map(
      REGIONS.map((region) => [
        region,
        resolveOptions(REGION_OPTIONS, { file: file('region', region), environment: {} }),
      ]),
    ),
    routers: new Map(
      REGIONS.map((region) => [
        region,
        resolveOptions(ROUTER_OPTIONS, { file: file('router', region), environment: {} }),
      ]),
    ),
  };
}

/** What the configurations say that the compose file does not bear out. */
export function checkRoleConfigs(files: Files, compose: Compose): string[] {
  const { regions, routers } = readRoleConfigs(files, compose);
  const found: string[] = [];
  const fleets = new Set([...regions, ...routers].map(([, { fleet }]) => JSON.stringify(fleet)));
  if (fleets.size !== 1) found.push('the fleet is not the same in every configuration');
  for (const [region, options] of [...regions, ...routers]) {
    if (options.region !== region) found.push(`the configuration of ${region} says that it is ${options.region}`);
    if (options.host !== '0.0.0.0')
      found.push(`${region}: listens on ${options.host}: nobody outside of the container can reach it`);
    parseFleet(options.fleet, `fleet of ${region}`);
  }
  const fleet = parseFleet(regions.get('us-east-1')!.fleet, 'fleet');
  if (fleet.regions.map(({ region }) => region).join() !== REGIONS.join()) found.push('the fleet has other regions');
  for (const { region, regionApi, kafka } of fleet.regions) {
    for (const from of REGIONS) {
      found.push(...reach(compose, regions, `router-${from}`, regionApi, `regionApi of ${region}`));
      for (const broker of kafka ?? []) {
        found.push(...reach(compose, regions, `mirror-maker-${from}`, broker, `kafka of ${region}`));
      }
    }
    if (!kafka?.length) found.push(`fleet: ${region} names no kafka: MirrorMakers cannot reach it`);
  }
  for (const [region, options] of regions) {
    const own = `region-${region}`;
    const brokers = options.kafkaBrokers;
    for (const broker of brokers) found.push(...reach(compose, regions, own, broker, 'kafkaBrokers'));
    for (const url of options.elasticsearchNodes)
      found.push(...reach(compose, regions, own, new URL(url).host, 'elasticsearchNodes'));
    if (options.redisUrl) found.push(...reach(compose, regions, own, new URL(options.redisUrl).host, 'redisUrl'));
    if (`${options.log} ${options.store} ${options.index}` !== 'kafka elasticsearch redis')
      found.push(`${own}: not on the real engines`);
    if (options.kafkaReplicationFactor > brokers.length)
      found.push(`${own}: kafkaReplicationFactor is more than its brokers`);
    if (options.elasticsearchReplicas >= options.elasticsearchNodes.length)
      found.push(`${own}: elasticsearchReplicas is more than its nodes can hold`);
    if (!mountsOf(compose.services[own]!).some(({ target }) => target === options.dataDir))
      found.push(`${own}: dataDir ${options.dataDir} is on no volume`);
    if (routers.get(region)?.redisUrl !== options.redisUrl)
      found.push(`router-${region}: reads another index than its region writes`);
  }
  return found;
}

/** What listens inside a service's container, by port. */
export function listeningPorts(
  compose: Compose,
  regions: RoleConfigs['regions'],
  routers: RoleConfigs['routers'] | null,
  name: string,
): number[] {
  const [, role, region] = /^(kafka|elasticsearch|redis|region|router)-(.+)$/.exec(name) ?? [];
  const options = regions.get(region ?? '');
  switch (role) {
    case 'region':
      return options
        ? [
            options.otlpGrpcPort,
            options.otlpHttpPort,
            options.zipkinPort,
            options.jaegerThriftPort,
            options.regionApiPort,
            options.adminPort,
          ]
        : [];
    case 'router': {
      const router = routers?.get(region ?? '');
      return router ? [router.httpPort] : [];
    }
    case 'kafka': {
      const advertised = String(compose.services[name]?.environment.KAFKA_ADVERTISED_LISTENERS);
      const listens = String(compose.services[name]?.environment.KAFKA_LISTENERS);
      const port = Number(new RegExp(`^PLAINTEXT://${name}:(\\d+)$`).exec(advertised)?.[1]);
      return listens.split(',').includes(`PLAINTEXT://:${port}`) ? [port] : [];
    }
    case 'elasticsearch':
      return [9200];
    case 'redis':
      return [6379];
    default:
      return (
        { prometheus: [9090], grafana: [3000], jaeger: [16686], 'jaeger-ui': [8080], 'storage-exporter': [9100] }[
          name
        ] ?? []
      );
  }
}

/** Why `from` cannot reach `address`; empty where it can. */
export function reach(
  compose: Compose,
  regions: RoleConfigs['regions'],
  from: string,
  address: string,
  what: string,
  routers: RoleConfigs['routers'] | null = null,
): string[] {
  const [host = '', port = ''] = address.split(':');
  const asker = compose.services[from];
  const target = compose.services[host];
  if (!asker) return [`there is no service ${from}`];
  if (!target) return [`${from}: ${what}: ${address} is no service`];
  const found: string[] = [];
  if (!asker.networks.some((network) => target.networks.includes(network)))
    found.push(`${from}: ${what}: no network leads to ${host}`);
  if (!listeningPorts(compose, regions, routers, host).includes(Number(port)))
    found.push(`${from}: ${what}: nothing listens on ${address}`);
  return found;
}
