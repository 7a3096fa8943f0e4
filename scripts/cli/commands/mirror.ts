import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type Fleet, fleetRegion, parseFleet } from '../../../global/fleet/fleet.js';
import { MIRRORED_TOPICS } from '../../../global/log/topics.js';
import { parseRegionId } from '../../../global/model/ids.js';
import {
  type MirrorCluster,
  mirrorMakerLogging,
  mirrorMakerProperties,
} from '../../../global/replication/mirror-maker-config.js';
import { MeridianError, messageOf } from '../../../global/runtime/errors.js';
import { type MirrorConnections, placeLines, prepareMirrors } from '../../engines/mirror-places.js';
import type { CommandContext } from '../context.js';
import { ExitCode } from '../exit-codes.js';

export interface MirrorOptions {
  /** JSON: the fleet, or a region's configuration that holds it. */
  readonly fleet: string;
  readonly target: string;
}

export interface MirrorConfigOptions extends MirrorOptions {
  /** JSON: properties per region, for TLS and SASL. */
  readonly extra?: string;
  readonly replicationFactor?: string;
  /** Prints the log4j configuration that goes with it instead; where the tasks' own file is to be. */
  readonly logging?: string;
}

export interface MirrorPrepareOptions extends MirrorOptions {
  /** JSON: per region how this command reaches its Kafka. */
  readonly connect?: string;
}

/** `meridian mirror-config`: prints the properties of the MirrorMaker near a region. */
export async function mirrorConfigCommand(context: CommandContext, options: MirrorConfigOptions): Promise<ExitCode> {
  const text =
    options.logging === undefined
      ? mirrorMakerProperties({
          ...linksTo(options),
          topics: MIRRORED_TOPICS,
          replicationFactor: replicationFactorOf(options.replicationFactor),
          ...(options.extra ? { extra: read(options.extra, 'extra', EXTRA) } : {}),
        })
      : mirrorMakerLogging(options.logging);
  context.terminal.out(text.trimEnd());
  return ExitCode.done;
}

/**
 * `meridian mirror-prepare`: gives the MirrorMaker near a region, while it is stopped, its places at the sources. A source that is not reached is
 * named and leaves the exit code at 0: what comes from there waits, and everything else need not.
 */
export async function mirrorPrepareCommand(context: CommandContext, options: MirrorPrepareOptions): Promise<ExitCode> {
  const connections = options.connect ? connectionsOf(read(options.connect, 'connect', CONNECT)) : {};
  const prepared = await prepareMirrors({ ...linksTo(options), topics: MIRRORED_TOPICS, connections });
  for (const line of placeLines(prepared)) context.terminal.note(line);
  const asked = prepared.filter((one) => 'places' in one).map(({ source }) => source);
  if (asked.length > 0) context.terminal.out(`MirrorMaker near ${options.target} can start: ${asked.join(', ')}`);
  return ExitCode.done;
}

function linksTo({ fleet: file, target }: MirrorOptions): { target: MirrorCluster; sources: MirrorCluster[] } {
  const json = readJson(file, 'fleet');
  const inConfiguration = z.looseObject({ fleet: z.unknown() }).safeParse(json);
  const holds = inConfiguration.success && inConfiguration.data.fleet !== undefined;
  const fleet = parseFleet(holds ? inConfiguration.data.fleet : json, file);
  const region = parseRegionId(target);
  if (!region) throw wrong(`target: "${target}" is no region name`);
  fleetRegion(fleet, region);
  const clusters = fleet.regions.map((one) => clusterOf(one, file));
  return {
    target: clusters.find((cluster) => cluster.region === region)!,
    sources: clusters.filter((cluster) => cluster.region !== region),
  };
}

function clusterOf({ region, kafka }: Fleet['regions'][number], file: string): MirrorCluster {
  if (kafka && kafka.length > 0) return { region, brokers: kafka };
  throw wrong(`${file}: regions.${region} names no "kafka" (host:port of its brokers), so there is nothing to mirror`);
}

const EXTRA = z.record(z.string(), z.record(z.string(), z.string()));

const CONNECT = z.record(
  z.string(),
  z.strictObject({
    tls: z.boolean().default(false),
    caFile: z.string().optional(),
    user: z.string().optional(),
    passwordFile: z.string().optional(),
    mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).default('scram-sha-512'),
  }),
);

function connectionsOf(regions: z.infer<typeof CONNECT>): MirrorConnections {
  return Object.fromEntries(
    Object.entries(regions).map(([region, { tls, caFile, user, passwordFile, mechanism }]) => {
      if (!user !== !passwordFile) throw wrong(`connect: ${region}: user and passwordFile go together`);
      const ssl = tls ? { ssl: caFile ? { ca: [readText(caFile, `connect: ${region}`)] } : true } : {};
      if (!user || !passwordFile) return [region, ssl];
      const password = readText(passwordFile, `connect: ${region}`).trimEnd();
      return [region, { ...ssl, sasl: saslOf(mechanism, user, password) }];
    }),
  );
}

function saslOf(mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512', username: string, password: string) {
  switch (mechanism) {
    case 'plain':
      return { mechanism, username, password };
    case 'scram-sha-256':
      return { mechanism, username, password };
    case 'scram-sha-512':
      return { mechanism, username, password };
  }
}

function replicationFactorOf(text = '3'): number {
  const factor = Number(text);
  if (Number.isInteger(factor) && factor >= 1 && factor <= 10) return factor;
  throw wrong(`replication-factor: "${text}" is no whole number from 1 to 10`);
}

function read<T extends z.ZodType>(file: string, option: string, schema: T): z.infer<T> {
  const result = schema.safeParse(readJson(file, option));
  if (result.success) return result.data;
  const first = result.error.issues[0];
  throw wrong(`${option}: ${file}: ${first?.path.join('.') || 'the whole'}: ${first?.message}`);
}

function readJson(file: string, option: string): unknown {
  const text = readText(file, option);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw wrong(`${option}: ${file} is not JSON: ${messageOf(error)}`);
  }
}

function readText(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw wrong(`${option}: cannot read ${file}: ${messageOf(error)}`);
  }
}

function wrong(problem: string): MeridianError {
  return new MeridianError('configuration', problem, 'never');
}
