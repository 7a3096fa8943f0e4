import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { packageRoot } from '../../global/runtime/package-root.js';

export const COMPOSE_FILE = 'docker-compose.multiregion.yml';
export const REGIONS = ['us-east-1', 'us-west-2', 'eu-west-1'] as const;

/** The repository's files, so that a check can be given a changed copy of one. Paths are from the root. */
export interface Files {
  text(path: string): string;
  exists(path: string): boolean;
  /** Names in a folder. */
  list(folder: string): readonly string[];
}

export const repository: Files = {
  text: (path) => readFileSync(join(packageRoot, path), 'utf8'),
  exists: (path) => existsSync(join(packageRoot, path)),
  list: (folder) => readdirSync(join(packageRoot, folder)),
};

const words = z.array(z.string());
const healthcheck = z.strictObject({
  test: words.min(2),
  interval: z.string(),
  timeout: z.string(),
  retries: z.int().min(1),
  start_period: z.string(),
});

/** Of what runs to its end before another service starts. */
const noHealthcheck = z.strictObject({ disable: z.literal(true) });

const service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
  entrypoint: words.optional(),
  command: words.default([]),
  environment: z.record(z.string(), z.union([z.string(), z.number()])).default({}),
  volumes: words.default([]),
  networks: words.min(1),
  ports: words.default([]),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }))
    .default({}),
  profiles: words.optional(),
  healthcheck: z.union([healthcheck, noHealthcheck]),
  init: z.boolean().optional(),
  restart: z.enum(['unless-stopped', 'no']),
  mem_limit: z.string().regex(/^\d+[mg]$/),
  stop_grace_period: z.string().optional(),
  logging: z.strictObject({
    driver: z.literal('json-file'),
    options: z.strictObject({ 'max-size': z.string(), 'max-file': z.string() }),
  }),
});

const composeSchema = z.strictObject({
  name: z.literal('meridian'),
  services: z.record(z.string(), service),
  networks: z.record(z.string(), z.strictObject({ internal: z.boolean().optional() })),
  volumes: z.record(z.string(), z.strictObject({})),
});

export type ComposeService = z.infer<typeof service>;
export type Compose = z.infer<typeof composeSchema>;

/** Throws where a key is unknown, misspelt or missing: every service has a health check, a restart policy, a memory limit, bounded logs. */
export function readCompose(files: Files): Compose {
  const parsed: unknown = parse(files.text(COMPOSE_FILE), { merge: true });
  const entries = Object.entries(parsed as object).filter(([key]) => !key.startsWith('x-'));
  const result = composeSchema.safeParse(Object.fromEntries(entries));
  if (!result.success) {
    const first = result.error.issues[0];
    throw new Error(`${COMPOSE_FILE}: ${first?.path.join('.')}: ${first?.message}`);
  }
  return result.data;
}

export interface Mount {
  /** A path from the root, `./infra/...`, or the name of a volume. */
  readonly source: string;
  readonly target: string;
  readonly isFile: boolean;
  readonly isReadOnly: boolean;
}

export function mountsOf({ volumes }: ComposeService): Mount[] {
  return volumes.map((text) => {
    const [source = '', target = '', mode] = text.split(':');
    return { source, target, isFile: source.startsWith('./'), isReadOnly: mode === 'ro' };
  });
}

/** The repository's file behind a path inside a container; undefined where none is mounted there. */
export function mountedFile(one: ComposeService, path: string): string | undefined {
  for (const { source, target, isFile } of mountsOf(one)) {
    if (!isFile) continue;
    if (path === target) return source.slice(2);
    if (path.startsWith(`${target}/`)) return join(source.slice(2), path.slice(target.length + 1));
  }
  return undefined;
}

/** The region whose part a service is, by its name; undefined for those that there are once. */
export function regionOfService(name: string): (typeof REGIONS)[number] | undefined {
  return REGIONS.find((region) => name.endsWith(`-${region}`));
}

/** `kafka`, `region`, ... of `kafka-us-east-1`; the whole name of what there is once. */
export function roleOfService(name: string): string {
  const region = regionOfService(name);
  return region ? name.slice(0, -region.length - 1) : name;
}

/** Runs a check and tells what it throws as a finding. */
export function findingsOf(check: () => readonly string[]): readonly string[] {
  try {
    return check();
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}
