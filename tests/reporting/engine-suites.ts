import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { packageRoot } from '../../global/runtime/package-root.js';
import { missingForJava } from '../../scripts/engines/maven-jars.js';
import { missingForRedis } from '../../scripts/engines/redis.js';

const ROOMS = ['global', 'regions', 'router', 'scripts', 'tests'];
const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(?!type\b)[^'";]*?from\s+'(\.[^']+)'/g;

/** What a suite can need on the machine. */
type Tool = 'java' | 'redis';

/** A module that reaches one of these starts that engine. */
const LAUNCHERS: Readonly<Record<string, Tool>> = {
  'scripts/engines/java-process.ts': 'java',
  'scripts/engines/redis.ts': 'redis',
};

export interface EngineSuite {
  /** From the root, e.g. `regions/log/kafka-span-log.engine.test.ts`. */
  readonly path: string;
  /** What is missing on this machine for it, with how to get it; null where it can run. */
  readonly missing: string | null;
}

/** Every suite that needs a real engine, and whether this machine has what it needs: known from the launchers that it imports. */
export async function engineSuites(): Promise<EngineSuite[]> {
  const missing: Record<Tool, string | null> = { java: await missingForJava(), redis: await missingForRedis() };
  return engineSuitePaths().map((path) => {
    const texts = [...toolsOf(path)].flatMap((tool) => missing[tool] ?? []);
    return { path, missing: texts.length > 0 ? texts.join('; ') : null };
  });
}

export function engineSuitePaths(): string[] {
  return ROOMS.flatMap((room) =>
    readdirSync(join(packageRoot, room), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.engine.test.ts'))
      .map((path) => `${room}/${path}`),
  ).sort();
}

/** What the modules that a suite imports start, however far away. */
export function toolsOf(suite: string): Set<Tool> {
  const tools = new Set<Tool>();
  const seen = new Set<string>();
  const visit = (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    const tool = LAUNCHERS[path];
    if (tool) tools.add(tool);
    for (const match of readFileSync(join(packageRoot, path), 'utf8').matchAll(IMPORT)) {
      visit(normalize(join(dirname(path), match[1]!)).replace(/\.js$/, '.ts'));
    }
  };
  visit(suite);
  return tools;
}

/** Engines that are missing are a failure, not a reason to skip, in CI and where somebody says so. */
export function enginesRequired(environment: Readonly<Record<string, string | undefined>>): boolean {
  const on = (value: string | undefined) => value !== undefined && !['', '0', 'false'].includes(value);
  return on(environment.CI) || on(environment.MERIDIAN_REQUIRE_ENGINES);
}
