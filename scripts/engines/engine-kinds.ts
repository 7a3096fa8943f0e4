import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { parseRegionId, type RegionId } from '../../global/model/ids.js';
import { MeridianError } from '../../global/runtime/errors.js';

/** The engines of a region, in the order in which they are stopped (MirrorMaker before its brokers, or it hangs on for half a minute). */
export const ENGINE_KINDS = ['mirror-maker', 'kafka', 'elasticsearch', 'redis'] as const;
export type EngineKind = (typeof ENGINE_KINDS)[number];

export const ENGINE_TITLES: Readonly<Record<EngineKind, string>> = {
  'mirror-maker': 'MirrorMaker',
  kafka: 'Kafka',
  elasticsearch: 'Elasticsearch',
  redis: 'Redis',
};

/** Where the engines of one region listen, on 127.0.0.1. MirrorMaker does not listen. */
export interface EnginePorts {
  readonly kafka: number;
  /** For nobody but the broker itself. */
  readonly kafkaController: number;
  readonly elasticsearch: number;
  readonly redis: number;
}

export interface RegionEngines {
  readonly region: RegionId;
  readonly ports: EnginePorts;
}

/** One engine of a folder: what it is called and where it is. */
export interface EnginePlace {
  /** `us-east-1/elasticsearch`. */
  readonly name: string;
  readonly region: RegionId;
  readonly kind: EngineKind;
  /** `host:port` of Kafka, URLs of Elasticsearch and Redis, null of MirrorMaker. */
  readonly address: string | null;
  readonly folder: string;
  readonly pidFile: string;
  readonly logFile: string;
}

/** Every engine of the regions, in the order in which they are stopped. A region without another one has no MirrorMaker. */
export function enginePlaces(dataDir: string, regions: readonly RegionEngines[]): EnginePlace[] {
  const kinds = ENGINE_KINDS.filter((kind) => kind !== 'mirror-maker' || regions.length > 1);
  return kinds.flatMap((kind) =>
    regions.map(({ region, ports }) => {
      const folder = join(dataDir, region, 'engines', kind);
      return {
        name: `${region}/${kind}`,
        region,
        kind,
        address: addressOf(kind, ports),
        folder,
        pidFile: join(folder, `${kind}.pid`),
        logFile: join(folder, `${kind}.log`),
      };
    }),
  );
}

function addressOf(kind: EngineKind, ports: EnginePorts): string | null {
  switch (kind) {
    case 'kafka':
      return `127.0.0.1:${ports.kafka}`;
    case 'elasticsearch':
      return `http://127.0.0.1:${ports.elasticsearch}`;
    case 'redis':
      return `redis://127.0.0.1:${ports.redis}`;
    case 'mirror-maker':
      return null;
  }
}

const port = z.int().min(1).max(65_535);
const enginesFile = z.object({
  version: z.literal(1),
  /** `fleet`: they end with the fleet that started them. `up`: `engines up` left them running. */
  startedBy: z.enum(['fleet', 'up']),
  regions: z.array(
    z.object({
      region: z.string().transform((text, context): RegionId => {
        const region = parseRegionId(text);
        if (region) return region;
        context.addIssue({ code: 'custom', message: `"${text}" is no region name` });
        return z.NEVER;
      }),
      ports: z.object({ kafka: port, kafkaController: port, elasticsearch: port, redis: port }),
    }),
  ),
});

/** `DIR/engines.json`: which engines were last started in the folder, and by whom. Whether they run is told by their pid files. */
export type EnginesFile = z.infer<typeof enginesFile>;

const FILE = 'engines.json';

/** Replaces the file as a whole. */
export function writeEnginesFile(dataDir: string, content: Omit<EnginesFile, 'version'>): void {
  const file = join(dataDir, FILE);
  writeFileSync(`${file}.new`, `${JSON.stringify({ version: 1, ...content }, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

export function removeEnginesFile(dataDir: string): void {
  rmSync(join(dataDir, FILE), { force: true });
}

/** Null where there is none. Throws `unknown-version` or `malformed` where it is not ours. */
export function readEnginesFile(dataDir: string): EnginesFile | null {
  const file = join(dataDir, FILE);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MeridianError('malformed', `${file} is no JSON`, 'never', { cause: error });
  }
  const version = z.object({ version: z.number() }).safeParse(value);
  if (version.success && version.data.version !== 1) {
    throw new MeridianError('unknown-version', `${file} is of version ${version.data.version}`, 'never');
  }
  const parsed = enginesFile.safeParse(value);
  if (!parsed.success) throw new MeridianError('malformed', `${file}: ${parsed.error.issues[0]?.message}`, 'never');
  return parsed.data;
}
