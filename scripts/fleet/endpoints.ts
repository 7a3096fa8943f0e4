import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { MeridianError } from '../../global/runtime/errors.js';

/** `DIR/endpoints.json`: where everything of the local fleet answers (a promise; see README). */
const endpointsSchema = z.object({
  regions: z.record(
    z.string(),
    z.object({
      otlpGrpc: z.string(),
      otlpHttp: z.string(),
      zipkin: z.string(),
      jaegerThrift: z.string(),
      regionApi: z.string(),
      admin: z.string(),
      pid: z.number(),
    }),
  ),
  routers: z.record(z.string(), z.object({ http: z.string(), pid: z.number() })),
  /** The regions' engines, with `--engines local`. A pid of 0: not running at the moment. */
  engines: z
    .record(
      z.string(),
      z.object({
        kafka: z.object({ address: z.string(), pid: z.number() }),
        elasticsearch: z.object({ url: z.string(), pid: z.number() }),
        redis: z.object({ url: z.string(), pid: z.number() }),
        mirrorMaker: z.object({ pid: z.number() }).optional(),
      }),
    )
    .optional(),
  /** Of the supervisor, for `meridian stop` and `meridian start`. */
  control: z.object({ url: z.string(), pid: z.number() }),
});

export type Endpoints = z.infer<typeof endpointsSchema>;

const FILE = 'endpoints.json';

/** Replaces the file as a whole, so that no reader sees half of it. */
export function writeEndpoints(dataDir: string, endpoints: Endpoints): void {
  const file = join(dataDir, FILE);
  writeFileSync(`${file}.new`, `${JSON.stringify(endpoints, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

/** Throws `not-found` that says how to start a fleet. */
export function readEndpoints(dataDir: string): Endpoints {
  let content: string;
  try {
    content = readFileSync(join(dataDir, FILE), 'utf8');
  } catch (error) {
    throw new MeridianError(
      'not-found',
      `no fleet in ${dataDir} (no ${FILE}). Start one with \`npm start\`, or name its folder with --data`,
      'never',
      { cause: error },
    );
  }
  const parsed = endpointsSchema.safeParse(JSON.parse(content));
  if (!parsed.success) throw new MeridianError('malformed', `${join(dataDir, FILE)}: ${parsed.error.message}`, 'never');
  return parsed.data;
}
