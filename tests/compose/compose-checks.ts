import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createProgram } from '../../scripts/cli/program.js';
import { ELASTICSEARCH_VERSION } from '../../scripts/engines/elasticsearch.js';
import { KAFKA_VERSION } from '../../scripts/engines/kafka-broker.js';
import { REDIS_LISTPACK_ENTRIES_MAX, REDIS_LISTPACK_VALUE_BYTES_MAX } from '../../scripts/engines/redis.js';
import { type Endpoints, readEndpoints } from '../../scripts/fleet/endpoints.js';
import { fixedPorts } from '../../scripts/fleet/ports.js';
import {
  type Compose,
  type ComposeService,
  type Files,
  mountsOf,
  REGIONS,
  regionOfService,
  roleOfService,
} from './deployment.js';
import { listeningPorts, readRoleConfigs } from './role-configs.js';

/** Those that may look across regions from outside of them. */
const OBSERVERS = ['prometheus', 'grafana', 'jaeger-ui', 'workload'];
const CROSSING = ['kafka', 'mirror-prepare', 'mirror-maker', 'region', 'router'];
const PER_REGION = [...CROSSING, 'elasticsearch', 'redis'];

/** The services as such: images, names that have to exist, who is on which network. */
export function checkServices(files: Files, compose: Compose): string[] {
  const found: string[] = [];
  const { services, networks, volumes } = compose;
  for (const region of REGIONS) {
    for (const role of PER_REGION) if (!services[`${role}-${region}`]) found.push(`there is no ${role}-${region}`);
  }
  for (const [name, one] of Object.entries(services)) {
    const wrong = (problem: string) => found.push(`${name}: ${problem}`);
    if (!isPinned(one.image)) wrong(`image ${one.image} has no pinned tag`);
    const endsByItself = 'disable' in one.healthcheck;
    if (endsByItself !== (one.restart === 'no'))
      wrong('a service has a health check and a restart policy, or runs to its end');
    for (const [other, { condition }] of Object.entries(one.depends_on)) {
      const wanted = services[other]?.restart === 'no' ? 'service_completed_successfully' : 'service_healthy';
      if (!services[other]) wrong(`depends_on: there is no ${other}`);
      else if (condition !== wanted) wrong(`depends_on: ${other} should be ${wanted}`);
    }
    for (const network of one.networks) if (!networks[network]) wrong(`network ${network} is not declared`);
    for (const mount of mountsOf(one)) {
      if (mount.isFile && !files.exists(mount.source.slice(2))) wrong(`${mount.source} does not exist`);
      if (mount.isFile && !mount.isReadOnly) wrong(`${mount.source} is not mounted read-only`);
      if (!mount.isFile && !volumes[mount.source]) wrong(`volume ${mount.source} is not declared`);
    }
    found.push(...networkFindings(name, one));
  }
  for (const volume of Object.keys(volumes)) {
    const writers = Object.values(services).filter((one) =>
      mountsOf(one).some(({ source, isReadOnly }) => source === volume && !isReadOnly),
    );
    if (writers.length !== 1) found.push(`volume ${volume} is written by ${writers.length} services`);
  }
  if (networks.wan?.internal !== true) found.push('wan leads to the outside');
  return found;
}

function isPinned(image: string): boolean {
  return /^[a-z0-9./-]+:v?\d+\.\d+\.\d+[\w.-]*$/.test(image);
}

/** What is on a region's network belongs to it, and what keeps or serves its data alone is on no other. */
function networkFindings(name: string, { networks }: ComposeService): string[] {
  const own = regionOfService(name);
  const role = roleOfService(name);
  const foreign = networks.filter((network) => (REGIONS as readonly string[]).includes(network) && network !== own);
  const found = foreign.map((network) => `${name}: is on the network of ${network}`);
  if (own && !(networks as string[]).includes(own)) found.push(`${name}: is not on the network of ${own}`);
  const mayCross = CROSSING.includes(role) || OBSERVERS.includes(role);
  if (networks.includes('wan') && !mayCross) found.push(`${name}: must not be on wan`);
  if (networks.includes('wan') !== mayCross) found.push(`${name}: wan is ${mayCross ? 'missing' : 'too much'}`);
  return found;
}

/** Ports are on loopback, as the table of the surface says, and lead to something that listens. */
export function checkPorts(files: Files, compose: Compose): string[] {
  const { regions, routers } = readRoleConfigs(files, compose);
  const found: string[] = [];
  const taken = new Map<number, string>();
  for (const [name, one] of Object.entries(compose.services)) {
    const listening = listeningPorts(compose, regions, routers, name);
    const published = one.ports.map((text) => {
      const [, host, inside] = /^127\.0\.0\.1:(\d+):(\d+)$/.exec(text) ?? [];
      if (!host) found.push(`${name}: ${text} is not on loopback`);
      return { host: Number(host), inside: Number(inside) };
    });
    for (const { host, inside } of published) {
      if (!listening.includes(inside)) found.push(`${name}: nothing listens on ${inside}`);
      if (taken.has(host)) found.push(`${name}: port ${host} is taken by ${taken.get(host)}`);
      taken.set(host, name);
    }
    const region = regionOfService(name);
    const wanted = region ? surfacePorts(roleOfService(name), REGIONS.indexOf(region)) : undefined;
    const actual = published.map(({ host }) => host).sort((a, b) => a - b);
    if (wanted && actual.join() !== wanted.join()) {
      found.push(`${name}: publishes ${actual.join(', ')}; promised are ${wanted.join(', ')}`);
    }
  }
  const text = files.text('docs/deploying.md');
  for (const [port, name] of taken) {
    if (!new RegExp(`\\b${port}\\b`).test(text)) found.push(`docs/deploying.md does not tell port ${port} of ${name}`);
  }
  return found;
}

function surfacePorts(role: string, regionIndex: number): number[] | undefined {
  const { otlpGrpc, otlpHttp, zipkin, jaegerThrift, regionApi, admin, routerHttp } = fixedPorts(regionIndex, 0);
  if (role === 'router') return [routerHttp];
  if (role !== 'region') return [];
  return [otlpGrpc, otlpHttp, regionApi, admin, zipkin, jaegerThrift].sort((a, b) => a - b);
}

/** The engines' versions and settings are those that the code was tested with. */
export function checkEngines(_files: Files, compose: Compose): string[] {
  const found: string[] = [];
  for (const region of REGIONS) {
    const of = (role: string) => compose.services[`${role}-${region}`];
    const redis = of('redis')?.command ?? [];
    const setting = (name: string) => redis[redis.indexOf(`--${name}`) + 1];
    const wanted = {
      appendonly: 'yes',
      appendfsync: 'everysec',
      save: '',
      'maxmemory-policy': 'noeviction',
      'hash-max-listpack-entries': String(REDIS_LISTPACK_ENTRIES_MAX),
      'hash-max-listpack-value': String(REDIS_LISTPACK_VALUE_BYTES_MAX),
    };
    for (const [name, value] of Object.entries(wanted)) {
      if (!redis.includes(`--${name}`) || setting(name) !== value) {
        found.push(`redis-${region}: ${name} is ${setting(name)}, not ${value}`);
      }
    }
    if (!of('elasticsearch')?.image.endsWith(`:${ELASTICSEARCH_VERSION}`)) {
      found.push(`elasticsearch-${region}: is not ${ELASTICSEARCH_VERSION}`);
    }
    if (of('kafka')?.image !== `apache/kafka:${KAFKA_VERSION}`) found.push(`kafka-${region}: is not ${KAFKA_VERSION}`);
    if (of('mirror-maker')?.image !== of('kafka')?.image)
      found.push(`mirror-maker-${region}: another Kafka than the broker`);
    const kafka = of('kafka')?.environment ?? {};
    if (kafka.KAFKA_AUTO_CREATE_TOPICS_ENABLE !== 'false')
      found.push(`kafka-${region}: makes topics by being asked for them`);
    if (Buffer.from(String(kafka.CLUSTER_ID), 'base64url').length !== 16)
      found.push(`kafka-${region}: CLUSTER_ID is no UUID`);
  }
  const ids = REGIONS.map((region) => compose.services[`kafka-${region}`]?.environment.CLUSTER_ID);
  if (new Set(ids).size !== ids.length) found.push('two Kafka clusters have the same id');
  return found;
}

/** What the containers of our image are told to do is what the command line knows. */
export function checkCommands(files: Files, compose: Compose): string[] {
  const found: string[] = [];
  const image = `meridian:${(JSON.parse(files.text('package.json')) as { version: string }).version}`;
  for (const [name, one] of Object.entries(compose.services)) {
    if (!one.build) continue;
    if (one.image !== image) found.push(`${name}: image ${one.image} is not ${image}`);
    if (!files.exists(one.build.dockerfile)) found.push(`${name}: ${one.build.dockerfile} does not exist`);
    if (!one.entrypoint) found.push(...commandFindings(name, one.command));
  }
  return found;
}

function commandFindings(name: string, words: readonly string[]): string[] {
  const ignore = () => {};
  const terminal = { colors: false, width: 80, out: ignore, note: ignore, progress: ignore };
  const context = { terminal, environment: {}, stop: new AbortController().signal };
  const program: Command = createProgram(context, { send: ignore, crash: ignore }, ignore);
  const command = program.commands.find((one) => one.name() === words[0]);
  if (!command) return [`${name}: there is no command "meridian ${words[0]}"`];
  const known = command.options.map(({ long }) => long);
  return words
    .filter((word) => word.startsWith('--') && !known.includes(word))
    .map((word) => `${name}: "meridian ${words[0]}" has no ${word}`);
}

/** `endpoints.json` for the command line on the host, and for the workload inside. */
export function checkEndpoints(files: Files, compose: Compose): string[] {
  const { regions, routers } = readRoleConfigs(files, compose);
  const found: string[] = [];
  for (const kind of ['host', 'network'] as const) {
    const endpoints = parseEndpoints(files.text(`infra/compose/endpoints/${kind}/endpoints.json`));
    if (Object.keys(endpoints.regions).join() !== REGIONS.join()) found.push(`endpoints (${kind}): other regions`);
    const roles = Object.entries({ region: endpoints.regions, router: endpoints.routers });
    for (const [role, byRegion] of roles) {
      for (const [region, one] of Object.entries<object>(byRegion)) {
        const name = `${role}-${region}`;
        const published = compose.services[name]?.ports.map((text) => Number(text.split(':')[1])) ?? [];
        const listening = listeningPorts(compose, regions, routers, name);
        for (const [key, value] of Object.entries(one)) {
          if (key === 'pid') continue;
          const [host, port] = String(value)
            .replace(/^http:\/\//, '')
            .split(':');
          const isRight =
            kind === 'host'
              ? host === '127.0.0.1' && published.includes(Number(port))
              : host === name && listening.includes(Number(port));
          if (!isRight) found.push(`endpoints (${kind}): ${key} of ${name} is not at ${value}`);
        }
      }
    }
  }
  return found;
}

/** Through the reader of the command line, which takes a folder. */
function parseEndpoints(text: string): Endpoints {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-endpoints-'));
  try {
    writeFileSync(join(folder, 'endpoints.json'), text);
    return readEndpoints(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
